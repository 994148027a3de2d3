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


TEST_STARTS = (Rate(100, 60),)
"""Limits on verifications of one test number, which has no ladder: a build runs many tests at once, and costs nobody a call."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What every verification obeys.

    Attributes:
        phones: which phones are called.
        code_length: the fewest digits a code has, 4 to 6.
        ttl: seconds a code is taken after its call; a resend moves the expiry, at most to `MAX_LIFETIME` after the start.
        max_attempts: wrong guesses that one verification bears.
        ladder: seconds from one call to a phone until the next, by how many it had; the last step repeats.
        calls_per_phone: limits on calls to one phone, starts and resends together.
        calls_per_ip: limits on calls for one address, starts and resends together.
        calls_total: limits on calls of all clients together.
        wrong_guesses_per_ip: limits on wrong codes from one address.
        guesses: what guesses against one phone may add up to.
        spending: what calls may cost.
        challenge: when public clients must do some work first.
        guard: when destinations close, and when the spray alarm is raised.
        test_numbers: the fixed codes of numbers that are never called, by E.164.
        approval_repeat_window: seconds in which the right code is told its approval again.
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
    wrong_guesses_per_ip: tuple[Rate, ...]
    guesses: GuessBudget
    spending: Spending
    challenge: When
    guard: Guard
    test_numbers: Mapping[str, str] = field(repr=False)
    approval_repeat_window: int
    call_deadline: int

    def faults(self) -> list[str]:
        """What in these rules can't stand, a sentence each; empty if all can."""
        checks = [
            (MIN_DIGITS <= self.code_length <= MAX_DIGITS, f"CODE_LENGTH must be {MIN_DIGITS} to {MAX_DIGITS}"),
            (30 <= self.ttl <= MAX_LIFETIME, f"VERIFICATION_TTL must be 30 to {MAX_LIFETIME} seconds"),  # noqa: PLR2004  a call takes some 20 s to arrive and be read
            (1 <= self.max_attempts <= 10, "MAX_ATTEMPTS must be 1 to 10"),  # noqa: PLR2004  ten guesses at 4 digits are the bound of a whole day
            (all(5 <= step <= 86400 for step in self.cooldowns), "RESEND_COOLDOWNS steps must be 5 to 86400 seconds"),  # noqa: PLR2004  sooner than 5 s the first call still rings
            (
                list(self.cooldowns) == sorted(self.cooldowns),
                "RESEND_COOLDOWNS must not shrink: write its steps from short to long",
            ),
            (
                all(rate.count <= MAX_CALLS_COUNTED for rate in self.calls_per_phone),
                f"CALLS_PER_PHONE counts at most {MAX_CALLS_COUNTED} calls",
            ),
            (
                all(len(code) >= self.code_length for code in self.test_numbers.values()),
                f"TEST_NUMBERS has a code of fewer digits than CODE_LENGTH={self.code_length}: give it as many",
            ),
        ]
        faults = [sentence for holds, sentence in checks if not holds]
        # What is wrong already needs no second complaint.
        return faults or [fault for fault in [self.guesses.fault()] if fault]


def whole_seconds(milliseconds: int) -> int:
    """Milliseconds as whole seconds, rounded up and at least 1: a caller who waits that long is never too early."""
    return max(1, math.ceil(milliseconds / 1000))
