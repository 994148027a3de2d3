"""A worker that dies at any moment is replaced, and the service goes on."""

import os
import signal
import time

import httpx

from tests.harness import Service


def test_a_worker_that_dies_while_it_owes_its_supervisor_an_answer_is_replaced_at_once(
    service: Service, phone: str
) -> None:
    """The supervisor asks twice a second. A stopped worker does not answer, and has a minute to; then it is killed."""
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
    while len(replaced := service.workers()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not {victim, other} & set(replaced)
