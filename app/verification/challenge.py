"""Challenges: what a start with a public key must bring before it costs a call.

A challenge makes each call cost a program work, and a person next to nothing. This file is the port; app/challenges/ implements it: a proof of work
that needs no third party, and three remote services. The core decides when a start is challenged and how much work it must prove.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app.verification.errors import LastdigitsError

MAX_LEVEL = 6
"""The most work that is asked for. Each level doubles the work of the one before it; level 0 is some half a second in a browser."""

LIFETIME = 600
"""Seconds in which a challenge may be solved. A solution's name must be remembered for as long, so that it counts once."""


class When(StrEnum):
    """When a start with a public key is challenged."""

    NEVER = "never"
    AUTO = "auto"  # while the public lane looks like an attack
    ALWAYS = "always"


class ChallengeKind(StrEnum):
    """Who makes and verifies challenges."""

    ALTCHA = "altcha"
    SMARTCAPTCHA = "smartcaptcha"
    TURNSTILE = "turnstile"
    HCAPTCHA = "hcaptcha"


@dataclass(frozen=True)
class Solved:
    """A valid solution."""

    name: str  # names this solution: 24 hex characters of a digest. Remember it for LIFETIME
    level: int  # the work that it proves, 0 to MAX_LEVEL


class ChallengeUnavailable(LastdigitsError):  # noqa: N818  a state of the world, not a mistake of the caller
    """Whether a solution is valid is unknown: the remote service did not answer, refused the request, or answered nonsense.

    The message is for the operator. It holds no secret, no solution and no words of the remote service.
    """


class ChallengeProvider(Protocol):
    """Makes challenges and verifies their solutions."""

    def challenge(self, client_id: str, level: int) -> dict[str, object]:
        """What a page or an app needs to solve a challenge: the `challenge` of a 428 answer. `provider` names the kind.

        A `level` over MAX_LEVEL counts as MAX_LEVEL. Remote services choose their own work.
        """
        ...

    async def verify(self, solution: str, client_id: str, address: str | None) -> Solved | None:
        """Name a valid solution; None for anything else: forged, expired, another client's, used before at the remote service.

        Remote services receive the end user's IP address, where it is known.

        Raises:
            ChallengeUnavailable: it is unknown. Refuse the start.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
