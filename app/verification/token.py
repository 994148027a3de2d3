"""The verification token: a signed token (RFC 7519) that any backend verifies by itself, and that we redeem once.

A token is minted from what the store recorded of the approval and from nothing else, so the same approval makes the same token, whichever
worker is asked. docs/token.md shows how others verify it.
"""

import json
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from jwt.exceptions import PyJWTError

from app.verification.model import Approval
from app.verification.signing_keys import SigningKey, published

TYPE = "verification+jwt"
"""The header's `typ`: no other token of this issuer's can be taken for one (RFC 8725, section 3.11)."""

LIFETIME = 600
"""Seconds from the approval until a token expires."""

MAX_TOKEN_LENGTH = 4096
"""Characters: a token has some 700."""

_CLAIMS = ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "phone_number", "phone_number_verified"]


@dataclass(frozen=True, slots=True)
class VerificationToken:
    """What a valid token of ours names. What was approved, the store knows."""

    id: str  # the verification's id, `jti`
    expires_at: int  # unix milliseconds


class TokenIssuer:
    """Mints and reads tokens with the keys in force."""

    def __init__(self, keys: tuple[SigningKey, ...], issuer: str) -> None:
        """Sign with the first key, verify with all; `issuer` is the `iss` of every token."""
        self._issuer = issuer
        self._jws = jwt.PyJWS(algorithms=[])
        self._jws.register_algorithm("ES256", _DeterministicES256(ECAlgorithm.SHA256))
        self._jws.register_algorithm("EdDSA", OKPAlgorithm())
        self.adopt(keys)

    def adopt(self, keys: tuple[SigningKey, ...]) -> None:
        """Change to other keys, between one token and the next."""
        self._keys = {key.kid: key for key in keys}
        self._signing = keys[0]
        self.jwks = published(keys)

    @property
    def signs_with(self) -> str:
        """The `kid` of the key that signs."""
        return self._signing.kid

    def mint(self, approval: Approval, audience: str, subject: str) -> str:
        """Sign a token of an approval for an audience; `subject` is the phone's keyed digest."""
        approved_at = approval.approved_at // 1000
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": audience,
            "sub": subject,
            "phone_number": approval.phone,
            "phone_number_verified": True,
            "amr": ["tel"],
            "jti": approval.id,
            "iat": approved_at,
            "nbf": approved_at,
            "exp": approved_at + LIFETIME,
        }
        if approval.purpose is not None:
            claims["purpose"] = approval.purpose
        if approval.test:
            claims["test"] = True
        key = self._signing
        body = json.dumps(claims, separators=(",", ":")).encode()
        return self._jws.encode(body, key.private, key.algorithm, headers={"typ": TYPE, "kid": key.kid})  # type: ignore[arg-type]  # the first key has its private part

    def read(self, token: str, audience: str) -> VerificationToken | None:
        """Verify a token of ours for an audience; None for anything else. Whether its time is over the store's clock decides."""
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys[header["kid"]]
            claims = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],  # the key's own one, whatever the token says
                audience=audience,
                issuer=self._issuer,
                options={
                    "require": _CLAIMS,
                    "verify_signature": True,
                    "verify_aud": True,
                    "strict_aud": True,
                    "verify_iss": True,
                    "verify_sub": True,
                    "verify_jti": True,
                    # Times are judged on the store's clock, like all others.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (PyJWTError, KeyError, TypeError, ValueError):
            return None
        if header.get("typ") != TYPE or claims["phone_number_verified"] is not True:
            return None
        return VerificationToken(claims["jti"], int(claims["exp"]) * 1000)


class _DeterministicES256(ECAlgorithm):
    """ECDSA with a nonce derived from the message (RFC 6979).

    The same approval is the same token, byte for byte, and no bad source of randomness gives the key away.
    """

    def sign(self, msg: bytes, key: EllipticCurvePrivateKey) -> bytes:
        try:
            signature = key.sign(msg, ECDSA(SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # an OpenSSL older than 3.2: then only the jti is the same
            signature = key.sign(msg, ECDSA(SHA256()))
        return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signature))
