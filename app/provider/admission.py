"""Whether the provider is asked at all, and how many calls are under way at once: both are settled before anything is reserved.

Each process has its own circuit breaker, and counts its own calls. docs/decisions/0011 says why no library does this here.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Protocol, assert_never

from app.verification.client import Lane
from app.verification.model import Overloaded, ProviderUnavailable, Refusal
from app.verification.ports import BreakerChanged, BreakerState, CallOutcome, Observer, Placed, Refused, Unknown

OVERLOADED_FOR = 2
"""Seconds until a refused start may find room: a call takes a second or two."""

PAUSE_GROWTH, MAX_GROWTH = 2, 8
"""The pause doubles with each trial call that fails, up to eight times the first one."""

TRIAL_WAIT = 5
"""Seconds until another try makes sense while a trial call is under way."""


class Breaker:
    """A circuit breaker: while the provider fails, no call is placed, and one call at a time finds out whether it works again.

    Args:
        max_failures: calls in a row that fail until it opens; 0: it never opens.
        pause: seconds until the first trial call.
        observe: hears of each change of state.
        clock: monotonic seconds.
    """

    def __init__(self, max_failures: int, pause: float, observe: Observer, clock: Callable[[], float]) -> None:
        self.state = BreakerState.CLOSED
        self._max_failures = max_failures
        self._first_pause = self._pause = pause
        self._observe = observe
        self._clock = clock
        self._failures = 0
        self._trial_at = 0.0
        self._trial = False
        self._era = 0

    def wait(self) -> float:
        """Seconds until a call may be admitted; 0 for now."""
        if self.state is BreakerState.OPEN:
            return max(0.0, self._trial_at - self._clock())
        return TRIAL_WAIT if self._trial else 0.0

    def admit(self) -> int:
        """Admit a call for which there is no `wait`: the first one after a pause is the trial call. Returns what its `end` needs."""
        if self.state is BreakerState.OPEN:
            self._become(BreakerState.HALF_OPEN)
        self._trial = self.state is BreakerState.HALF_OPEN
        return self._era

    def end(self, era: int, outcome: CallOutcome | None) -> None:
        """A call ended, or was not placed at all. One that began before the last change of state says nothing of now."""
        if era != self._era:
            return
        self._trial = False
        match outcome:
            case Placed() | Refused(Refusal.NOT_A_NUMBER | Refusal.NOT_PERMITTED | Refusal.CALLED_TOO_OFTEN):
                self._works()
            case Unknown() | Refused(Refusal.UNREACHABLE):
                self._failures += 1
                if self.state is BreakerState.HALF_OPEN or self._failures >= self._max_failures:
                    self._open(outcome)
            case Refused(Refusal.CREDENTIALS | Refusal.BALANCE):
                self._open(outcome)  # our account: the next call fares no better
            case Refused() | None:
                # It says nothing of the provider; after a trial call, the next one is the trial. MALFORMED and OTHER are here too: if one number
                # gets such an answer, a stranger who calls it must not stop the others.
                pass
            case _:
                assert_never(outcome)

    def _works(self) -> None:
        self._failures = 0
        if self.state is BreakerState.HALF_OPEN:
            self._pause = self._first_pause
            self._become(BreakerState.CLOSED)

    def _open(self, outcome: Unknown | Refused) -> None:
        if not self._max_failures:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._pause = min(self._pause * PAUSE_GROWTH, self._first_pause * MAX_GROWTH)
        self._failures = 0
        self._trial_at = self._clock() + self._pause
        reason = outcome.reason.value if isinstance(outcome, Refused) else "unknown"
        self._become(BreakerState.OPEN, reason, self._pause)

    def _become(self, state: BreakerState, reason: str = "", pause: float = 0.0) -> None:
        self._era += 1
        self.state = state
        self._observe(BreakerChanged(state, reason, pause))


class Telephone(Protocol):
    """What places calls: `Mobilgroup`."""

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """See `CallSlot.place`."""
        ...


class Admission:
    """A `Provider`: admits a call if the breaker is closed and there is room for it.

    Args:
        telephone: places the calls.
        max_calls: calls under way at once, from before their reservation to their end.
        public_share: part of these that the public lane may have.
        breaker: `max_failures` and `pause` of a `Breaker`.
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
        # With a share of nothing one is admitted all the same: its reservation is denied, and says by which limit.
        self._max_public = max(1, ceil(max_calls * public_share))
        self._breaker = Breaker(*breaker, observe, clock)
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

    def _end(self, lane: Lane, era: int, outcome: CallOutcome | None) -> None:
        self._under_way[lane] -= 1
        self._breaker.end(era, outcome)

    def _is_full(self, lane: Lane) -> bool:
        public = lane is Lane.PUBLIC and self._under_way[Lane.PUBLIC] >= self._max_public
        return public or self._under_way.total() >= self._max_calls


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
