"""Verification tokens: what one says, and that nothing but one of ours for the audience is read (RFC 8725)."""

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from app.verification.model import Approval
from app.verification.signing_keys import SigningKey, new_signing_key
from app.verification.token import LIFETIME, TYPE, TokenIssuer, VerificationToken

KEY, NEXT, FOREIGN = new_signing_key(), new_signing_key("EdDSA"), new_signing_key()
APPROVAL = Approval("vrf_1", "+79991234567", 1_764_000_000_123, "login", test=False, repeated=False)
TOKENS = TokenIssuer((KEY, NEXT), "lastdigits")
CLAIMS = jwt.decode(TOKENS.mint(APPROVAL, "shop", "digest"), options={"verify_signature": False})


def _signed(
    key: SigningKey = KEY,
    kid: str | None = None,
    typ: str = TYPE,
    headers: dict[str, Any] | None = None,
    **changed: Any,
) -> str:
    claims = {name: value for name, value in (CLAIMS | changed).items() if value is not None}
    head = {"kid": kid or key.kid, "typ": typ} | (headers or {})
    return jwt.encode(claims, key.private, algorithm=key.algorithm, headers=head)  # type: ignore[arg-type]


def test_a_token_says_what_the_contract_says_and_is_read_by_its_audience() -> None:
    token = TOKENS.mint(APPROVAL, "shop", "digest")
    assert CLAIMS == {
        "iss": "lastdigits",
        "aud": "shop",
        "sub": "digest",
        "phone_number": "+79991234567",
        "phone_number_verified": True,
        "amr": ["tel"],
        "purpose": "login",
        "jti": "vrf_1",
        "iat": 1_764_000_000,
        "nbf": 1_764_000_000,
        "exp": 1_764_000_000 + LIFETIME,
    }
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": KEY.kid, "typ": "verification+jwt"}
    assert TOKENS.read(token, "shop") == VerificationToken("vrf_1", (1_764_000_000 + LIFETIME) * 1000)


def test_a_test_numbers_token_says_so_and_one_without_purpose_names_none() -> None:
    token = TOKENS.mint(Approval("vrf_1", "+79991234567", 1, None, test=True, repeated=False), "shop", "digest")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["test"] is True
    assert "purpose" not in claims


@pytest.mark.parametrize("key", [KEY, NEXT], ids=["ES256", "EdDSA"])
def test_the_same_approval_is_the_same_token(key: SigningKey) -> None:
    tokens = TokenIssuer((key,), "lastdigits")
    assert len({tokens.mint(APPROVAL, "shop", "digest") for _ in range(20)}) == 1


def test_while_rotating_tokens_of_both_keys_are_read_and_the_first_signs() -> None:
    tokens = TokenIssuer((KEY,), "lastdigits")
    old = tokens.mint(APPROVAL, "shop", "digest")
    tokens.adopt((KEY, NEXT))
    assert tokens.signs_with == KEY.kid
    tokens.adopt((NEXT, KEY))
    assert tokens.signs_with == NEXT.kid
    assert tokens.read(old, "shop")
    assert tokens.read(tokens.mint(APPROVAL, "shop", "digest"), "shop")
    tokens.adopt((NEXT,))
    assert tokens.read(old, "shop") is None


def test_the_control_of_the_forgeries_is_read() -> None:
    assert TOKENS.read(_signed(), "shop")
    assert TOKENS.read(_signed(NEXT), "shop")


PUBLIC_PEM = KEY.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def _unsigned(algorithm: str) -> str:
    head = {"alg": algorithm, "typ": TYPE, "kid": KEY.kid}
    return ".".join(_encoded(json.dumps(part).encode()) for part in (head, CLAIMS))


def _hs256(secret: bytes) -> str:
    """Sign as a confused verifier would check: an HMAC under what everybody knows of the key."""
    parts = _unsigned("HS256")
    return f"{parts}.{_encoded(hmac.digest(secret, parts.encode(), 'sha256'))}"


def _changed(**claims: str) -> str:
    """A token of ours whose claims were changed after it was signed."""
    head, _, signature = _signed().split(".")
    return f"{head}.{_encoded(json.dumps(CLAIMS | claims).encode())}.{signature}"


FORGERIES = {
    "alg none": _unsigned("none") + ".",
    "a changed phone": _changed(phone_number="+79990000000"),
    "HS256 under the public PEM": _hs256(PUBLIC_PEM),
    "HS256 under the public JWK": _hs256(json.dumps(KEY.jwk()).encode()),
    "HS256 under the JWK set": _hs256(TOKENS.jwks),
    "another audience": _signed(aud="other"),
    "a list of audiences": _signed(aud=["shop", "other"]),
    "no audience": _signed(aud=None),
    "another issuer": _signed(iss="somebody"),
    "no issuer": _signed(iss=None),
    "another type": _signed(typ="JWT"),
    "no type": _signed(typ=""),
    "somebody else's key under our kid": _signed(FOREIGN, kid=KEY.kid),
    "somebody else's kid": _signed(FOREIGN),
    "our key under the other key's kid": _signed(KEY, kid=NEXT.kid),
    "no phone": _signed(phone_number=None),
    "a phone that is not verified": _signed(phone_number_verified=False),
    "no expiry": _signed(exp=None),
    "no id": _signed(jti=None),
    "cut short": _signed()[:-2],
    "two parts": _signed().rsplit(".", 1)[0],
    "nothing": "",
    "not a token": "a.b.c",
    "not ASCII": "é.ü.ö",
    "a critical extension": _signed(headers={"crit": ["x"], "x": 1}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_not_read(name: str) -> None:
    assert TOKENS.read(FORGERIES[name], "shop") is None


@given(st.text(max_size=300))
def test_no_text_is_read_and_none_raises(text: str) -> None:
    assert TOKENS.read(text, "shop") is None
