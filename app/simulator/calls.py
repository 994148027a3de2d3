"""The calls that the simulator "placed": to whom, from which number, and how many, exactly."""

import random
import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

KEPT_CALLS = 10_000
"""Calls whose details are kept; the oldest are dropped first. Counts per number stay exact beyond that, up to `KEPT_NUMBERS`."""

KEPT_NUMBERS = 1_000_000
"""Numbers that are counted. Later numbers have no count, rather than a wrong one."""

MAX_CALLING_NUMBERS = 10_000_000
"""As many numbers as seven digits after the pool's prefix can write."""

NUMBER = re.compile(r"[0-9]{7,15}")
"""A subscriber's number as the provider accepts it: digits only (E.164 allows 15)."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `calling` is the number that it comes from, and `at` is in UTC."""

    id: str
    number: str
    calling: str
    capacity: int
    at: datetime

    @property
    def code(self) -> str:
        """The last `capacity` digits of the number that calls."""
        return self.calling[-self.capacity :]

    def to_json(self) -> dict[str, str]:
        """The call as JSON shows it."""
        return {
            "id": self.id,
            "number": self.number,
            "from": self.calling,
            "code": self.code,
            "capacity": str(self.capacity),
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }


class Calls:
    """All calls, and the pool of numbers that they come from.

    Args:
        pool: how many calling numbers there are.
        seed: gives the same numbers at each run; None takes the system's randomness.

    Raises:
        ValueError: the pool is empty, or larger than there are numbers.
    """

    def __init__(self, pool: int = 10_000, seed: int | None = None) -> None:
        if not 1 <= pool <= MAX_CALLING_NUMBERS:
            raise ValueError(f"pool is {pool}: choose 1 to {MAX_CALLING_NUMBERS} calling numbers")
        self._random: random.Random = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311  a seed is asked for to repeat a run
        # Up to 10,000 numbers all end in different four digits: a pool of N numbers makes N codes of every length.
        ends = 10_000 if pool <= 10_000 else MAX_CALLING_NUMBERS  # noqa: PLR2004
        drawn = self._random.sample(range(ends), pool)
        self._pool = [f"7495{self._random.randrange(0, MAX_CALLING_NUMBERS, ends) + end:07d}" for end in drawn]
        self._next = 1000
        self.forget()

    def forget(self) -> None:
        """Delete all calls and counts."""
        self._kept: deque[Call] = deque(maxlen=KEPT_CALLS)
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._uncounted = False

    def calling_number(self, digits: str | None) -> str:
        """A random number of the pool; with `digits`, one that ends in them."""
        drawn = self._random.choice(self._pool)
        return drawn if digits is None else drawn[: -len(digits)] + digits

    def new(self, number: str, capacity: int, digits: str | None = None) -> Call:
        """A call that is not placed yet. Its calling number ends in `digits`, if there are any."""
        self._next += 1
        return Call(str(self._next), number, self.calling_number(digits), capacity, datetime.now(UTC))

    def place(self, call: Call) -> None:
        """Count a call as placed."""
        self._total += 1
        self._kept.append(call)
        if call.number in self._counts or len(self._counts) < KEPT_NUMBERS:
            self._counts[call.number] += 1
        else:
            self._uncounted = True

    def count(self, number: str | None = None) -> int | None:
        """How many calls were placed, to one number or in all; None for a number that may have been called uncounted."""
        if number is None:
            return self._total
        return None if self._uncounted and number not in self._counts else self._counts[number]

    def newest(self, number: str | None = None) -> Iterator[Call]:
        """The kept calls, newest first."""
        return (call for call in reversed(self._kept) if number is None or call.number == number)
