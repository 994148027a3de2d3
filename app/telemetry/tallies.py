"""Numbers that all workers add to: a row for each, in memory that belongs to no file system.

A worker adds to its own row, with no lock; a scrape sums the rows. The kernel takes the claim to a row back when its worker ends, even by
SIGKILL, and the next worker goes on where that one stopped: a sum never falls while the service runs. docs/decisions/0007 says why not files.
"""

import fcntl
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from typing import Any

import structlog

_PID, _SINCE, _HEAD = 0, 1, 2
"""A row begins with its worker's process id and the unix time from when on it works."""

_NUMBER = 8
SPARE = 16
"""Rows beyond the workers': for those that SIGTTIN adds, and for one that is started before another has ended."""


class Tallies:
    """Rows of numbers. Handed to a worker when it is spawned, it is the same memory there."""

    def __init__(self, width: int, rows: int, memory: int | None = None) -> None:
        """Map the memory of a file descriptor; without one, memory that no other process sees.

        Raises:
            OSError: there is no room.
        """
        self.width = width
        self._rows, self._memory = rows, memory
        mapped = mmap.mmap(-1 if memory is None else memory, _size(width, rows))
        self._numbers = memoryview(mapped).cast("d")

    def __reduce__(self) -> tuple[Callable[..., "Tallies"], tuple[Any, ...]]:
        """Hand the memory to a process that is being spawned."""
        if self._memory is None:
            raise TypeError("these tallies are of one process only")
        return _received, (self.width, self._rows, DupFd(self._memory))

    def claim(self) -> "memoryview[float] | None":
        """This process's numbers, from now until it ends; None if all rows are taken."""
        for place in range(self._rows):
            if self._memory is not None:
                try:
                    fcntl.lockf(self._memory, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                except OSError:
                    continue
            row = self._row(place)
            row[_PID], row[_SINCE] = os.getpid(), time.time()
            return row[_HEAD:]
        return None

    def rows(self) -> list[list[float]]:
        """The numbers of each row that was ever claimed."""
        return [list(self._row(place)[_HEAD:]) for place, *_ in self.workers()]

    def workers(self) -> Iterator[tuple[int, int, float]]:
        """Each row that was ever claimed, its last worker's process id, and from when on that worked."""
        for place in range(self._rows):
            row = self._row(place)
            if row[_PID]:
                yield place, int(row[_PID]), row[_SINCE]

    def _row(self, place: int) -> "memoryview[float]":
        whole = _HEAD + self.width
        return self._numbers[place * whole : (place + 1) * whole]


@contextmanager
def shared_tallies(width: int, workers: int, spare: int = SPARE) -> Iterator[Tallies | None]:
    """Numbers for so many workers to add to; None, and a warning, where the system has no room for them."""
    try:
        memory = _new_memory(_size(width, workers + spare))
    except OSError as error:
        structlog.get_logger().warning("metrics_not_shared", detail=str(error))
        yield None
        return
    try:
        yield Tallies(width, workers + spare, memory)
    finally:
        os.close(memory)


def _received(width: int, rows: int, sent: Any) -> Tallies:  # noqa: ANN401  multiprocessing's own, which has no name
    return Tallies(width, rows, sent.detach())


def _size(width: int, rows: int) -> int:
    return (_HEAD + width) * rows * _NUMBER


def _new_memory(size: int) -> int:
    """A file without a name, written whole: room that is only promised ends a process by SIGBUS once there is none."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("lastdigits-metrics")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    try:
        with os.fdopen(memory, "wb", closefd=False) as file:
            file.write(bytes(size))
    except OSError:
        os.close(memory)
        raise
    return memory
