"""What the rules in force add up to: upper bounds, whatever an attacker does."""

from dataclasses import dataclass

from app.verification.code import MAX_DIGITS
from app.verification.guess_budget import WHOLE, max_calls
from app.verification.policy import Policy

HOUR, DAY = 3600, 86400


@dataclass(frozen=True, slots=True)
class Step:
    """How many verifications of one phone a day allows, if no one ever types a right code, before codes grow.

    Attributes:
        code_length: their digits.
        verifications: how many are started with so many digits; None for as many as the limits on calls allow.
        chance: that a guess at one of them is right.
    """

    code_length: int
    verifications: int | None
    chance: float


@dataclass(frozen=True, slots=True)
class LaneBounds:
    """What one lane can use up at most.

    Attributes:
        takeover: chance that all its guesses against one phone in any 24 hours are right once.
        steps: how a phone's codes grow while the lane guesses at it.
        calls_per_hour: most calls that the caps on money allow in any hour; None if calls cost nothing.
        calls_per_day: the same in any 24 hours.
        calls_per_phone_and_hour: most calls that one phone gets in any hour.
        calls_per_phone_and_day: most calls that one phone gets in any 24 hours.
    """

    takeover: float
    steps: tuple[Step, ...]
    calls_per_hour: int | None
    calls_per_day: int | None
    calls_per_phone_and_hour: int
    calls_per_phone_and_day: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the rules add up to.

    Attributes:
        all: both lanes together: what the trusted lane has while the public one uses nothing.
        public: the public lane alone.
        calls_per_address_and_hour: most calls of one address in any hour that no approval gave back.
    """

    all: LaneBounds
    public: LaneBounds
    calls_per_address_and_hour: int


def bounds_of(policy: Policy) -> Bounds:
    """Work out what a policy adds up to."""
    return Bounds(_lane(policy, public=False), _lane(policy, public=True), max_calls(policy.calls_per_ip, HOUR))


def _lane(policy: Policy, *, public: bool) -> LaneBounds:
    share = policy.public_share if public else 1
    phone = policy.public_calls_per_phone if public else policy.calls_per_phone
    return LaneBounds(
        takeover=(policy.guesses.public_bound if public else policy.guesses.bound) / WHOLE,
        steps=tuple(_steps(policy, public=public)),
        calls_per_hour=policy.spending.calls(HOUR, share),
        calls_per_day=policy.spending.calls(DAY, share),
        calls_per_phone_and_hour=max_calls(phone, HOUR),
        calls_per_phone_and_day=max_calls(phone, DAY),
    )


def _steps(policy: Policy, *, public: bool) -> list[Step]:
    """Play a day of a stranger who uses up every attempt of each verification, and never has a phone called twice for one."""
    budget, steps, spent = policy.guesses, [], 0
    room = budget.public_room if public else budget.room
    for length in range(policy.code_length, MAX_DIGITS):
        begun = 0
        while spent + budget.worst(length) <= room(length):
            spent, begun = spent + budget.worst(length), begun + 1
        steps.append(Step(length, begun, budget.cost(length) / WHOLE))
    return [*steps, Step(MAX_DIGITS, None, budget.cost(MAX_DIGITS) / WHOLE)]
