"""The rules in force: how long, how often, how many. Made once at start-up from the settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.verification.challenge import When
from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.guard import Guard
from app.verification.guess_budget import GuessBudget
from app.verification.money import Spending
from app.verification.phone import PhoneRules
from app.verification.rates import Rate

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


@dataclass(frozen=True, slots=True)
class Policy:
    """What every verification obeys.

    Attributes:
        phones: which phones are called.
        code_length: the fewest digits of a code, 4 to 6.
        ttl: seconds in which a code is accepted after its call; a resend moves the expiry, at most to `MAX_LIFETIME` after the start.
        max_attempts: wrong codes that one verification allows.
        cooldowns: seconds from one call to a phone until the next, by how many it had; the last step repeats.
        calls_per_phone: limits on calls to one phone, starts and resends together.
        calls_per_ip: limits on calls for one address that no approval gave back.
        calls_total: limits on calls of all clients together.
        public_share: how much of every shared budget the public lane may use.
        guesses: what guesses against one phone may add up to.
        spending: what calls may cost.
        challenge: when the public lane must solve a challenge.
        guard: when destinations are suspended, and when the spray alert is raised.
        test_numbers: the fixed codes of numbers that are never called, by E.164.
        approval_repeat_window: seconds in which the right code gets the same approval again.
        call_deadline: seconds after which a call whose placing never reported back no longer blocks the next.
    """

    phones: PhoneRules
    code_length: int
    ttl: int
    max_attempts: int
    cooldowns: tuple[int, ...]
    calls_per_phone: tuple[Rate, ...]
    calls_per_ip: tuple[Rate, ...]
    calls_total: tuple[Rate, ...]
    public_share: float
    guesses: GuessBudget
    spending: Spending
    challenge: When
    guard: Guard
    test_numbers: Mapping[str, str] = field(repr=False)
    approval_repeat_window: int
    call_deadline: int

    @property
    def public_calls_per_phone(self) -> tuple[Rate, ...]:
        """What the public lane may use of the limits on calls to one phone."""
        return tuple(rate.share(self.public_share) for rate in self.calls_per_phone)

    def leaves_a_call(self, rates: tuple[Rate, ...]) -> bool:
        """Whether the public lane has at least one call of each of these, unless it is to have none."""
        return self.public_share == 0 or all(rate.share(self.public_share).count for rate in rates)

    def problems(self) -> list[str]:
        """What in these rules is invalid, a sentence each that names the fix; empty if nothing is."""
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
            (
                self.leaves_a_call(self.calls_per_phone),
                f"PUBLIC_SHARE={self.public_share:g} of CALLS_PER_PHONE leaves the public lane no call: raise one of the two, or set PUBLIC_SHARE=0",
            ),
            (
                self.leaves_a_call(self.calls_total),
                f"PUBLIC_SHARE={self.public_share:g} of CALLS_TOTAL leaves the public lane no call: raise one of the two, or set PUBLIC_SHARE=0",
            ),
        ]
        problems = [sentence for holds, sentence in checks if not holds]
        # What is invalid already needs no second complaint.
        return problems or [problem for problem in [self.guesses.problem()] if problem]


def whole_seconds(milliseconds: int) -> int:
    """Milliseconds as whole seconds, rounded up and at least 1: a caller who waits that long is never too early."""
    return max(1, math.ceil(milliseconds / 1000))
