"""ALTCHA's proof of work, version 2: built in, asks no third party, and shows people nothing.

A solver derives keys by PBKDF2 until one begins with some zeros; a check derives one. Nothing is stored until a challenge is solved: the challenge is
signed, and the client, the level and the expiry are in what is signed.
"""

import hashlib
import time

from altcha import create_challenge, verify_solution
from altcha.v2 import Payload

from app.verification.challenge import LIFETIME, MAX_LEVEL, ChallengeKind, Solved

_WORK = ((250, "000"), (500, "000"), (1000, "000"), (2000, "000"), (4000, "000"), (8000, "000"), (1000, "0000"))
"""By level: iterations of PBKDF2 for one try, and what the derived key must begin with, in hex. The expected work is iterations x 16 ^ zeros: it doubles.

More iterations cost a browser less than more tries, since each try has an overhead of its own there, and an attacker's native code as much. But a check
costs the service one try: 8,000 iterations take some 2 ms, so the last level has a longer prefix instead.
"""


class Altcha:
    """Makes challenges, and verifies solutions of its own ones."""

    def __init__(self, key: bytes) -> None:
        """Sign with a key: the same one in all workers."""
        self._key = key

    def challenge(self, client_id: str, level: int) -> dict[str, object]:
        """A challenge as ALTCHA's solvers read it: they ignore `provider`."""
        level = max(0, min(level, MAX_LEVEL))
        iterations, prefix = _WORK[level]
        made = create_challenge(
            "PBKDF2/SHA-256",
            iterations,
            key_prefix=prefix,
            expires_at=int(time.time()) + LIFETIME,
            data={"client": client_id, "level": level},
            hmac_secret=self._key,
        )
        return {"provider": ChallengeKind.ALTCHA.value, **made.to_dict()}

    async def verify(self, solution: str, client_id: str, address: str | None) -> Solved | None:  # noqa: ARG002  the port's
        """Name a solution, base64 of JSON, of a challenge that was made for this client and has not expired. Takes 2 ms at most."""
        try:
            if not verify_solution(solution, self._key).verified:
                return None
            parameters = Payload.from_base64(solution).challenge.parameters
        except (ArithmeticError, TypeError, ValueError, LookupError):
            # The signature is of numbers as JavaScript writes them: 250.0 passes it as 250, and no further.
            return None
        data = parameters.data or {}
        level = data.get("level")
        if type(level) is not int or data != {"client": client_id, "level": level}:
            return None
        return Solved(hashlib.sha256(f"{parameters.nonce}{parameters.salt}".encode()).hexdigest()[:24], level)

    async def close(self) -> None:
        """There is nothing to close."""
