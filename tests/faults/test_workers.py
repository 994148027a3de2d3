"""A worker that dies at any moment is replaced, and the service goes on."""

import os
import signal
import time

import httpx
import pytest

from tests.harness import Simulator, serving


def test_a_worker_that_dies_while_it_owes_its_supervisor_an_answer_is_replaced_at_once(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, phone: str
) -> None:
    """The supervisor asks twice a second. A stopped worker does not answer, and has a minute to; then it is killed."""
    with serving(tmp_path_factory.mktemp("stopped"), simulator.send_url) as service:
        victim, other = service.workers()
        os.kill(victim, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(victim, signal.SIGKILL)
        os.kill(other, signal.SIGKILL)
        deadline, answer = time.monotonic() + 20, None
        while answer is None:
            try:
                answer = service.start(phone)
            except httpx.TransportError:
                assert time.monotonic() < deadline, "it waits for the answer of a dead worker"
                time.sleep(0.1)
        assert answer.status_code == 201
        assert not {victim, other} & set(service.workers())
