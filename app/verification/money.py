"""The money budget: what calls may cost in an hour and in a day, in ten-thousandths of the provider's currency.

A call reserves its expected price before it is placed, or the price that was lately seen if that is higher, and settles at the price in the provider's
answer; a refusal gives the reservation back, a call whose outcome is unknown keeps it. While no price was seen, only so many calls are placed at once as
fit if each costs ten times what is expected. So the caps hold for all workers and replicas together, and through crashes. One gap is left: where a price
rises after others were seen, the calls that are under way at that moment may exceed a cap by the difference.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from app.verification.rates import PERIODS, Rate

SCALE = 10_000
"""Units in one of the currency."""

MAX_CAP = 400_000
"""The largest cap, in the currency: far beyond any sensible one, so that a cap with zeros too many is noticed."""

UNKNOWN_FACTOR = 10
"""What a call may cost while no price was seen, in expected prices."""

_CAP = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,4})?)\s*/\s*(hour|day)\s*")


@dataclass(frozen=True, slots=True)
class Spending:
    """What calls may cost.

    Attributes:
        price: what a call is expected to cost, in units.
        caps: of all calls together, counts being units.
        by_country: of the calls to a country, by its ISO 3166-1 code; only where there are some.
    """

    price: int
    caps: tuple[Rate, ...]
    by_country: Mapping[str, tuple[Rate, ...]] = field(default_factory=dict)

    def calls(self, seconds: int, share: float = 1) -> int | None:
        """The most calls that a share of the caps allows in any so many seconds; None if calls cost nothing."""
        if self.price == 0:
            return None
        return min(cap.share(share).count * math.ceil(seconds / cap.seconds) // self.price for cap in self.caps)


def price_units(price: Decimal) -> int:
    """A price in units, rounded up."""
    return int((price * SCALE).to_integral_value(ROUND_CEILING))


def cap_units(cap: Decimal) -> int:
    """A cap in units, rounded down."""
    return int((cap * SCALE).to_integral_value(ROUND_FLOOR))


def parse_caps(text: str) -> tuple[Rate, ...]:
    """Read caps: `100/hour, 500.50/day`, in the currency.

    Raises:
        ValueError: it is not that; the message names the fix.
    """
    caps = []
    for part in text.split(","):
        match = _CAP.fullmatch(part)
        if not match or Decimal(match[1]) > MAX_CAP:
            msg = f"{part.strip()!r} is no cap: write them like '100/hour, 500.50/day', up to {MAX_CAP}"
            raise ValueError(msg)
        caps.append(Rate(cap_units(Decimal(match[1])), PERIODS[match[2]]))
    if len({cap.seconds for cap in caps}) < len(caps):
        raise ValueError("one period is named twice: keep the smaller cap")
    return tuple(sorted(caps, key=lambda cap: cap.seconds))


def parse_country_caps(text: str) -> dict[str, tuple[Rate, ...]]:
    """Read caps by country: `KZ 50/hour, 200/day; BY 20/day`.

    Raises:
        ValueError: it is not that; the message names the fix.
    """
    found: dict[str, tuple[Rate, ...]] = {}
    for part in text.split(";"):
        country, _, caps = part.strip().partition(" ")
        if not re.fullmatch(r"[A-Z]{2}", country) or not caps or country in found:
            msg = (
                f"{part.strip()!r} is no country with caps, each once: write them like 'KZ 50/hour, 200/day; BY 20/day'"
            )
            raise ValueError(msg)
        found[country] = parse_caps(caps)
    return found
