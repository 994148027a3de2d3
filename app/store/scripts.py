"""The Lua scripts, one per operation, and the policy as they read it.

Each file's head says what it does, its keys, its arguments, its replies, and why it must be atomic.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from app.verification.challenge import LIFETIME as CHALLENGE_LIFETIME
from app.verification.challenge import MAX_LEVEL
from app.verification.entropy import SAMPLE
from app.verification.guess_budget import LENGTHS, WINDOW, GuessBudget
from app.verification.ids import RECURRENCE
from app.verification.limits import MAX_CAP, SCALE, UNKNOWN_FACTOR
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

_FOLDER = files(__package__).joinpath("lua")
SCRIPTS = sorted(path.name.removesuffix(".lua") for path in _FOLDER.iterdir() if path.name.endswith(".lua"))

SLICES = 12
"""Parts of a window: the oldest counts in whole, so a limit may be stricter by a twelfth of its window."""

DAY = 86_400_000
QUIET = 3_600_000
"""Milliseconds without a call after which resend cooldowns start again; where a cooldown is longer, that."""


@dataclass(frozen=True)
class Script:
    """A script with the library parts that it uses."""

    text: str

    @cached_property
    def sha(self) -> str:
        """What EVALSHA calls it by."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def load_script(name: str) -> Script:
    """Read a script, and put the library parts of its `-- uses:` line before it.

    A first line `#!lua` makes Redis 7 judge the script as a whole before it runs: it is refused as a whole on a read-only replica and, unless its flags say
    otherwise, in a full store. So no script stops half-way.
    """
    body = _FOLDER.joinpath(f"{name}.lua").read_text("utf-8")
    head, body = body.split("\n", 1) if body.startswith("#!") else ("#!lua", body)
    uses, _, rest = body.partition("\n")
    parts = ("script", *uses.removeprefix("-- uses:").split())
    library = (_FOLDER.joinpath("lib", f"{part}.lua").read_text("utf-8") for part in parts)
    return Script("\n".join([head, *library, rest]))


def rules_of(policy: Policy, guesses: GuessBudget) -> dict[str, Any]:
    """The policy for the scripts, with guesses charged by a budget. Times are milliseconds, windows seconds."""
    per_phone = {"public": policy.public_calls_per_phone, "trusted": policy.calls_per_phone}
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
            for lane, rates in per_phone.items()
        },
        "windows_per_ip": [rate.seconds for rate in policy.calls_per_ip],
        "max_attempts": policy.max_attempts,
        "guess_window": WINDOW,
        "code_lengths": [
            {
                "digits": digits,
                "cost": guesses.cost(digits),
                "max": guesses.room(digits),
                "public_max": guesses.room(digits, public=True),
            }
            for digits in LENGTHS
        ],
        "expected_price": policy.spending.price,
        # Ten times nothing is nothing: where that is expected, the first call alone shows what calls cost.
        "unknown_price": policy.spending.price * UNKNOWN_FACTOR or MAX_CAP * SCALE,
        "price_lifetime": DAY,
        "challenge_lifetime": CHALLENGE_LIFETIME * 1000,
        "max_level": MAX_LEVEL,
        "lane_floor": policy.guard.floors(policy.guard.calls_per_range)["public"],
        "min_conversion": policy.guard.min_conversion,
        "sample_characters": SAMPLE * RECURRENCE * 2,
        "sample_lifetime": DAY,
        "guard_lifetime": 4 * QUIET,
    }
    if guesses.impossible:
        rules["codes_predictable"] = True
    if policy.guard.spray:
        rules["spray"] = {"floor": policy.guard.spray, "lasts": ALERT_LASTS * 1000}
    if policy.guard.min_conversion:
        rules |= {
            "guard": {
                "country": policy.guard.floors(policy.guard.calls_per_country),
                "range": policy.guard.floors(policy.guard.calls_per_range),
            },
            "suspension": SUSPENSION * 1000,
            "max_suspension": MAX_SUSPENSION * 1000,
            "trial_calls": TRIAL_CALLS,
            "trials_to_resume": TRIALS_TO_RESUME,
            "trial_wait": TRIAL_WAIT * 1000,
        }
    return rules
