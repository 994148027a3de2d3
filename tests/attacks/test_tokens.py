"""Verification tokens through HTTP, with two workers: one for each approval, redeemed once, by its audience's own client, and none that is forged."""

import asyncio
import json
from collections import Counter
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.verification.signing_keys import new_signing_key, parse_signing_keys
from app.verification.token import TYPE
from tests.harness import Service, Simulator


def _approved(
    service: Service, simulator: Simulator, phone: str, client: str = "backend", **members: Any
) -> dict[str, Any]:
    started = service.start(phone, client, **members)
    approved = service.check(started.json()["id"], simulator.code(phone), client)
    assert approved.status_code == 200, approved.text
    answer: dict[str, Any] = approved.json()
    return answer


def _redeem(service: Service, token: str, client: str = "backend") -> tuple[int, dict[str, Any]]:
    answer = service.post("/verify/redeem", {"token": token}, client)
    return answer.status_code, answer.json()


def _verified(service: Service, token: str, audience: str = "backend") -> dict[str, Any]:
    """As a backend does it, with the published keys and nothing else."""
    keys = jwt.PyJWKSet.from_dict(service.http.get("/.well-known/jwks.json").json())
    claims: dict[str, Any] = jwt.decode(
        token,
        keys[jwt.get_unverified_header(token)["kid"]],
        algorithms=["ES256", "EdDSA"],
        audience=audience,
        issuer="lastdigits",
    )
    return claims


def test_a_token_verifies_at_any_backend_that_knows_the_published_keys(
    service: Service, simulator: Simulator, phone: str
) -> None:
    approved = _approved(service, simulator, phone, purpose="login")
    claims = _verified(service, approved["token"])
    assert (claims["phone_number"], claims["purpose"], claims["jti"]) == (phone, "login", approved["id"])
    assert approved["token_expires_in"] == claims["exp"] - claims["iat"] == 600
    assert jwt.get_unverified_header(approved["token"])["typ"] == "verification+jwt"
    assert "test" not in claims
    assert simulator.code(phone) not in {str(value) for value in claims.values()}


def test_the_published_keys_are_public_and_may_be_kept(service: Service) -> None:
    answer = service.http.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["content-type"] == "application/jwk-set+json"
    for key in answer.json()["keys"]:
        assert not {"d", "k", "p", "q"} & set(key)


def test_the_token_of_a_pages_verification_is_for_its_backend(
    service: Service, simulator: Simulator, phone: str
) -> None:
    approved = _approved(service, simulator, phone, "app")
    assert _verified(service, approved["token"], "backend")["aud"] == "backend"
    status, body = _redeem(service, approved["token"])
    assert (status, body["phone"], body["id"], body["test"]) == (200, phone, approved["id"], False)


async def test_the_same_approval_is_the_same_token_from_every_worker(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification, code = service.start(phone).json()["id"], simulator.code(phone)
    async with service.asynchronous() as http:
        answers = await asyncio.gather(
            *(http.post("/verify/check", json={"id": verification, "code": code}) for _ in range(50))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["token"] for answer in answers}) == 1


async def test_a_token_is_redeemed_once_of_fifty_times_over_workers(
    service: Service, simulator: Simulator, phone: str
) -> None:
    token = _approved(service, simulator, phone)["token"]
    async with service.asynchronous() as http:
        answers = await asyncio.gather(*(http.post("/verify/redeem", json={"token": token}) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 49}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"token_redeemed"}


def test_only_a_client_of_the_tokens_audience_redeems_it(service: Service, simulator: Simulator, phone: str) -> None:
    token = _approved(service, simulator, phone)["token"]
    assert _redeem(service, token, "other")[1]["code"] == "token_invalid"
    assert _redeem(service, token, "app")[1]["code"] == "key_not_allowed"
    assert service.http.post("/verify/redeem", json={"token": token}).json()["code"] == "key_missing"
    assert _redeem(service, token)[0] == 200, "a refused redeem uses nothing up"


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
    hs256.register_algorithm("HS256", _Confused("sha256"))
    forged = {
        "none": jwt.encode(claims, "", algorithm="none", headers=head),
        "hs256": hs256.encode(json.dumps(claims).encode(), pem, "HS256", head),
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
    assert _redeem(service, signed(exp=claims["iat"]))[1]["code"] == "token_expired"
    assert _redeem(service, signed())[0] == 200, "the control: nothing else was wrong with them"


class _Confused(jwt.algorithms.HMACAlgorithm):
    """HMAC without the guard that refuses a public key as its secret."""

    def __init__(self, _: str) -> None:
        super().__init__(self.SHA256)

    def prepare_key(self, key: Any) -> bytes:
        return bytes(key)


@pytest.mark.parametrize("token", ["", "x" * 5000, 1, None, ["a"]])
def test_what_is_no_token_at_all_is_a_bad_request(service: Service, token: Any) -> None:
    status, body = _redeem(service, token)
    assert (status, body["code"]) == (422, "invalid_request")
