"""The fraud guard and the spray alert: two watches over what becomes of calls and codes.

The guard compares calls with approvals, by country and by range of ten thousand numbers. Calls that no one converts are toll fraud: somebody is paid for
each. In an hour a destination gets so many calls whatever becomes of them, and beyond that as many as keep a share of them converted. Then it is
suspended for 15 minutes. After that, five trial calls decide: it resumes when three of them are converted; else it is suspended for twice as long, up to
two hours (store/lua/lib/guard.lua). Each lane has counts of its own: what strangers do suspends no call of a backend or a known device.

The spray alert compares verifications with a wrong code with approvals: one guess at each of thousands stays under every other limit.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from app.verification.phone import country_of

RANGE_DIGITS = 4
"""Last digits of a number that its range leaves open: ten thousand numbers, the smallest block that numbering plans of the CIS hand out."""

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

    Attributes:
        min_conversion: the share of calls that must be converted, in thousandths; 0: no destination is ever suspended.
        calls_per_country: calls an hour before that share is required.
        calls_per_range: the same of a range.
        public_share: how much of these two counts the public lane has, besides the trusted lane's.
        spray: verifications with a wrong code in an hour before the alert is raised; 0: there is no alert.
    """

    min_conversion: int
    calls_per_country: int
    calls_per_range: int
    public_share: float
    spray: int

    def floors(self, calls: int) -> dict[str, int]:
        """How many of so many calls each lane may place whatever becomes of them. The trusted lane has them all: the public one must not shorten them."""
        return {"public": math.floor(calls * self.public_share + 1e-9), "trusted": calls}


@dataclass(frozen=True, slots=True)
class Suspended:
    """A destination of one lane that is not called now.

    Attributes:
        destination: a country, or the first digits of a range.
        lane: whose calls are not placed.
        until: unix milliseconds.
    """

    destination: str
    lane: str
    until: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used of one limit now, by lane; `resets_in` is in milliseconds, until some of it is free again."""

    public: int
    trusted: int
    resets_in: int


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """What the watches and the shared budgets stand at.

    Attributes:
        suspended: what is suspended, the soonest to resume first.
        alert_until: when the spray alert ends, unix milliseconds; None while there is none.
        used: of each shared limit, by its name.
    """

    suspended: tuple[Suspended, ...]
    alert_until: int | None
    used: dict[str, Usage]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a call goes.

    Attributes:
        country: ISO 3166-1 alpha-2; `ZZ` where a number belongs to none.
        range: the first digits of its range, with the plus.
    """

    country: str
    range: str


@lru_cache(4096)
def _destination(first: str, rest: str) -> Destination:
    return Destination(country_of(first + rest) or "ZZ", first)


def destination_of(phone: str) -> Destination:
    """Where a call to an E.164 number goes. The numbers of one range are of one country."""
    return _destination(phone[:-RANGE_DIGITS], "0" * RANGE_DIGITS)
