"""Verification tokens: what one says, and that nothing but one of ours for the audience is read (RFC 8725).

tests/attacks/test_tokens.py has the forgeries of a stranger. These are the claims and heads that only a holder of our key could sign, and texts.
"""

from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.verification.model import Approval
from app.verification.signing_keys import SigningKey, new_signing_key
from app.verification.token import LIFETIME, TYPE, TokenIssuer, VerificationToken

KEY, NEXT = new_signing_key(), new_signing_key("EdDSA")
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


@pytest.mark.parametrize("key", [KEY, NEXT], ids=["ES256", "EdDSA"])
def test_an_approval_is_one_token_whichever_worker_signs_it(key: SigningKey) -> None:
    assert len({TokenIssuer((key,), "lastdigits").mint(APPROVAL, "shop", "digest") for _ in range(3)}) == 1


def test_a_test_numbers_token_says_so_and_one_without_purpose_names_none() -> None:
    token = TOKENS.mint(Approval("vrf_1", "+79991234567", 1, None, test=True, repeated=False), "shop", "digest")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["test"] is True
    assert "purpose" not in claims


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


FORGERIES = {
    "a list of audiences": _signed(aud=["shop", "other"]),
    "no audience": _signed(aud=None),
    "no issuer": _signed(iss=None),
    "no type": _signed(typ=""),
    "our key under the other key's kid": _signed(KEY, kid=NEXT.kid),
    "no phone": _signed(phone_number=None),
    "a phone that is not verified": _signed(phone_number_verified=False),
    "no id": _signed(jti=None),
    "a critical extension": _signed(headers={"crit": ["x"], "x": 1}),
    "two parts": _signed().rsplit(".", 1)[0],
    "another token's claims": ".".join([*_signed(jti="vrf_2").split(".")[:2], _signed().split(".")[2]]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_only_looks_like_a_token_of_ours_is_not_read(name: str) -> None:
    assert TOKENS.read(FORGERIES[name], "shop") is None


@given(st.text(max_size=300))
@example("a.b.c")
@example("é.ü.ö")
def test_no_text_is_read_and_none_raises(text: str) -> None:
    assert TOKENS.read(text, "shop") is None
