"""What the rules in force add up to: for whoever must answer for them. Figures are upper bounds, whatever an attacker does."""

from dataclasses import dataclass

from app.verification.code import MAX_DIGITS
from app.verification.guess_budget import WHOLE, max_calls
from app.verification.policy import Policy

HOUR, DAY = 3600, 86400


@dataclass(frozen=True, slots=True)
class Step:
    """How many verifications of one phone a day bears, if nobody ever types a right code, before codes grow.

    Attributes:
        code_length: their digits.
        verifications: how many are begun with so many digits; None for as many as the limits on calls let through.
        chance: that a guess at one of them is right, each.
    """

    code_length: int
    verifications: int | None
    chance: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the rules add up to.

    Attributes:
        takeover: chance that all guesses against one phone in any 24 hours are right once.
        steps: how its codes grow under attack.
        all_calls_per_hour: most calls that the caps on money let through in any hour; None if calls cost nothing.
        all_calls_per_day: the same in any 24 hours.
        calls_per_hour: most calls that one phone gets in any hour.
        calls_per_day: most calls that one phone gets in any 24 hours.
        address_calls_per_hour: most calls that one address has placed in any hour.
        address_guesses_per_hour: most wrong codes of one address that are compared in any hour.
    """

    takeover: float
    steps: tuple[Step, ...]
    all_calls_per_hour: int | None
    all_calls_per_day: int | None
    calls_per_hour: int
    calls_per_day: int
    address_calls_per_hour: int
    address_guesses_per_hour: int

    def takeover_of_any(self, phones: int) -> float:
        """The chance that at least one of so many phones is taken over in a day, if all are attacked at once (union bound)."""
        return min(1.0, phones * self.takeover)


def bounds_of(policy: Policy) -> Bounds:
    """Work out what a policy adds up to."""
    return Bounds(
        takeover=policy.guesses.bound / WHOLE,
        steps=tuple(_steps(policy)),
        all_calls_per_hour=policy.spending.calls(HOUR),
        all_calls_per_day=policy.spending.calls(DAY),
        calls_per_hour=max_calls(policy.calls_per_phone, HOUR),
        calls_per_day=max_calls(policy.calls_per_phone, DAY),
        address_calls_per_hour=max_calls(policy.calls_per_ip, HOUR),
        address_guesses_per_hour=max_calls(policy.wrong_guesses_per_ip, HOUR),
    )


def _steps(policy: Policy) -> list[Step]:
    """Play a day of a stranger who uses up every attempt of each verification, and never has a phone called twice for one."""
    budget, steps, spent = policy.guesses, [], 0
    for length in range(policy.code_length, MAX_DIGITS):
        cost, begun = budget.cost(length) * budget.attempts, 0
        while spent + budget.worst(length) <= budget.room(length):
            spent, begun = spent + cost, begun + 1
        steps.append(Step(length, begun, budget.cost(length) / WHOLE))
    return [*steps, Step(MAX_DIGITS, None, budget.cost(MAX_DIGITS) / WHOLE)]
