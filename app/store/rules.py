"""The policy as the scripts read it: every constant of theirs, once, as JSON (lua/lib/script.lua). Times are milliseconds, windows seconds."""

from typing import Any

from app.verification.challenge import LIFETIME as CHALLENGE_LIFETIME
from app.verification.challenge import MAX_LEVEL
from app.verification.entropy import SAMPLE
from app.verification.guess_budget import LENGTHS, WINDOW, GuessBudget
from app.verification.ids import RECURRENCE
from app.verification.limits import UNKNOWN_FACTOR
from app.verification.policy import (
    ALERT_LASTS,
    BLUR,
    MAX_LIFETIME,
    MAX_SUSPENSION,
    SUSPENSION,
    TOMBSTONE,
    TRIAL_CALLS,
    TRIAL_WAIT,
    TRIALS_TO_RESUME,
    Policy,
)

SLICES = 12
"""Parts of a window: the oldest counts in whole, so a limit may be stricter by a twelfth of its window."""

DAY = 86_400_000
QUIET = 3_600_000
"""Milliseconds without a call after which resend cooldowns start again; where a cooldown is longer, that."""


def rules_of(policy: Policy, guesses: GuessBudget) -> dict[str, Any]:
    """The policy for the scripts, with guesses charged by a budget."""
    rules: dict[str, Any] = {
        "slices": SLICES,
        "ttl": policy.ttl * 1000,
        "max_lifetime": MAX_LIFETIME * 1000,
        "tombstone": TOMBSTONE * 1000,
        "call_deadline": policy.call_deadline * 1000,
        "repeat_window": policy.approval_repeat_window * 1000,
        "idempotency_lifetime": DAY,
        "quiet": max(QUIET, policy.cooldowns[-1] * 1000),
        # A day at least: one call of a day is sampled, and the work of challenges grows with a day's calls.
        "phone_memory": max(
            DAY, *(rate.seconds * 1000 for rate in policy.calls_per_phone), policy.cooldowns[-1] * 1000
        ),
        "blur": BLUR * 1000,
        "cooldowns": [step * 1000 for step in policy.cooldowns],
        "calls_per_phone": {
            lane: [{"max": rate.count, "per_address": rate.per_address.count, "window": rate.seconds} for rate in rates]
            for lane, rates in (("public", policy.public_calls_per_phone), ("trusted", policy.calls_per_phone))
        },
        "windows_per_ip": [rate.seconds for rate in policy.calls_per_ip],
        "max_attempts": policy.max_attempts,
        "guess_window": WINDOW,
        "code_lengths": [
            {
                "digits": digits,
                "cost": guesses.cost(digits),
                "room": guesses.room(digits),
                "public_room": guesses.room(digits, public=True),
            }
            for digits in LENGTHS
        ],
        "expected_price": policy.spending.price,
        "unknown_price": policy.spending.price * UNKNOWN_FACTOR,
        "price_lifetime": DAY,
        "challenge_lifetime": CHALLENGE_LIFETIME * 1000,
        "max_level": MAX_LEVEL,
        "lane_floor": policy.guard.floors(policy.guard.calls_per_range)["public"],
        "min_conversion": policy.guard.min_conversion,
        "sample_characters": SAMPLE * RECURRENCE * 2,
        "sample_lifetime": DAY,
    }
    if guesses.impossible:
        rules["codes_predictable"] = True
    return rules | _guard(policy)


def _guard(policy: Policy) -> dict[str, Any]:
    guard = policy.guard
    rules: dict[str, Any] = {"guard_lifetime": 4 * QUIET}
    if guard.spray:
        rules["spray"] = {"floor": guard.spray, "lasts": ALERT_LASTS * 1000}
    if guard.min_conversion:
        rules |= {
            "guard": {"country": guard.floors(guard.calls_per_country), "range": guard.floors(guard.calls_per_range)},
            "suspension": SUSPENSION * 1000,
            "max_suspension": MAX_SUSPENSION * 1000,
            "trial_calls": TRIAL_CALLS,
            "trials_to_resume": TRIALS_TO_RESUME,
            "trial_wait": TRIAL_WAIT * 1000,
        }
    return rules
