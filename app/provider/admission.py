"""How many calls are under way at once, and whether the provider is asked at all: both are settled before anything is reserved."""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Protocol

from app.provider.breaker import Breaker, Permit
from app.verification.client import Lane
from app.verification.model import Overloaded, ProviderUnavailable
from app.verification.ports import BreakerChanged, BreakerState, CallOutcome, Observer

OVERLOADED_FOR = 2
"""Seconds until a refused start may find room: a call takes a second or two."""


class Telephone(Protocol):
    """What places calls: `Mobilgroup`."""

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """See `CallSlot.place`."""
        ...


class Admission:
    """A `Provider`: admits a call if the breaker is closed and there is room for it.

    Each process has its own, and counts its own calls.

    Args:
        telephone: places the calls.
        max_calls: calls under way at once, from before their reservation to their end.
        public_share: part of these that the public lane may have.
        breaker: `max_failures` and `pause` (breaker.py).
        observe: hears of each change of the breaker.
        clock: monotonic seconds.
    """

    def __init__(  # noqa: PLR0913, PLR0917  its parts
        self,
        telephone: Telephone,
        max_calls: int,
        public_share: float,
        breaker: tuple[int, float],
        observe: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._telephone = telephone
        self._max_calls = max_calls
        self._max_public = ceil(max_calls * public_share)
        self._observe = observe
        self._breaker = Breaker(*breaker, self._changed, clock)
        self._under_way: Counter[Lane] = Counter()

    @property
    def state(self) -> BreakerState:
        """The breaker's."""
        return self._breaker.state

    def admit(self, lane: Lane) -> "Slot | ProviderUnavailable | Overloaded":
        """See `Provider.admit`."""
        if wait := self._breaker.wait():
            return ProviderUnavailable(ceil(wait))
        if self._is_full(lane):
            return Overloaded(OVERLOADED_FOR)
        self._under_way[lane] += 1
        return Slot(self._telephone, partial(self._end, lane, self._breaker.admit()))

    def _end(self, lane: Lane, permit: Permit, outcome: CallOutcome | None) -> None:
        self._under_way[lane] -= 1
        self._breaker.end(permit, outcome)

    def _is_full(self, lane: Lane) -> bool:
        public = lane is Lane.PUBLIC and self._under_way[Lane.PUBLIC] >= self._max_public
        return public or self._under_way.total() >= self._max_calls

    def _changed(self, state: BreakerState, reason: str, pause: float) -> None:
        self._observe(BreakerChanged(state, reason, pause))


class Slot:
    """A `CallSlot` of an `Admission`."""

    def __init__(self, telephone: Telephone, end: Callable[[CallOutcome | None], None]) -> None:
        self._telephone = telephone
        self._end = end
        self._used = False

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """See `CallSlot.place`."""
        self._used, outcome = True, None
        try:
            outcome = await self._telephone.place(phone, code_length)
            return outcome
        finally:
            self._end(outcome)

    def give_back(self) -> None:
        """See `CallSlot.give_back`."""
        if not self._used:
            self._used = True
            self._end(None)
