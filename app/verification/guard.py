"""Two watches over what comes of calls and codes.

Both go by one rule: in an hour so much may be tried whatever comes of it, and beyond that as much as keeps the good ends at a share.

The guard watches calls against approvals, by country and by range of ten thousand numbers. Calls that nobody confirms are toll fraud: somebody
is paid for each. A destination over its rule is closed for 15 minutes; then five probes go through, and it opens when three of them are
confirmed; else it closes for twice as long, up to two hours (store/scripts/lib/guard.lua). So no range gets more than its floor of calls, plus
those that its approvals pay for, before it closes.

The spray alarm watches verifications with a wrong code against approvals: one guess at each of thousands stays under every other limit.
"""

from dataclasses import dataclass
from functools import lru_cache

from app.verification.phone import country_of

RANGE_DIGITS = 4
"""Last digits of a number that its range leaves open: ten thousand numbers, the smallest block that numbering plans of the CIS hand out."""

PAUSE = 900
"""Seconds that a destination is closed for the first time; twice as long each time in a row, up to two hours (store/scripts/lib/guard.lua)."""

PROBES = 5
"""Calls that a destination gets after its pause; it opens when three of them are confirmed."""

ALARM = 900
"""Seconds that the spray alarm lasts after the last sign."""

SPRAY_SHARE = 2000
"""In thousandths: beyond its floor the alarm is raised when more than one verification with a wrong code comes on two approvals."""


@dataclass(frozen=True, slots=True)
class Rule:
    """So much may be tried in an hour whatever comes of it, and beyond that as much as keeps the good ends at a share.

    Attributes:
        floor: so much.
        share: in thousandths.
    """

    floor: int
    share: int


@dataclass(frozen=True, slots=True)
class Guard:
    """When destinations close, and when the spray alarm is raised.

    Attributes:
        country: of calls to a country; None: it never closes.
        range: of calls to a range of ten thousand numbers; None: it never closes.
        spray: of verifications with a wrong code; None: there is no alarm.
    """

    country: Rule | None
    range: Rule | None
    spray: Rule | None

    @classmethod
    def of(cls, share: float, per_country: int, per_range: int, spray: int) -> "Guard":
        """Make the rules.

        Args:
            share: the least share of calls that must be confirmed, 0 for no guard.
            per_country: the floor of each country.
            per_range: the floor of each range.
            spray: the alarm's floor, 0 for no alarm.
        """
        least = max(1, round(share * 1000)) if share else 0
        alarm = Rule(spray, SPRAY_SHARE) if spray else None
        return cls(Rule(per_country, least), Rule(per_range, least), alarm) if least else cls(None, None, alarm)


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """What the watches stand at.

    Attributes:
        closed: what is closed, and until when in unix milliseconds.
        alarm_until: when the spray alarm ends; None while there is none.
    """

    closed: tuple[tuple[str, int], ...]
    alarm_until: int | None


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
