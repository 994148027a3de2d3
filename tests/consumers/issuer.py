"""An issuer: a key server of the tests' own, and every token that a backend must refuse.

Tokens are put together by hand from their three parts: a library that signs would refuse to make most of these.
"""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import get_algorithm_by_name

from tests.consumers.loopback import answering

PHONE = "+79161234567"

Json = dict[str, Any]
Sign = Callable[[bytes], bytes]


def encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).decode().rstrip("=")


def signature(token: str) -> bytes:
    return urlsafe_b64decode(token.rpartition(".")[2] + "==")


@dataclass(frozen=True)
class Key:
    """A private key, and the name that it is published under."""

    kid: str
    private: EllipticCurvePrivateKey | Ed25519PrivateKey = field(
        default_factory=lambda: generate_private_key(SECP256R1())
    )

    @property
    def algorithm(self) -> str:
        return "EdDSA" if isinstance(self.private, Ed25519PrivateKey) else "ES256"

    @property
    def jwk(self) -> Json:
        public: Json = get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return public | {"kid": self.kid, "use": "sig", "alg": self.algorithm}

    @property
    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> bytes:
        return get_algorithm_by_name(self.algorithm).sign(message, self.private)


@dataclass
class Issuer:
    """Publishes three keys and signs whatever it gets: `key` and `next_key` as while rotating, and one of the other algorithm."""

    url: str = ""
    fetches: int = 0
    key: Key = field(default_factory=lambda: Key("key"))
    next_key: Key = field(default_factory=lambda: Key("next-key"))
    other_algorithm: Key = field(default_factory=lambda: Key("other-algorithm", Ed25519PrivateKey.generate()))

    @property
    def jwks(self) -> Json:
        return {"keys": [key.jwk for key in (self.key, self.next_key, self.other_algorithm)]}

    def token(
        self,
        header: Json | None = None,
        claims: Json | None = None,
        sign: Sign | None = None,
        *,
        key: Key | None = None,
    ) -> str:
        """A valid token, except for what is given; a member that is None is left out."""
        key = key or self.key
        now = int(time.time())
        whole_header = {"alg": key.algorithm, "typ": "verification+jwt", "kid": key.kid}
        whole_claims = {
            "iss": "lastdigits",
            "aud": "backend",
            "sub": "kR3vJ0nq",
            "phone_number": PHONE,
            "phone_number_verified": True,
            "amr": ["tel"],
            "purpose": "login",
            "jti": "vrf_AAAAAAAA",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        }
        parts = (_changed(whole_header, header), _changed(whole_claims, claims))
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encoded((sign or key.sign)(signed.encode()))}"


def _changed(whole: Json, changes: Json | None) -> Json:
    return {name: value for name, value in (whole | (changes or {})).items() if value is not None}


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Serve an issuer's keys on the loopback."""
    issuer = Issuer()

    def keys(*_request: object) -> tuple[int, bytes]:
        issuer.fetches += 1
        return 200, json.dumps(issuer.jwks).encode()

    with answering(keys) as url:
        issuer.url = f"{url}/.well-known/jwks.json"
        yield issuer


# ---- what anyone can make of a valid token, knowing the public keys

Forgery = Callable[[Issuer], str]


def _signed(signature: Callable[[Issuer, bytes], bytes], **header: Any) -> Forgery:
    """With another signature; `header` changes the header."""
    return lambda issuer: issuer.token(header, sign=lambda message: signature(issuer, message))


def _cut(cut: Callable[[str], str]) -> Forgery:
    return lambda issuer: cut(issuer.token())


STRANGER = Key("strangers-key")

FORGERIES: dict[str, Forgery] = {
    "alg none, no signature": _signed(lambda *_: b"", alg="none"),
    "ES256, no signature": _signed(lambda *_: b""),
    "ES256, a signature of zeros": _signed(lambda *_: bytes(64)),
    "HS256 with the public key's PEM": _signed(
        lambda issuer, message: hmac.digest(issuer.key.pem, message, hashlib.sha256), alg="HS256"
    ),
    "signed by a stranger": _signed(lambda _, message: STRANGER.sign(message)),
    "signed by a stranger who brings the key": _signed(lambda _, message: STRANGER.sign(message), jwk=STRANGER.jwk),
    "signed by a stranger whose key has no kid": _signed(lambda _, message: STRANGER.sign(message), kid=None),
    "another phone": lambda issuer: issuer.token(
        claims={"phone_number": "+79160000000"}, sign=lambda _: signature(issuer.token())
    ),
    "cut by a character": _cut(lambda token: token[:-1]),
    "without the last part": _cut(lambda token: token.rpartition(".")[0]),
    "with a part too many": _cut(lambda token: f"{token}.AAAA"),
    "nested deeper than a parser goes": _cut(lambda token: f"{token.partition('.')[0]}.{encoded(b'[' * 20_000)}.AA"),
    "empty": lambda _: "",
    "no token at all": lambda _: PHONE,
    "not even text": lambda _: "\x00.é.я",
    "half a character": lambda _: "\ud800",
}


# ---- what only the holder of the key can make: each is signed as it should be and wrong in one thing


def _header(**changes: Any) -> Forgery:
    return lambda issuer: issuer.token(changes)


def _claims(**changes: Any) -> Forgery:
    return lambda issuer: issuer.token(claims=changes)


def at(**seconds: int) -> Forgery:
    """Times as seconds from now."""
    return lambda issuer: issuer.token(claims={name: int(time.time()) + ahead for name, ahead in seconds.items()})


WRONG: dict[str, Forgery] = {
    "wrong aud": _claims(aud="other"),
    "no aud": _claims(aud=None),
    "wrong iss": _claims(iss="lastdigits-staging"),
    "no iss": _claims(iss=None),
    "wrong typ": _header(typ="JWT"),
    "an access token's typ": _header(typ="at+jwt"),
    "no typ": _header(typ=None),
    "signed, but alg says otherwise": _header(alg="HS256"),
    "expired": at(iat=-660, nbf=-660, exp=-60),
    "not yet valid": at(iat=60, nbf=60, exp=660),
    "no exp": _claims(exp=None),
    "no jti": _claims(jti=None),
    "no phone": _claims(phone_number=None),
    "unknown kid": _header(kid="k" * 43),
    "the other key's kid": _header(kid="next-key"),
    "a published key of another algorithm": lambda issuer: issuer.token(key=issuer.other_algorithm),
    "an extension that must be understood": lambda issuer: issuer.token({"crit": ["urn:x"], "urn:x": True}),
    "another purpose": _claims(purpose="newsletter"),
    "no purpose": _claims(purpose=None),
    "of a test number": _claims(test=True),
}
