"""The rules in force: how long, how often, how many; what they add up to. Made once at start-up from the settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.verification.challenge import When
from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.guess_budget import WHOLE, GuessBudget
from app.verification.limits import Rate, Spending, max_calls
from app.verification.phone import PhoneRules

MAX_LIFETIME = 600
"""Seconds: no verification lives longer, whatever is resent."""

TOMBSTONE = 600
"""Seconds that an ended verification is remembered, so that its caller learns how it ended."""

MAX_CALLS_COUNTED = 200
"""The largest count of a per-phone limit: each phone's record keeps one time for each call it counts."""

BLUR = 30
"""Seconds to which waits for a phone are rounded up for strangers: else they would see to the second when its owner was last called."""

TEST_CALLS = (Rate(100, 60),)
"""Limits on verifications of one test number, which has no resend cooldown: a build runs many tests at once, and costs no call."""

SITE_FACTOR = 4
"""How many times the limit of its /64 an IPv6 /48 may have."""

_HOUR, _DAY = 3600, 86400


# ---- the watches over what becomes of calls and codes

SUSPENSION, MAX_SUSPENSION = 900, 7200
"""Seconds that a destination is suspended for the first time; twice as long each time in a row, up to the second figure."""

TRIAL_CALLS, TRIALS_TO_RESUME = 5, 3
"""Calls that a destination gets after its suspension, and how many of them must be converted."""

TRIAL_WAIT = 300
"""Seconds in which a trial call may still be converted."""

ALERT_LASTS = 900
"""Seconds that the spray alert lasts after the last sign."""


@dataclass(frozen=True, slots=True)
class Guard:
    """When destinations are suspended, and when the spray alert is raised.

    The guard compares calls with approvals, by country and by range of ten thousand numbers. Calls that no one converts are toll fraud: somebody is paid
    for each. In an hour a destination gets so many calls whatever becomes of them, and beyond that as many as keep a share of them converted. Then it is
    suspended for 15 minutes. After that, five trial calls decide: it resumes when three of them are converted; else it is suspended for twice as long, up
    to two hours (store/lua/lib/guard.lua). Each lane has counts of its own: what strangers do suspends no call of a backend or a known device.

    The spray alert compares verifications with a wrong code with approvals: one guess at each of thousands stays under every other limit.
    """

    min_conversion: int  # the share of calls that must be converted, in thousandths; 0: nothing is ever suspended
    calls_per_country: int  # calls an hour before that share is required
    calls_per_range: int  # the same of a range
    public_share: float  # how much of these two counts the public lane has, besides the trusted lane's
    spray: int  # verifications with a wrong code in an hour before the alert is raised; 0: there is no alert

    def floors(self, calls: int) -> dict[str, int]:
        """How many of so many calls each lane may place whatever becomes of them. The trusted lane has them all: the public one must not shorten them."""
        return {"public": math.floor(calls * self.public_share + 1e-9), "trusted": calls}


# ---- the rules


@dataclass(frozen=True, slots=True)
class Policy:
    """What every verification obeys."""

    phones: PhoneRules  # which phones are called
    code_length: int  # the fewest digits of a code, 4 to 6
    ttl: int  # seconds in which a code is accepted after its call; a resend moves the expiry, at most to `MAX_LIFETIME`
    max_attempts: int  # wrong codes that one verification allows
    cooldowns: tuple[int, ...]  # seconds from one call to a phone until the next, by how many it had; the last repeats
    calls_per_phone: tuple[Rate, ...]  # starts and resends together
    calls_per_ip: tuple[Rate, ...]  # calls for one address that no approval gave back
    calls_total: tuple[Rate, ...]  # calls of all clients together
    public_share: float  # how much of every shared budget the public lane may use
    guesses: GuessBudget  # what guesses against one phone may add up to
    spending: Spending  # what calls may cost
    challenge: When  # when the public lane must solve a challenge
    guard: Guard  # when destinations are suspended, and when the spray alert is raised
    test_numbers: Mapping[str, str] = field(repr=False)  # the fixed codes of numbers that are never called, by E.164
    approval_repeat_window: int  # seconds in which the right code gets the same approval again
    call_deadline: int  # seconds after which a call whose placing never reported back no longer blocks the next

    @property
    def public_calls_per_phone(self) -> tuple[Rate, ...]:
        """What the public lane may use of the limits on calls to one phone."""
        return tuple(rate.share(self.public_share) for rate in self.calls_per_phone)

    def leaves_a_call(self, rates: tuple[Rate, ...]) -> bool:
        """Whether the public lane has at least one call of each of these, unless it is to have none."""
        return self.public_share == 0 or all(rate.share(self.public_share).count for rate in rates)

    def problems(self) -> list[str]:
        """What in these rules is invalid, a sentence each that names the fix; empty if nothing is."""
        named = [("CALLS_PER_PHONE", self.calls_per_phone), ("CALLS_TOTAL", self.calls_total)]
        if self.guard.min_conversion:
            # Without a call of its own, the lane would find each destination suspended before its first one.
            named.append(("FRAUD_CALLS_PER_RANGE", (Rate(self.guard.calls_per_range, _HOUR),)))
            named.append(("FRAUD_CALLS_PER_COUNTRY", (Rate(self.guard.calls_per_country, _HOUR),)))
        checks = [
            (MIN_DIGITS <= self.code_length <= MAX_DIGITS, f"CODE_LENGTH must be {MIN_DIGITS} to {MAX_DIGITS}"),
            (30 <= self.ttl <= MAX_LIFETIME, f"VERIFICATION_TTL must be 30 to {MAX_LIFETIME} seconds"),  # noqa: PLR2004  a call takes some 20 s to arrive and be read
            (1 <= self.max_attempts <= 10, "MAX_ATTEMPTS must be 1 to 10"),  # noqa: PLR2004  ten guesses at 4 digits are the bound of a whole day
            (all(5 <= step <= 86400 for step in self.cooldowns), "RESEND_COOLDOWNS must be 5 to 86400 seconds each"),  # noqa: PLR2004  sooner than 5 s the first call still rings
            (
                list(self.cooldowns) == sorted(self.cooldowns),
                "RESEND_COOLDOWNS must not shrink: write them from short to long",
            ),
            (
                all(rate.count <= MAX_CALLS_COUNTED for rate in self.calls_per_phone),
                f"CALLS_PER_PHONE counts at most {MAX_CALLS_COUNTED} calls",
            ),
            (
                all(len(code) >= self.code_length for code in self.test_numbers.values()),
                f"TEST_NUMBERS has a code of fewer digits than CODE_LENGTH={self.code_length}: give it as many",
            ),
            *(
                (
                    self.leaves_a_call(rates),
                    f"PUBLIC_SHARE={self.public_share:g} of {name} leaves the public lane no call: raise one of the two, or set PUBLIC_SHARE=0",
                )
                for name, rates in named
            ),
        ]
        problems = [sentence for holds, sentence in checks if not holds]
        # What is invalid already needs no second complaint.
        return problems or self.guesses.problems()


def whole_seconds(milliseconds: int) -> int:
    """Milliseconds as whole seconds, rounded up and at least 1: a caller who waits that long is never too early."""
    return max(1, math.ceil(milliseconds / 1000))


# ---- what the rules add up to: upper bounds, whatever an attacker does


@dataclass(frozen=True, slots=True)
class Step:
    """How many verifications of one phone a day allows, if no one ever types a right code, before codes grow."""

    code_length: int
    verifications: int | None  # started with so many digits; None for as many as the limits on calls allow
    chance: float  # that a guess at one of them is right


@dataclass(frozen=True, slots=True)
class LaneBounds:
    """What one lane can use up at most."""

    takeover: float  # chance that all its guesses against one phone in any 24 hours are right once
    steps: tuple[Step, ...]  # how a phone's codes grow while the lane guesses at it
    calls_per_hour: int | None  # that the caps on money allow in any hour; None if calls cost nothing
    calls_per_day: int | None
    calls_per_phone_and_hour: int
    calls_per_phone_and_day: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the rules add up to."""

    all: LaneBounds  # both lanes together: what the trusted lane has while the public one uses nothing
    public: LaneBounds
    calls_per_address_and_hour: int  # that no approval gave back


def bounds_of(policy: Policy) -> Bounds:
    """Work out what a policy adds up to."""
    return Bounds(_lane(policy, public=False), _lane(policy, public=True), max_calls(policy.calls_per_ip, _HOUR))


def _lane(policy: Policy, *, public: bool) -> LaneBounds:
    share = policy.public_share if public else 1
    phone = policy.public_calls_per_phone if public else policy.calls_per_phone
    return LaneBounds(
        takeover=(policy.guesses.public_bound if public else policy.guesses.bound) / WHOLE,
        steps=tuple(_steps(policy, public=public)),
        calls_per_hour=policy.spending.calls(_HOUR, share),
        calls_per_day=policy.spending.calls(_DAY, share),
        calls_per_phone_and_hour=max_calls(phone, _HOUR),
        calls_per_phone_and_day=max_calls(phone, _DAY),
    )


def _steps(policy: Policy, *, public: bool) -> list[Step]:
    """Play a day of a stranger who uses up every attempt of each verification, and never has a phone called twice for one."""
    budget, steps, spent = policy.guesses, [], 0
    for length in range(policy.code_length, MAX_DIGITS):
        begun = 0
        while spent + budget.worst(length) <= budget.room(length, public=public):
            spent, begun = spent + budget.worst(length), begun + 1
        steps.append(Step(length, begun, budget.cost(length) / WHOLE))
    return [*steps, Step(MAX_DIGITS, None, budget.cost(MAX_DIGITS) / WHOLE)]
