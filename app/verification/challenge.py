"""The port for challenges: work or a captcha that the public lane must bring before a call (app/challenges implements it)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app.verification.errors import LastdigitsError

LIFETIME = 600
"""Seconds in which a challenge may be solved, and in which its solution is remembered."""

MAX_LEVEL = 6
"""The hardest level: each doubles the work."""


class When(StrEnum):
    """When a start of the public lane must bring a solved challenge."""

    NEVER = "never"
    AUTO = "auto"  # while the lane looks abused (store/lua/lib/challenge.lua)
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Solved:
    """A valid solution: `name` makes it count once, `level` is the work that it proves."""

    name: str
    level: int


class ChallengeUnavailable(LastdigitsError):  # noqa: N818  a state of the world, not a mistake of somebody's
    """The remote service that judges solutions did not answer."""


class ChallengeProvider(Protocol):
    """Makes challenges, and judges solutions."""

    def challenge(self, client_id: str, level: int) -> dict[str, object]:
        """What the answer 428 carries."""
        ...

    async def verify(self, solution: str, client_id: str, address: str | None) -> Solved | None:
        """Judge a solution; None if it is not valid.

        Raises:
            ChallengeUnavailable: whether it is valid is not known.
        """
        ...
