"""The guess budget: what all guesses against one phone may add up to in any 24 hours, as a probability.

A guess at a code of d digits is right with 10^-d, for each code that counts at that moment: two after a resend. Where the provider's codes turn out to
be biased, a guess costs what was measured (entropy.py). When a call is placed, all guesses at its code are held; a wrong one turns what is held into
what is counted (store/lua/lib/calls.lua). So the sum over all verifications, clients and addresses stays under the bound, and a placed call's code can
always be checked.

As the budget fills, codes grow: five digits cost a tenth, six a hundredth. The public lane may use its share of the bound. In each lane a reserve is for
six digits alone: as much as all calls that the phone's limits allow can cost at most. So a stranger's guesses make codes longer; they lock no one out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.limits import Rate, max_calls

WHOLE = 10**MAX_DIGITS
"""Units in a certainty."""

UNIT = 1 / WHOLE
"""What one guess at one code of six digits costs: all costs are whole numbers of it."""

WINDOW = 86400
"""Seconds."""

WINDOW_AS_COUNTED = WINDOW * 13 // 12
"""Seconds: the oldest of twelve slices counts in whole (store/lua/lib/counters.lua), so what is counted may be two hours older."""

LENGTHS = range(MIN_DIGITS, MAX_DIGITS + 1)
UNIFORM = tuple(10 ** (MAX_DIGITS - digits) for digits in LENGTHS)
"""What a guess at a uniformly distributed code costs, of 4, 5 and 6 digits."""


@dataclass(frozen=True, slots=True)
class GuessBudget:
    """The budget of each phone, in units."""

    bound: int  # what guesses may add up to
    public_bound: int  # how much of it the public lane may use
    calls: int  # the most calls that a phone gets in the time that is counted
    public_calls: int  # how many of them the public lane places at most
    attempts: int  # wrong codes that one verification allows
    costs: tuple[int, ...] = UNIFORM  # what one guess at one code costs, of 4, 5 and 6 digits

    @classmethod
    def of(
        cls, probability: float, attempts: int, calls_per_phone: tuple[Rate, ...], public_share: float
    ) -> "GuessBudget":
        """Work out the budget: `probability` is the bound, `public_share` the public lane's part of it and of the limits on calls to one phone."""
        bound = math.floor(probability / UNIT + 1e-9)
        public = tuple(rate.share(public_share) for rate in calls_per_phone)
        calls, public_calls = (max_calls(rates, WINDOW_AS_COUNTED) for rates in (calls_per_phone, public))
        return cls(bound, math.floor(bound * public_share + 1e-9), calls, public_calls, attempts)

    def charging(self, chances: Mapping[int, float]) -> "GuessBudget":
        """The same budget, if the likeliest code of so many digits has this chance: guesses never cost less than at uniformly distributed codes."""
        uniform = dict(zip(LENGTHS, UNIFORM, strict=True))
        costs = (max(uniform[digits], math.ceil(chances[digits] / UNIT - 1e-6)) for digits in LENGTHS)
        return replace(self, costs=tuple(costs))

    @property
    def impossible(self) -> bool:
        """Not one verification fits, even with six digits: the codes are so biased that no call makes sense."""
        return self.worst(MAX_DIGITS) > self.bound

    def cost(self, code_length: int) -> int:
        """What one guess at one code costs."""
        return self.costs[code_length - MIN_DIGITS]

    def worst(self, code_length: int) -> int:
        """What all guesses at one code can cost."""
        return self.cost(code_length) * self.attempts

    def room(self, code_length: int, *, public: bool = False) -> int:
        """What guesses at codes of this length may fill: in the public lane, or in both lanes together."""
        bound, calls = (self.public_bound, self.public_calls) if public else (self.bound, self.calls)
        reserve = min(bound, calls * self.worst(MAX_DIGITS))
        return bound if code_length == MAX_DIGITS else bound - reserve

    def first_length(self, code_length: int, *, public: bool) -> int:
        """How many digits the first code of a day has, where the policy requires at least so many."""
        lengths = range(code_length, MAX_DIGITS)
        return next((each for each in lengths if self.worst(each) <= self.room(each, public=public)), MAX_DIGITS)

    def problems(self) -> list[str]:
        """Why the bound can't hold, in a sentence that names the fix; empty if it can. Then it holds for the public lane's share too."""
        worst = self.calls * self.attempts
        sentence = (
            f"MAX_GUESS_PROBABILITY={self.bound * UNIT:g} can't hold: even with six digits the {self.calls} calls that CALLS_PER_PHONE allows one phone in "
            f"{WINDOW_AS_COUNTED // 3600} hours, with {self.attempts} attempts each (MAX_ATTEMPTS), add up to {worst * UNIT:g}: lower one of these two, or "
            "raise the probability"
        )
        return [sentence] if worst > self.bound else []
