"""The keys that sign verification tokens: what is accepted, what is refused, and that no refusal shows a key."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from app.verification.signing_keys import (
    SigningKeyError,
    new_signing_key,
    parse_signing_keys,
    published,
    write_signing_keys,
)


def _pem(key: Any, password: bytes | None = None) -> str:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    return made.decode()


def _jwks(*members: dict[str, str]) -> str:
    return json.dumps({"keys": members})


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_made_key_is_read_back_from_its_file(algorithm: str) -> None:
    keys = (new_signing_key(algorithm), new_signing_key())
    read = parse_signing_keys(write_signing_keys(keys))
    assert [key.kid for key in read] == [key.kid for key in keys]
    assert [key.private_jwk() for key in read] == [key.private_jwk() for key in keys]


def test_pem_and_single_jwks_are_read_too_and_a_key_has_one_name_in_all_forms() -> None:
    one, two = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    text = _pem(one) + "a comment\n" + _pem(two)
    text += public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    traditional = ec.generate_private_key(ec.SECP256R1())
    text += traditional.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    keys = parse_signing_keys(text)
    assert [key.algorithm for key in keys] == ["ES256", "EdDSA", "EdDSA", "ES256"]
    assert keys[2].private is None
    again = parse_signing_keys(json.dumps(keys[0].private_jwk()))
    assert again[0].kid == keys[0].kid


def test_a_kid_is_the_thumbprint_of_rfc_7638_and_rfc_8037() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    (first, second) = parse_signing_keys(_jwks(new_signing_key().private_jwk(), jwk))
    assert second.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "RFC 8037, appendix A.3"
    assert first.kid != second.kid


def test_what_is_published_has_no_private_part_and_no_repr_shows_it() -> None:
    keys = (new_signing_key(), new_signing_key("EdDSA"))
    said = json.loads(published(keys))["keys"]
    assert [(jwk["kid"], jwk["use"], jwk["alg"]) for jwk in said] == [(key.kid, "sig", key.algorithm) for key in keys]
    for key in keys:
        assert key.private_jwk()["d"] not in published(keys).decode() + repr(key)
        assert "private" not in repr(key)


def _changed(change: Callable[[dict[str, str]], dict[str, str]], algorithm: str = "ES256") -> str:
    return _jwks(change(new_signing_key(algorithm).private_jwk()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no key"),
        ("{}", "can't sign"),
        ('{"keys": []}', "no key"),
        ('{"keys": ["x"]}', "no JWK set"),
        ('{"keys": {"kty": "EC"}}', "no JWK set"),
        ("{nonsense", "neither JSON nor PEM"),
        (_jwks({"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "HS256"}), "oct"),
        (_jwks({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), "RSA"),
        (_pem(rsa.generate_private_key(65537, 2048)), "another kind"),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "another curve"),
        (_pem(ed448.Ed448PrivateKey.generate()), "another kind"),
        (_pem(x25519.X25519PrivateKey.generate()), "another kind"),
        (_pem(ec.generate_private_key(ec.SECP256R1()), b"passphrase"), "encrypted"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "can be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "can be read"),
        (_pem(ec.derive_private_key(7, ec.SECP256R1())), "not random"),
        (_pem(ed25519.Ed25519PrivateKey.from_private_bytes(b"secretsecretsecretsecretsecretse")), "not random"),
        (_jwks(new_signing_key().jwk()), "first key has no private part"),
        (_changed(lambda jwk: jwk | {"alg": "RS256"}), "something else"),
        (_changed(lambda jwk: jwk | {"use": "enc"}), "something else"),
        (_changed(lambda jwk: jwk | {"kid": "a b"}), "kid"),
        (_changed(lambda jwk: jwk | {"d": "***"}), "malformed"),
        (_changed(lambda jwk: jwk | {"x": new_signing_key().jwk()["x"]}), "malformed"),
        (_changed(lambda jwk: jwk | {"x": new_signing_key("EdDSA").jwk()["x"]}, "EdDSA"), "malformed"),
        (_changed(lambda jwk: jwk | {"crv": "P-384"}), "P-384"),
        (_pem(ec.generate_private_key(ec.SECP224R1())), "no key"),
        (_pem(ec.generate_private_key(ec.BrainpoolP256R1())), "no key"),
        ('{"keys": [{"kty": ["EC"]}]}', "no key"),
        ('{"kty": "EC", "crv": {}}', "no key"),
        ('{"keys": ' + "[" * 100_000, "no key|neither"),
        (write_signing_keys(tuple(new_signing_key() for _ in range(5))), "5 keys"),
        (write_signing_keys((new_signing_key(),) * 2), "twice"),
    ],
)
def test_a_weak_or_foreign_key_is_refused_with_the_fix_and_never_shown(text: str, said: str) -> None:
    with pytest.raises(SigningKeyError, match=said) as fault:
        parse_signing_keys(text)
    for line in text.splitlines():
        assert len(line) < 20 or line not in str(fault.value)
