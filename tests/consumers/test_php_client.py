"""clients/php against the real service, by PHP itself."""

import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.conftest import RealTokens
from tests.consumers.issuer import FORGERIES, PHONE, WRONG, Issuer, ec_jwk, es256, hs256, okp_jwk, parts, pem
from tests.consumers.lossy import losing
from tests.harness import ROOT, Service, Simulator, wait_out_the_cooldown, wrong

pytestmark = pytest.mark.php

FILE = ROOT / "clients" / "php" / "lastdigits.php"

_DRIVER = """<?php
require $argv[1];
[, , $url, $key, $options, $method, $arguments] = $argv;
try {
    $answer = $method === 'verifiedPhone'
        ? Lastdigits\\verifiedPhone(...json_decode($arguments, true))
        : (new Lastdigits\\Client($url, $key, ...json_decode($options, true)))->$method(...json_decode($arguments, true));
    echo json_encode(['answer' => $answer]);
} catch (Lastdigits\\Problem $problem) {
    echo json_encode(get_object_vars($problem) + ['refused' => 'Problem']);
} catch (Lastdigits\\TokenRefused $refused) {
    echo json_encode(['refused' => 'TokenRefused']);
}
"""

Php = Callable[..., dict[str, Any]]


@pytest.fixture
def php(tmp_path: Path, service: Service) -> Php:
    """Call a method of the client with named arguments."""
    driver = tmp_path / "driver.php"
    driver.write_text(_DRIVER, "utf-8")

    def call(method: str, at: str = "", options: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        given = [at or service.url, service.keys["backend"], json.dumps(options or {}), method, json.dumps(arguments)]
        done = subprocess.run(
            ["php", "-d", "error_reporting=-1", "-d", "display_errors=stderr", str(driver), str(FILE), *given],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return call


def test_a_phone_is_verified_and_its_token_redeemed_once(php: Php, simulator: Simulator, phone: str) -> None:
    started = php("start", phone=phone, purpose="login", clientIp="203.0.113.7", more={"code_length": 5})["answer"]
    assert (started["phone"], started["code_length"]) == (phone, 5)
    approved = php("check", id=started["id"], code=simulator.code(phone), clientIp="203.0.113.7")["answer"]
    assert approved["phone"] == phone
    assert php("redeem", token=approved["token"], purpose="login")["answer"] == phone
    assert php("redeem", token=approved["token"], purpose="login") == {"refused": "TokenRefused"}


def test_a_token_for_another_purpose_is_refused(php: Php, real: RealTokens) -> None:
    _, token = real.of("backend", purpose="newsletter")
    assert php("redeem", token=token, purpose="login") == {"refused": "TokenRefused"}


def test_a_wrong_code_is_a_problem_with_the_attempts_left(php: Php, simulator: Simulator, phone: str) -> None:
    started = php("start", phone=phone, purpose="login")["answer"]
    refused = php("check", id=started["id"], code=wrong(simulator.code(phone)))
    assert (refused["refused"], refused["status"], refused["problem"]) == ("Problem", 422, "code_incorrect")
    assert refused["members"]["attempts_left"] == 2


async def test_a_resend_waits_for_its_cooldown(php: Php, service: Service, simulator: Simulator, phone: str) -> None:
    started = php("start", phone=phone, purpose="login")["answer"]
    early = php("resend", id=started["id"])
    assert (early["problem"], early["members"]["limit"]) == ("limit_reached", "resend_cooldown")
    assert 0 < early["retryAfter"] <= 30
    await wait_out_the_cooldown(service, started["id"])
    assert php("resend", id=started["id"])["answer"]["id"] == started["id"]
    assert simulator.count(phone) == 2


def test_a_lost_answer_is_asked_for_again_under_one_key(
    php: Php, service: Service, simulator: Simulator, phone: str
) -> None:
    with losing(service) as proxy:
        started = php("start", at=proxy.url, phone=phone, purpose="login")["answer"]
    assert (len(proxy.keys), len(set(proxy.keys)), simulator.count(phone)) == (2, 1, 1)
    with losing(service) as proxy:
        lost = php("check", at=proxy.url, id=started["id"], code=wrong(simulator.code(phone)))
    assert (lost["status"], lost["problem"], len(proxy.keys)) == (0, "no_answer", 1)


def test_a_lost_action_is_continued_by_its_key(php: Php, service: Service, simulator: Simulator, phone: str) -> None:
    with losing(service) as proxy:
        lost = php("start", at=proxy.url, options={"retries": 0}, phone=phone, purpose="login")
    assert lost["problem"] == "no_answer"
    php("start", phone=phone, purpose="login", idempotencyKey=lost["idempotencyKey"])
    assert simulator.count(phone) == 1


def test_a_service_that_is_not_there_is_a_problem(php: Php) -> None:
    refused = php("check", at="http://127.0.0.1:9", options={"retries": 1}, id="vrf_x", code="1234")
    assert (refused["status"], refused["problem"]) == (0, "no_answer")


def test_the_keys_are_those_that_sign(php: Php, real: RealTokens, real_token: tuple[str, str]) -> None:
    assert real.key(real_token[1]) in php("keys")["answer"]["keys"]


class TestOffline:
    """`verifiedPhone`: it trusts the tests' own key server, so that any token can be signed."""

    def accepts(self, php: Php, signer: Issuer, token: str, **more: Any) -> bool:
        trust = {"keys": signer.jwks, "issuer": "lastdigits", "audience": "backend"}
        answer = php("verifiedPhone", token=token, purpose="login", **(trust | more))
        assert answer in ({"answer": PHONE}, {"refused": "TokenRefused"})
        return "answer" in answer

    def test_the_services_token_is_accepted(self, php: Php, real_token: tuple[str, str]) -> None:
        phone, token = real_token
        trust = {"keys": php("keys")["answer"], "issuer": "lastdigits", "audience": "backend"}
        assert php("verifiedPhone", token=token, purpose="login", **trust) == {"answer": phone}
        assert php("verifiedPhone", token=token, purpose="login", **(trust | {"audience": "other"})) == {
            "refused": "TokenRefused"
        }

    def test_a_valid_token_of_either_key_is_accepted(self, php: Php, issuer: Issuer) -> None:
        assert self.accepts(php, issuer, issuer.token())
        kid = ec_jwk(issuer.next_key)["kid"]
        assert self.accepts(php, issuer, issuer.token({"kid": kid}, sign=es256(issuer.next_key)))

    def test_a_signature_is_read_whatever_its_numbers_begin_with(self, php: Php, issuer: Issuer) -> None:
        """A number that begins with zeros, or with a bit that would make it negative, is written otherwise for OpenSSL."""
        firsts = (range(1), range(1, 128), range(128, 256))
        for place, wanted in itertools.product((0, 32), firsts):
            made = (issuer.token(claims={"sub": str(number)}) for number in itertools.count())
            assert self.accepts(php, issuer, next(token for token in made if parts(token)[2][place] in wanted))

    def test_the_algorithm_is_the_backends_choice(self, php: Php, issuer: Issuer) -> None:
        header = {"alg": "EdDSA", "kid": okp_jwk(issuer.other_algorithm)["kid"]}
        token = issuer.token(header, sign=issuer.other_algorithm.sign)
        assert self.accepts(php, issuer, token, algorithm="EdDSA")
        assert not self.accepts(php, issuer, token)
        assert not self.accepts(php, issuer, issuer.token(), algorithm="EdDSA")
        assert not self.accepts(php, issuer, issuer.token(sign=hs256(pem(ec_jwk(issuer.key)))), algorithm="HS256")

    def test_a_test_numbers_token_is_accepted_where_it_is_meant_to_be(self, php: Php, issuer: Issuer) -> None:
        assert self.accepts(php, issuer, issuer.token(claims={"test": True}), acceptTest=True)

    def test_a_clock_that_is_a_little_behind_does_no_harm(self, php: Php, issuer: Issuer) -> None:
        ahead = issuer.claims()["iat"] + 5
        assert self.accepts(php, issuer, issuer.token(claims={"iat": ahead, "nbf": ahead}))

    @pytest.mark.parametrize("setting", ["issuer", "audience"])
    def test_an_empty_setting_opens_nothing(self, php: Php, issuer: Issuer, setting: str) -> None:
        claim = {"issuer": "iss", "audience": "aud"}[setting]
        for value in (None, ""):
            assert not self.accepts(php, issuer, issuer.token(claims={claim: value}), **{setting: ""})

    @pytest.mark.parametrize("forgery", [name for name in FORGERIES if name != "half a character"])  # no JSON for PHP
    def test_a_forgery_is_refused(self, php: Php, issuer: Issuer, forgery: str) -> None:
        assert not self.accepts(php, issuer, FORGERIES[forgery](issuer.token(), ec_jwk(issuer.key)))

    @pytest.mark.parametrize("spelling", ["{token}=", "{token}\n", " {token}", "{token}A"])
    def test_another_spelling_of_a_token_is_refused(self, php: Php, issuer: Issuer, spelling: str) -> None:
        assert not self.accepts(php, issuer, spelling.format(token=issuer.token()))

    @pytest.mark.parametrize("wrong_token", WRONG)
    def test_what_is_wrong_in_one_thing_is_refused(self, php: Php, issuer: Issuer, wrong_token: str) -> None:
        assert not self.accepts(php, issuer, WRONG[wrong_token](issuer))
