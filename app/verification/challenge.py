"""Work that a page or an app must do before a call, while somebody guesses at many phones: a challenge of ALTCHA's second version.

Whoever solves it has tried some four thousand key derivations, a second or less in a browser, for each start: nothing to a person, and a bill to
whoever wants thousands. It needs no third party and shows nobody anything. It is signed, so that nothing is kept of it until it is solved; what was
solved counts once (store/scripts/start.lua).
"""

import hashlib
import time
from enum import StrEnum
from typing import Any

from altcha import create_challenge, verify_solution
from altcha.v2 import Payload

LIFE = 600
"""Seconds that a challenge may be solved in, and that its solution is remembered."""

_COST = 250
"""Iterations of PBKDF2 for each try: what a check of a solution costs the service, half a millisecond."""

_PREFIX = "000"
"""What a derived key must begin with, in hex: one try in 4,096 does."""


class When(StrEnum):
    """When public clients are challenged."""

    NEVER = "never"
    ALARM = "alarm"  # while the spray alarm is on
    ALWAYS = "always"


class Challenges:
    """Makes challenges, and knows solutions of its own ones."""

    def __init__(self, key: bytes, when: When) -> None:
        """Sign with a key, the same in all workers."""
        self._key = key
        self.when = when

    def make(self, client: str) -> dict[str, Any]:
        """A challenge for a client, as ALTCHA's solvers read it."""
        expires = int(time.time()) + LIFE
        challenge = create_challenge(
            "PBKDF2/SHA-256",
            _COST,
            key_prefix=_PREFIX,
            expires_at=expires,
            data={"client": client},
            hmac_secret=self._key,
        )
        told: dict[str, Any] = challenge.to_dict()
        return told

    def solved(self, solution: str | None, client: str) -> str | None:
        """Name what was solved, if it is a challenge of this client's that has not expired; None for anything else.

        Args:
            solution: ALTCHA's payload, base64.
            client: who sends it.
        """
        if solution is None:
            return None
        try:
            if not verify_solution(solution, self._key).verified:
                return None
            parameters = Payload.from_base64(solution).challenge.parameters
        except (ArithmeticError, TypeError, ValueError, LookupError):
            # The signature is of numbers as JavaScript writes them: 250.0 for 250 passes it, and no further.
            return None
        if parameters.data != {"client": client}:
            return None
        return hashlib.sha256(f"{parameters.nonce}{parameters.salt}".encode()).hexdigest()[:24]
