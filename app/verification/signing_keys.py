"""The keys that sign tokens: ES256 (P-256) or EdDSA (Ed25519), in a JWK set (RFC 7517) or PEM.

The first key signs; all are published, so that a token signed a moment before or after a change of keys still verifies. Anything else, RSA,
shared secrets, other curves, is refused: one kind of key can then never be taken for another (RFC 8725, sections 2.1 and 3.1).
"""

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from jwt.exceptions import InvalidKeyError, PyJWTError

MAX_KEYS = 4
"""Keys in a file: two while rotating, and room for a mistake that is being fixed."""

ALGORITHMS = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""The two kinds of key, by `kty` and `crv`, and how they sign (RFC 7518, section 3.4; RFC 8037, section 3.1)."""

_KID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_MIN_DIFFERENT_BYTES = 12  # of 32: fewer were typed, not random

Private = EllipticCurvePrivateKey | Ed25519PrivateKey
Public = EllipticCurvePublicKey | Ed25519PublicKey


class SigningKeyError(ValueError):
    """Keys that can't sign tokens; the message names the fix and shows no key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key."""

    kid: str  # names it in tokens and in the JWK set: its RFC 7638 thumbprint, unless the file names it otherwise
    algorithm: str  # `ES256` or `EdDSA`
    public: Public = field(repr=False)  # verifies
    private: Private | None = field(repr=False)  # signs; None for a key that is only published

    def jwk(self) -> dict[str, str]:
        """The public key as it is published."""
        return _members(self.public) | {"kid": self.kid, "use": "sig", "alg": self.algorithm}

    def private_jwk(self) -> dict[str, str]:
        """All that there is of the key, for a file that only the service reads."""
        return self.jwk() | _members(self.private or self.public)


def new_signing_key(algorithm: str = "ES256") -> SigningKey:
    """Make a key. ES256 is what every library verifies; EdDSA is the other choice."""
    return _key(generate_private_key(SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate())


def write_signing_keys(keys: tuple[SigningKey, ...]) -> str:
    """The text of a file of keys: a JWK set, those that sign with their private part."""
    return json.dumps({"keys": [key.private_jwk() for key in keys]}, indent=2) + "\n"


def parse_signing_keys(text: str) -> tuple[SigningKey, ...]:
    """Read a JWK set, a single JWK, or PEM blocks, in their order: the first signs, all are published.

    Raises:
        SigningKeyError: there is none, one is of another kind or weak, or the first can't sign.
    """
    try:
        if text.lstrip().startswith("{"):
            keys = tuple(_from_jwk(member) for member in _jwks(text))
        else:
            keys = tuple(_from_pem(block[1], block[0].encode()) for block in _PEM.finditer(text))
    except SigningKeyError:
        raise
    except (ValueError, TypeError, RecursionError, PyJWTError) as error:
        # Of what can stand in a file much is no key: curves that PyJWT does not name, lists for texts, brackets without end.
        kind = type(error).__name__
        raise SigningKeyError(f"it holds what is no key ({kind}): `lastdigits keys signing FILE` makes one") from None
    if not keys:
        raise SigningKeyError("it holds no key: `lastdigits keys signing FILE` makes one")
    if len(keys) > MAX_KEYS:
        raise SigningKeyError(f"it holds {len(keys)} keys: remove those that sign no more; {MAX_KEYS} are allowed")
    if keys[0].private is None:
        raise SigningKeyError("its first key has no private part, and the first one signs: put that one first")
    if len({key.kid for key in keys}) < len(keys):
        raise SigningKeyError("a key stands in it twice, or two have one kid: remove one")
    return keys


def published(keys: tuple[SigningKey, ...]) -> bytes:
    """The JWK set that verifiers fetch: public parts only."""
    return json.dumps({"keys": [key.jwk() for key in keys]}).encode()


def _jwks(text: str) -> list[dict[str, Any]]:
    try:
        read = json.loads(text)
    except ValueError as error:
        raise SigningKeyError(f"it is neither JSON nor PEM: {error}") from None
    members = read.get("keys", [read])
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise SigningKeyError('it is no JWK set: {"keys": […]}')
    return members


def _from_jwk(jwk: dict[str, Any]) -> SigningKey:
    algorithm = ALGORITHMS.get((jwk.get("kty", ""), jwk.get("crv", "")))
    if algorithm is None:
        kind = " ".join(str(jwk[name])[:20] for name in ("kty", "crv") if name in jwk)
        raise SigningKeyError(f"a key of kind {kind or '(none)'} can't sign tokens: use EC P-256 or OKP Ed25519")
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        raise SigningKeyError(f"a key says that it is for something else than signing with {algorithm}: make a new one")
    kid = jwk.get("kid")
    if kid is not None and not (isinstance(kid, str) and _KID.fullmatch(kid)):
        raise SigningKeyError("a kid has up to 64 letters, digits, dots, dashes and underscores")
    try:
        read = (ECAlgorithm if algorithm == "ES256" else OKPAlgorithm).from_jwk(jwk)
    except (InvalidKeyError, ValueError, TypeError):
        raise SigningKeyError("a JWK is malformed: make a new one with `lastdigits keys signing FILE`") from None
    return _key(read, kid)


def _from_pem(kind: str, block: bytes) -> SigningKey:
    try:
        read = load_pem_public_key(block) if kind == "PUBLIC KEY" else load_pem_private_key(block, None)
    except TypeError:
        sentence = "a PEM key is encrypted: store it without a passphrase, readable by the service"
        raise SigningKeyError(sentence) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError(f"the PEM block {kind} is no key that can be read: make a new one") from None
    return _key(read)


def _key(read: object, kid: str | None = None) -> SigningKey:
    private = read if isinstance(read, EllipticCurvePrivateKey | Ed25519PrivateKey) else None
    public = private.public_key() if private else read
    if not isinstance(public, EllipticCurvePublicKey | Ed25519PublicKey):
        raise SigningKeyError("a PEM key is of another kind: use EC P-256 or Ed25519")
    members = _members(public)
    algorithm = ALGORITHMS.get((members["kty"], members["crv"]))
    if algorithm is None:
        raise SigningKeyError("a key is on another curve: use EC P-256 or Ed25519")
    if private is not None and len(set(urlsafe_b64decode(_members(private)["d"] + "=="))) < _MIN_DIFFERENT_BYTES:
        raise SigningKeyError("a private key is not random: make a new one with `lastdigits keys signing FILE`")
    # RFC 7638: SHA-256 over the required members in their order.
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    thumbprint = urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")
    return SigningKey(kid or thumbprint, algorithm, public, private)


def _members(key: Private | Public) -> dict[str, str]:
    """The members of a JWK that make the key."""
    if isinstance(key, EllipticCurvePrivateKey | EllipticCurvePublicKey):
        found = ECAlgorithm.to_jwk(key, as_dict=True)
    else:
        found = OKPAlgorithm.to_jwk(key, as_dict=True)
    return {name: found[name] for name in ("kty", "crv", "x", "y", "d") if name in found}
