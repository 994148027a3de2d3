"""Several observers as one."""

from collections.abc import Sequence
from contextlib import suppress

from app.verification.ports import Event, Observer


class Observers:
    """Tells each observer every event; the trouble of one (a log on a full disk) is not the others'."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def __call__(self, event: Event) -> None:
        """Tell all."""
        for observe in self._observers:
            with suppress(Exception):
                observe(event)
