"""A circuit breaker: while the provider fails, no call is placed, and one call at a time finds out whether it works again.

Pure: it has no clock of its own and places nothing. docs/decisions/0011 says why no library does this here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from app.verification.model import Refusal
from app.verification.ports import BreakerState, CallOutcome, Placed, Refused, Unknown

PAUSE_GROWTH, MAX_GROWTH = 2, 8
"""The pause doubles with each trial call that fails, up to eight times the first one."""

TRIAL_WAIT = 5
"""Seconds until another try makes sense while a trial call is under way."""


class Verdict(Enum):
    """What the outcome of a call says of the provider."""

    WORKS = auto()
    FAILS = auto()
    REFUSES_US = auto()  # our account: the next call fares no better
    NOTHING = auto()


VERDICT_OF: dict[Refusal, Verdict] = {
    Refusal.NOT_A_NUMBER: Verdict.WORKS,
    Refusal.NOT_PERMITTED: Verdict.WORKS,
    Refusal.CALLED_TOO_OFTEN: Verdict.WORKS,
    Refusal.CREDENTIALS: Verdict.REFUSES_US,
    Refusal.BALANCE: Verdict.REFUSES_US,
    Refusal.UNREACHABLE: Verdict.FAILS,
    # It answers, and costs nothing. If one number gets such an answer, a stranger who calls it must not stop the others.
    Refusal.MALFORMED: Verdict.NOTHING,
    Refusal.OTHER: Verdict.NOTHING,
    Refusal.BUSY: Verdict.NOTHING,
}
"""What each refusal says of the provider."""


def judge(outcome: CallOutcome) -> Verdict:
    """What an outcome says of the provider."""
    match outcome:
        case Placed():
            return Verdict.WORKS
        case Refused(reason=reason):
            return VERDICT_OF[reason]
        case Unknown():
            return Verdict.FAILS
        case _:
            assert_never(outcome)


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to ask the provider for one call."""

    era: int


class Breaker:
    """Opens after `max_failures` calls in a row that failed, or one that our account can't pay for or is not allowed.

    Args:
        max_failures: in a row; 0: it never opens.
        pause: seconds until the first trial call.
        changed: called with each change of state, and why it opened.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        max_failures: int,
        pause: float,
        changed: Callable[[BreakerState, str, float], None],
        clock: Callable[[], float],
    ) -> None:
        self.state = BreakerState.CLOSED
        self._max_failures = max_failures
        self._first_pause = self._pause = pause
        self._changed = changed
        self._clock = clock
        self._failures = 0
        self._trial_at = 0.0
        self._trial = False
        self._era = 0

    def wait(self) -> float:
        """Seconds until a call may be admitted; 0 for now."""
        match self.state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.HALF_OPEN:
                return TRIAL_WAIT if self._trial else 0.0
            case BreakerState.OPEN:
                return max(0.0, self._trial_at - self._clock())
            case _:
                assert_never(self.state)

    def admit(self) -> Permit:
        """Admit a call for which there is no `wait`: the first one after a pause is the trial call. It must come to its `end`."""
        if self.state is BreakerState.OPEN:
            self._become(BreakerState.HALF_OPEN)
        self._trial = self.state is BreakerState.HALF_OPEN
        return Permit(self._era)

    def end(self, permit: Permit, outcome: CallOutcome | None) -> None:
        """A call ended, or was not placed at all. One that began before the last change of state says nothing of now."""
        if permit.era != self._era:
            return
        self._trial = False
        match judge(outcome) if outcome else Verdict.NOTHING:
            case Verdict.WORKS:
                self._works()
            case Verdict.FAILS:
                self._failures += 1
                if self.state is BreakerState.HALF_OPEN or self._failures >= self._max_failures:
                    self._open(outcome)
            case Verdict.REFUSES_US:
                self._open(outcome)
            case Verdict.NOTHING:
                pass  # after a trial call that says nothing, the next call is the trial

    def _works(self) -> None:
        self._failures = 0
        if self.state is BreakerState.HALF_OPEN:
            self._pause = self._first_pause
            self._become(BreakerState.CLOSED)

    def _open(self, outcome: CallOutcome | None) -> None:
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
        self._changed(state, reason, pause)
