"""Verification tokens through HTTP, with two workers: one for each approval, redeemed once, by its audience's own client, and none that is forged."""

import json
from collections import Counter
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.verification.signing_keys import new_signing_key, parse_signing_keys
from app.verification.token import TYPE
from tests.harness import Service, Simulator


def _approved(
    service: Service, simulator: Simulator, phone: str, client: str = "backend", **members: Any
) -> dict[str, Any]:
    approved = service.check(*service.begin(simulator, phone, client, **members), client)
    assert approved.status_code == 200, approved.text
    return dict(approved.json())


def _redeem(service: Service, token: Any, client: str = "backend") -> tuple[int, dict[str, Any]]:
    answer = service.post("/verify/redeem", {"token": token}, client)
    return answer.status_code, answer.json()


def _verified(service: Service, token: str) -> dict[str, Any]:
    """As a backend does it, with the published keys and nothing else."""
    answer = service.http.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["content-type"] == "application/jwk-set+json"
    key = jwt.PyJWKSet.from_dict(answer.json())[jwt.get_unverified_header(token)["kid"]]
    return dict(jwt.decode(token, key, algorithms=["ES256", "EdDSA"], audience="backend", issuer="lastdigits"))


def test_the_token_of_a_pages_verification_verifies_at_its_backend_with_the_published_keys(
    service: Service, simulator: Simulator, phone: str
) -> None:
    approved = _approved(service, simulator, phone, "app", purpose="login")
    claims = _verified(service, approved["token"])
    assert (claims["phone_number"], claims["purpose"], claims["jti"]) == (phone, "login", approved["id"])
    assert approved["token_expires_in"] == claims["exp"] - claims["iat"] == 600
    assert jwt.get_unverified_header(approved["token"])["typ"] == "verification+jwt"
    assert "test" not in claims
    assert simulator.code(phone) not in {str(value) for value in claims.values()}
    status, body = _redeem(service, approved["token"])
    assert (status, body["phone"], body["id"], body["test"]) == (200, phone, approved["id"], False)


def test_a_token_is_redeemed_once_of_fifty_times_over_workers(
    service: Service, simulator: Simulator, phone: str
) -> None:
    token = _approved(service, simulator, phone)["token"]
    answers = service.at_once("/verify/redeem", [{"token": token}] * 50)
    assert Counter(answer.json().get("code", "") for answer in answers) == {"": 1, "token_redeemed": 49}
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 49}


def test_only_a_client_of_the_tokens_audience_redeems_it(service: Service, simulator: Simulator, phone: str) -> None:
    token = _approved(service, simulator, phone)["token"]
    assert _redeem(service, token, "other")[1]["code"] == "token_invalid"
    assert _redeem(service, token, "app")[1]["code"] == "key_not_allowed"
    assert _redeem(service, token)[0] == 200, "a refused redeem uses nothing up"


class _Confused(jwt.algorithms.HMACAlgorithm):
    """HMAC without the guard that refuses a public key as its secret."""

    def __init__(self) -> None:
        super().__init__(self.SHA256)

    def prepare_key(self, key: Any) -> bytes:
        return bytes(key)


def test_no_forged_token_is_redeemed(service: Service, simulator: Simulator, phone: str) -> None:
    token = _approved(service, simulator, phone)["token"]
    claims = _verified(service, token)
    (ours,) = parse_signing_keys((service.directory / "signing-keys.json").read_text())
    foreign = new_signing_key()
    head = {"typ": TYPE, "kid": ours.kid}

    def signed(headers: dict[str, Any] | None = None, key: Any = ours, **changed: Any) -> str:
        kept = {name: value for name, value in (claims | changed).items() if value is not None}
        return jwt.encode(kept, key.private, algorithm="ES256", headers=head | (headers or {}))

    pem = ours.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    hs256 = jwt.PyJWS()
    hs256.unregister_algorithm("HS256")
    hs256.register_algorithm("HS256", _Confused())
    forged = {
        "none": jwt.encode(claims, "", algorithm="none", headers=head),
        "hs256": hs256.encode(json.dumps(claims).encode(), pem, "HS256", head),
        "hs256 with the JWK": hs256.encode(json.dumps(claims).encode(), json.dumps(ours.jwk()).encode(), "HS256", head),
        "another audience": signed(aud="other"),
        "another issuer": signed(iss="somebody"),
        "another type": signed({"typ": "JWT"}),
        "an unknown kid": signed({"kid": foreign.kid}, foreign),
        "a foreign key under our kid": signed(key=foreign),
        "cut short": token[:-1],
        "an id that was never given": signed(jti="vrf_" + "A" * 44),
        "no expiry": signed(exp=None),
    }
    for name, text in forged.items():
        status, body = _redeem(service, text)
        assert (status, body["code"]) == (422, "token_invalid"), name
    for nothing in ("", "x" * 5000, 1, None, ["a"]):
        assert _redeem(service, nothing)[1]["code"] == "invalid_request"
    assert _redeem(service, signed(exp=claims["iat"]))[1]["code"] == "token_expired"
    assert _redeem(service, signed())[0] == 200, "the control: nothing else was wrong with them"
