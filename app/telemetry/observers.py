"""Several observers as one."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from app.verification.ports import Event, Observer


class Observers:
    """Hands each event to each observer. The trouble of one (a log on a full disk) costs no call its code: it is logged once, and counted.

    Args:
        observers: who observes.
        count_failure: called whenever one of them fails.
    """

    def __init__(self, observers: Sequence[Observer], count_failure: Callable[[], None]) -> None:
        self._observers = observers
        self._count_failure = count_failure
        self._reported: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Hand an event on."""
        for observe in self._observers:
            try:
                observe(event)
            except Exception as error:  # noqa: BLE001  as the class says
                self._count_failure()
                self._report(type(observe).__name__, error)

    def _report(self, observer: str, error: Exception) -> None:
        name = f"{observer}: {type(error).__name__}"
        if name not in self._reported:
            with suppress(Exception):  # it may be the log that fails: then it is tried again with the next event
                structlog.get_logger().error("observer_failed", observer=observer, error=type(error).__name__)
                self._reported.add(name)
