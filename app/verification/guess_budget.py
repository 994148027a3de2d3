"""The guess budget: what all guesses against one phone may add up to in any 24 hours, as a probability.

A guess at a code of d digits is right with 10^-d, if the digits are drawn evenly, for each code that counts at that moment: two after a
resend. Where the provider's codes turn out to be worse than that, it is charged what was measured (odds.py). It is charged before anything is
compared. The sum over all verifications, clients and addresses stays under the bound (union bound: whatever the order, and whatever an attacker
learns from wrong ones).

As the budget fills, codes grow: five digits cost a tenth, six a hundredth. A part of it, the reserve, is for six digits alone: as much as all calls
that the phone's limits allow can cost at most. So a stranger's guesses make codes longer, and never keep the owner out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.rates import Rate

WHOLE = 10**MAX_DIGITS
"""Units in a certainty."""

UNIT = 1 / WHOLE
"""What one guess at one code of six digits costs: all costs are whole numbers of it."""

WINDOW = 86400
"""Seconds."""

WINDOW_AS_COUNTED = WINDOW * 13 // 12
"""Seconds: the oldest of twelve slices counts in whole (store/scripts/lib/window.lua), so what is counted may be two hours older."""

MAX_CODES = 2
"""Codes that count at once: of the last two calls."""

_LENGTHS = range(MIN_DIGITS, MAX_DIGITS + 1)
EVEN = tuple(10 ** (MAX_DIGITS - digits) for digits in _LENGTHS)
"""What a guess at an evenly drawn code costs, of 4, 5 and 6 digits."""


@dataclass(frozen=True, slots=True)
class GuessBudget:
    """The budget of each phone, in units.

    Attributes:
        bound: what guesses may add up to.
        guesses: the most that all calls a phone can get may bear in the time that is counted.
        attempts: wrong guesses that one verification bears.
        costs: what one guess at one code costs, of 4, 5 and 6 digits.
    """

    bound: int
    guesses: int
    attempts: int
    costs: tuple[int, ...] = EVEN

    @classmethod
    def of(cls, bound: float, attempts: int, calls_per_phone: tuple[Rate, ...]) -> "GuessBudget":
        """Work out the budget.

        Args:
            bound: a probability.
            attempts: wrong guesses that one verification bears.
            calls_per_phone: limits on calls to one phone: they limit how many codes there are to guess at.
        """
        guesses = max_calls(calls_per_phone, WINDOW_AS_COUNTED) * attempts
        return cls(math.floor(bound / UNIT + 1e-9), guesses, attempts)

    def charging(self, chances: Mapping[int, float]) -> "GuessBudget":
        """The same budget, if the likeliest code of so many digits comes up with this chance: guesses never cost less than evenly drawn ones."""
        even = dict(zip(_LENGTHS, EVEN, strict=True))
        costs = (max(even[digits], math.ceil(chances[digits] / UNIT - 1e-6)) for digits in _LENGTHS)
        return replace(self, costs=tuple(costs))

    @property
    def reserve(self) -> int:
        """The part of the bound that only codes of six digits may use."""
        return min(self.bound, self.guesses * self.cost(MAX_DIGITS))

    @property
    def impossible(self) -> bool:
        """Not even one guess at one code of six digits fits: codes are so badly drawn that no call makes sense."""
        return not self.bears(MAX_DIGITS, 1)

    def bears(self, code_length: int, codes: int) -> bool:
        """Whether one guess at so many codes at once fits, if nothing was guessed before."""
        return self.cost(code_length) * codes <= self.room(code_length)

    def cost(self, code_length: int) -> int:
        """What one guess at one code costs."""
        return self.costs[code_length - MIN_DIGITS]

    def worst(self, code_length: int) -> int:
        """What one verification can cost at most: all its attempts at two codes."""
        return self.cost(code_length) * MAX_CODES * self.attempts

    def room(self, code_length: int) -> int:
        """What guesses at codes of this length may fill."""
        return self.bound if code_length == MAX_DIGITS else self.bound - self.reserve

    def first_length(self, code_length: int) -> int:
        """How many digits the first code of a day has, where the policy asks for this many."""
        fits = (length for length in range(code_length, MAX_DIGITS) if self.worst(length) <= self.room(length))
        return next(fits, MAX_DIGITS)

    def fault(self) -> str | None:
        """Why the bound can't hold, as a sentence that names the mend; None if it can."""
        if self.guesses <= self.bound:
            return None
        return (
            f"MAX_GUESS_PROBABILITY={self.bound * UNIT:g} can't hold: even with six digits the {self.guesses // self.attempts} calls that CALLS_PER_PHONE "
            f"allows one phone in {WINDOW_AS_COUNTED // 3600} hours, with {self.attempts} guesses each (MAX_ATTEMPTS), add up to "
            f"{self.guesses * UNIT:g}: lower one of these two, or raise the bound"
        )


def max_calls(rates: tuple[Rate, ...], seconds: int) -> int:
    """The most calls that limits let through in any so many seconds."""
    return min(rate.count * math.ceil(seconds / rate.seconds) for rate in rates)
