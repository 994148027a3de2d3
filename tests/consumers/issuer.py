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
from http.server import BaseHTTPRequestHandler
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicNumbers,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.consumers.loopback import answering

PHONE = "+79161234567"

Json = dict[str, Any]
Sign = Callable[[bytes], bytes]


# ---- parts of a token


def encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).decode().rstrip("=")


def decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def compact(header: Json, claims: Json, sign: Sign) -> str:
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{signed}.{encoded(sign(signed.encode()))}"


def parts(token: str) -> tuple[Json, Json, bytes]:
    header, claims, signature = (decoded(part) for part in token.split("."))
    return json.loads(header), json.loads(claims), signature


def es256(key: EllipticCurvePrivateKey) -> Sign:
    def sign(message: bytes) -> bytes:
        numbers = decode_dss_signature(key.sign(message, ECDSA(SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in numbers)

    return sign


def hs256(secret: bytes) -> Sign:
    return lambda message: hmac.digest(secret, message, hashlib.sha256)


def unsigned(_message: bytes) -> bytes:
    return b""


# ---- keys


def thumbprint(jwk: Json) -> str:
    """RFC 7638."""
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    return encoded(hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest())


def ec_jwk(key: EllipticCurvePrivateKey) -> Json:
    numbers = key.public_key().public_numbers()
    point = {"x": encoded(numbers.x.to_bytes(32, "big")), "y": encoded(numbers.y.to_bytes(32, "big"))}
    return _published({"kty": "EC", "crv": "P-256"} | point, "ES256")


def okp_jwk(key: Ed25519PrivateKey) -> Json:
    return _published({"kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key().public_bytes_raw())}, "EdDSA")


def _published(jwk: Json, algorithm: str) -> Json:
    return jwk | {"kid": thumbprint(jwk), "use": "sig", "alg": algorithm}


def pem(jwk: Json) -> bytes:
    x, y = (int.from_bytes(decoded(jwk[name]), "big") for name in ("x", "y"))
    public = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


# ---- the tests' own signer


@dataclass
class Issuer:
    """Publishes three keys and signs whatever it gets: `key` and `next_key` as while rotating, and one of the other algorithm."""

    url: str
    name: str = "lastdigits"
    fetches: int = 0
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    next_key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    other_algorithm: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def jwks(self) -> Json:
        return {"keys": [ec_jwk(self.key), ec_jwk(self.next_key), okp_jwk(self.other_algorithm)]}

    def header(self) -> Json:
        return {"alg": "ES256", "typ": "verification+jwt", "kid": ec_jwk(self.key)["kid"]}

    def claims(self) -> Json:
        """What the service says of a verified phone."""
        now = int(time.time())
        return {
            "iss": self.name,
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

    def token(self, header: Json | None = None, claims: Json | None = None, sign: Sign | None = None) -> str:
        """A valid token, except for what is given; a member that is None is left out."""
        changed = [
            {name: value for name, value in (whole | (change or {})).items() if value is not None}
            for whole, change in ((self.header(), header), (self.claims(), claims))
        ]
        return compact(changed[0], changed[1], sign or es256(self.key))


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Serve an issuer's keys on the loopback."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class calls it so
            issuer.fetches += 1
            body = json.dumps(issuer.jwks).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Tests are quiet."""

    with answering(Keys) as url:
        issuer = Issuer(f"{url}/.well-known/jwks.json")
        yield issuer


# ---- what anyone can make of a valid token, knowing the public keys


def _resigned(token: str, algorithm: str, sign: Sign) -> str:
    header, claims, _ = parts(token)
    return compact(header | {"alg": algorithm}, claims, sign)


def _kept_signature(token: str, header: Json | None = None, claims: Json | None = None) -> str:
    old_header, old_claims, signature = parts(token)
    return compact(old_header | (header or {}), old_claims | (claims or {}), lambda _: signature)


def _own_key(token: str, **extra: Any) -> str:
    """Signed by a key of the forger's, under another key's `kid`."""
    header, claims, _ = parts(token)
    key = generate_private_key(SECP256R1())
    return compact(header | {name: make(ec_jwk(key)) for name, make in extra.items()}, claims, es256(key))


Forgery = Callable[[str, Json], str]
"""Makes a bad token of a valid one and the public key that it was signed for."""

FORGERIES: dict[str, Forgery] = {
    "alg none, no signature": lambda token, _: _resigned(token, "none", unsigned),
    "alg None": lambda token, _: _resigned(token, "None", unsigned),
    "alg none, the signature kept": lambda token, _: _kept_signature(token, {"alg": "none"}),
    "ES256, no signature": lambda token, _: _resigned(token, "ES256", unsigned),
    "ES256, a signature of zeros": lambda token, _: _resigned(token, "ES256", lambda _message: bytes(64)),
    "HS256 with the public key's PEM": lambda token, jwk: _resigned(token, "HS256", hs256(pem(jwk))),
    "HS256 with the PEM, stripped": lambda token, jwk: _resigned(token, "HS256", hs256(pem(jwk).strip())),
    "HS256 with the public key's JWK": lambda token, jwk: _resigned(token, "HS256", hs256(json.dumps(jwk).encode())),
    "HS256 with the public key's x": lambda token, jwk: _resigned(token, "HS256", hs256(decoded(jwk["x"]))),
    "HS256 with nothing": lambda token, _: _resigned(token, "HS256", hs256(b"")),
    "signed by a stranger": lambda token, _: _own_key(token),
    "signed by a stranger who brings the key": lambda token, _: _own_key(token, jwk=lambda jwk: jwk),
    "signed by a stranger whose key has no kid": lambda token, _: _own_key(token, kid=lambda _jwk: None),
    "signed by a stranger who names the key's thumbprint": lambda token, _: _own_key(token, kid=lambda jwk: jwk["kid"]),
    "another phone": lambda token, _: _kept_signature(token, claims={"phone_number": "+79160000000"}),
    "another audience written in": lambda token, _: _kept_signature(token, claims={"aud": "backend-2"}),
    "a longer life": lambda token, _: _kept_signature(token, claims={"exp": int(time.time()) + 86_400}),
    "cut by a character": lambda token, _: token[:-1],
    "cut by half": lambda token, _: token[: len(token) // 2],
    "without the last part": lambda token, _: token.rpartition(".")[0],
    "with a part too many": lambda token, _: f"{token}.AAAA",
    "empty": lambda _token, _: "",
    "dots": lambda _token, _: "..",
    "no token at all": lambda _token, _: "+79161234567",
    "not even text": lambda _token, _: "\x00.é.я",
    "nested deeper than a parser goes": lambda token, _: ".".join(
        [token.partition(".")[0], encoded(b"[" * 20_000), "AA"]
    ),
    "half a character": lambda _token, _: "\ud800",
}


# ---- what only the holder of the key can make: each is signed as it should be and wrong in one thing


def _wrong(header: Json | None = None, claims: Json | None = None) -> Callable[[Issuer], str]:
    return lambda issuer: issuer.token(header, claims)


def _at(**seconds: int) -> Callable[[Issuer], str]:
    """Times as seconds from now."""
    return lambda issuer: issuer.token(claims={name: int(time.time()) + ahead for name, ahead in seconds.items()})


WRONG: dict[str, Callable[[Issuer], str]] = {
    "wrong aud": _wrong(claims={"aud": "other"}),
    "no aud": _wrong(claims={"aud": None}),
    "wrong iss": _wrong(claims={"iss": "lastdigits-staging"}),
    "no iss": _wrong(claims={"iss": None}),
    "wrong typ": _wrong(header={"typ": "JWT"}),
    "an access token's typ": _wrong(header={"typ": "at+jwt"}),
    "no typ": _wrong(header={"typ": None}),
    "expired": _at(iat=-660, nbf=-660, exp=-60),
    "not yet valid": _at(iat=60, nbf=60, exp=660),
    "no exp": _wrong(claims={"exp": None}),
    "no jti": _wrong(claims={"jti": None}),
    "no phone": _wrong(claims={"phone_number": None}),
    "unknown kid": _wrong(header={"kid": "k" * 43}),
    "the other key's kid": lambda issuer: issuer.token({"kid": ec_jwk(issuer.next_key)["kid"]}),
    "a published key of another algorithm": lambda issuer: issuer.token(
        {"alg": "EdDSA", "kid": okp_jwk(issuer.other_algorithm)["kid"]}, sign=issuer.other_algorithm.sign
    ),
    "an extension that must be understood": _wrong(header={"crit": ["urn:x"], "urn:x": True}),
    "another purpose": _wrong(claims={"purpose": "newsletter"}),
    "no purpose": _wrong(claims={"purpose": None}),
    "of a test number": _wrong(claims={"test": True}),
}
