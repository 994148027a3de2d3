"""The one notation of all limits: `5/hour, 10/day`."""

import math
import re
from dataclasses import dataclass

PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(second|minute|hour|day)\s*")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any `seconds`: `5/hour` is Rate(5, 3600)."""

    count: int
    seconds: int

    @property
    def period(self) -> str:
        """The period's name: `hour`."""
        return period_of(self.seconds)

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


def period_of(seconds: int) -> str:
    """The name of a period of so many seconds: `hour`."""
    return next((name for name, length in PERIODS.items() if length == seconds), f"{seconds}s")


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
        rates.append(Rate(int(match[1]), PERIODS[match[2]]))
    if len({rate.seconds for rate in rates}) < len(rates):
        raise ValueError("one period is named twice: keep the smaller count")
    return tuple(sorted(rates, key=lambda rate: rate.seconds))
