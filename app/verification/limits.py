"""Limits: how many calls, and what they may cost, in any second, minute, hour or day.

**The money budget** is in ten-thousandths of the provider's currency. A call reserves its expected price before it is placed, or the price that was
lately seen if that is higher, and settles at the price in the provider's answer; a refusal gives the reservation back, a call whose outcome is unknown
keeps it. While no price was seen, only so many calls are placed at once as fit if each costs ten times what is expected. So the caps hold for all
workers and replicas together, and through crashes. One gap is left: where a price rises after others were seen, the calls that are under way at that
moment may exceed a cap by the difference.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

SCALE = 10_000
"""Units in one of the currency."""

MAX_CAP = 400_000
"""The largest cap, in the currency: far beyond any sensible one, so that a cap with zeros too many is noticed."""

UNKNOWN_FACTOR = 10
"""What a call may cost while no price was seen, in expected prices."""

_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(second|minute|hour|day)\s*")
_CAP = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,4})?)\s*/\s*(hour|day)\s*")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any `seconds`: `5/hour` is Rate(5, 3600)."""

    count: int
    seconds: int

    @property
    def period(self) -> str:
        """The period's name: `hour`."""
        return next((name for name, length in _PERIODS.items() if length == self.seconds), f"{self.seconds}s")

    def share(self, share: float) -> "Rate":
        """What a lane with this share of it may use: rounded down."""
        return Rate(math.floor(self.count * share + 1e-9), self.seconds)

    @property
    def per_address(self) -> "Rate":
        """What one address may use of a phone's calls: half, rounded down, and at least a call and its resend."""
        return Rate(max(min(self.count, 2), self.count // 2), self.seconds)

    def __str__(self) -> str:
        """Return the notation that `parse_rates` reads."""
        return f"{self.count}/{self.period}"


@dataclass(frozen=True, slots=True)
class Spending:
    """What calls may cost."""

    price: int  # what a call is expected to cost, in units
    caps: tuple[Rate, ...]  # of all calls together, counts being units
    by_country: Mapping[str, tuple[Rate, ...]] = field(default_factory=dict)  # by ISO 3166-1 code, where there are some

    def calls(self, seconds: int, share: float = 1) -> int | None:
        """The most calls that a share of the caps allows in any so many seconds; None if calls cost nothing."""
        if self.price == 0:
            return None
        return min(cap.share(share).count * math.ceil(seconds / cap.seconds) // self.price for cap in self.caps)


def max_calls(rates: tuple[Rate, ...], seconds: int) -> int:
    """The most calls that limits allow in any so many seconds."""
    return min(rate.count * math.ceil(seconds / rate.seconds) for rate in rates)


def parse_rates(text: str) -> tuple[Rate, ...]:
    """Read limits in the one notation of all limits: `5/hour, 10/day`.

    Raises:
        ValueError: it is not that notation, a count is 0, or one period is named twice; the message names the fix.
    """
    rates = []
    for part in text.split(","):
        match = _RATE.fullmatch(part)
        if not match or int(match[1]) == 0:
            msg = f"{part.strip()!r} is not a limit: write them like '5/hour, 10/day', with a count of at least 1"
            raise ValueError(msg)
        rates.append(Rate(int(match[1]), _PERIODS[match[2]]))
    return _sorted(rates, "count")


def parse_caps(text: str) -> tuple[Rate, ...]:
    """Read caps on money: `100/hour, 500.50/day`, in the currency.

    Raises:
        ValueError: it is not that; the message names the fix.
    """
    caps = []
    for part in text.split(","):
        match = _CAP.fullmatch(part)
        if not match or Decimal(match[1]) > MAX_CAP:
            msg = f"{part.strip()!r} is no cap: write them like '100/hour, 500.50/day', up to {MAX_CAP}"
            raise ValueError(msg)
        caps.append(Rate(cap_units(Decimal(match[1])), _PERIODS[match[2]]))
    return _sorted(caps, "cap")


def _sorted(rates: list[Rate], what: str) -> tuple[Rate, ...]:
    if len({rate.seconds for rate in rates}) < len(rates):
        raise ValueError(f"one period is named twice: keep the smaller {what}")
    return tuple(sorted(rates, key=lambda rate: rate.seconds))


def parse_country_caps(text: str) -> dict[str, tuple[Rate, ...]]:
    """Read caps by country: `KZ 50/hour, 200/day; BY 20/day`.

    Raises:
        ValueError: it is not that; the message names the fix.
    """
    found: dict[str, tuple[Rate, ...]] = {}
    for part in text.split(";"):
        country, _, caps = part.strip().partition(" ")
        if not re.fullmatch(r"[A-Z]{2}", country) or not caps or country in found:
            example = "write them like 'KZ 50/hour, 200/day; BY 20/day'"
            raise ValueError(f"{part.strip()!r} is no country with caps, each once: {example}")
        found[country] = parse_caps(caps)
    return found


def price_units(price: Decimal) -> int:
    """A price in units, rounded up."""
    return int((price * SCALE).to_integral_value(ROUND_CEILING))


def cap_units(cap: Decimal) -> int:
    """A cap in units, rounded down."""
    return int((cap * SCALE).to_integral_value(ROUND_FLOOR))
