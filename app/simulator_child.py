"""The simulator beside a sandbox, in a process of its own that imports nothing of the service."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from app.processes import die_with_parent
from app.simulator import SimulatorCredentials, run_simulator


@contextmanager
def simulator_beside(listener: socket.socket, api_key: str) -> Iterator[None]:
    """Run the provider's simulator as a child process on a bound socket, for as long as the block lasts."""
    process = multiprocessing.get_context("spawn").Process(
        target=_simulate, args=(listener, api_key, os.getpid()), name="lastdigits-simulator", daemon=True
    )
    # A Ctrl-C while the child still imports would end it with a traceback: it inherits that SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, before)
    try:
        yield
    finally:
        process.terminate()
        process.join(5)


def _simulate(listener: socket.socket, api_key: str, parent: int) -> None:
    die_with_parent(parent)
    # A terminal's Ctrl-C goes to the service alone, which may still have calls to finish: it ends this process after them.
    os.setpgid(0, 0)
    run_simulator(SimulatorCredentials(api_key=api_key), listener)
