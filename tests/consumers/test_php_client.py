"""clients/php against the real service, by PHP itself."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.conftest import RealTokens
from tests.consumers.issuer import FORGERIES, PHONE, Issuer, signature
from tests.consumers.loopback import answering, losing
from tests.consumers.page import run
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

_TRACE = """<?php
require $argv[1];
$client = new Lastdigits\\Client('http://127.0.0.1:9', 'sk_hidden', retries: 0);
foreach ([fn () => $client->check('vrf_x', 'code_hidden'), fn () => $client->redeem('token_hidden', 'login'),
    fn () => Lastdigits\\verifiedPhone('token_hidden', 'login', [], 'lastdigits', 'shop')] as $call) {
    try {
        $call();
    } catch (RuntimeException $error) {
        foreach ($error->getTrace() as $frame) {
            echo json_encode($frame['args'] ?? []);
        }
    }
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
        noisy = ("-d", "error_reporting=-1", "-d", "display_errors=stdout")
        answer: dict[str, Any] = json.loads(run("php", *noisy, driver, FILE, *given, cwd=tmp_path))
        return answer

    return call


def test_a_phone_is_verified_and_its_token_redeemed_once(php: Php, simulator: Simulator, phone: str) -> None:
    started = php("start", phone=phone, purpose="login", clientIp="203.0.113.7", more={"code_length": 5})["answer"]
    assert (started["phone"], started["code_length"]) == (phone, 5)
    refused = php("check", id=started["id"], code=wrong(simulator.code(phone)))
    assert (refused["refused"], refused["status"], refused["problem"]) == ("Problem", 422, "code_incorrect")
    assert refused["members"]["attempts_left"] == 2
    approved = php("check", id=started["id"], code=simulator.code(phone), clientIp="203.0.113.7")["answer"]
    assert approved["phone"] == phone
    assert php("redeem", token=approved["token"], purpose="login")["answer"] == phone
    assert php("redeem", token=approved["token"], purpose="login") == {"refused": "TokenRefused"}


def test_a_token_for_another_purpose_is_refused(php: Php, real: RealTokens) -> None:
    _, token = real.of("backend", purpose="newsletter")
    assert php("redeem", token=token, purpose="login") == {"refused": "TokenRefused"}


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


@pytest.mark.parametrize("body", [b"<html>", b'{"ok": true}'], ids=str)
def test_a_proxy_that_says_200_in_the_services_place_is_no_answer(php: Php, body: bytes) -> None:
    with answering(lambda *_: (200, body)) as url:
        lost = php("check", at=url, id="vrf_x", code="1234")
    assert (lost["status"], lost["problem"]) == (0, "no_answer")


def test_an_idempotency_key_can_t_write_a_request_of_its_own(php: Php) -> None:
    own = 'x\r\n\r\n{"phone": "+79990000000", "purpose": "login"}'
    refused = php("start", at="http://127.0.0.1:9", phone=PHONE, purpose="login", idempotencyKey=own)
    assert (refused["status"], refused["problem"]) == (400, "idempotency_key_invalid")


def test_a_trace_with_arguments_has_no_key_code_or_token(tmp_path: Path) -> None:
    """Reporters of errors collect the arguments of each call. PHP 8.2 hides those that are marked."""
    script = tmp_path / "trace.php"
    script.write_text(_TRACE, "utf-8")
    trace = run("php", "-d", "zend.exception_ignore_args=0", script, FILE, cwd=tmp_path)
    assert "vrf_x" in trace
    assert [word for word in ("sk_hidden", "code_hidden", "token_hidden") if word in trace] == []


def test_the_keys_are_those_that_sign(php: Php, service: Service) -> None:
    assert php("keys")["answer"] == service.http.get("/.well-known/jwks.json").json()


# ---- verifiedPhone, besides what test_tokens.py has of every backend


@pytest.fixture
def accepts(php: Php, issuer: Issuer) -> Callable[..., bool]:
    """Whether it accepts a token, by the keys of the tests' own key server."""
    trust = {"keys": issuer.jwks, "issuer": "lastdigits", "audience": "backend", "purpose": "login"}

    def accepts(token: str, **options: Any) -> bool:
        answer = php("verifiedPhone", token=token, **(trust | options))
        assert answer in ({"answer": PHONE}, {"refused": "TokenRefused"})
        return "answer" in answer

    return accepts


def test_a_signature_is_read_whatever_its_numbers_begin_with(accepts: Callable[..., bool], issuer: Issuer) -> None:
    """A number that begins with zeros, or with a bit that would make it negative, is written otherwise for OpenSSL."""
    firsts = (range(1), range(1, 128), range(128, 256))
    for place, wanted in itertools.product((0, 32), firsts):
        made = (issuer.token(claims={"sub": str(number)}) for number in itertools.count())
        assert accepts(next(token for token in made if signature(token)[place] in wanted))


def test_the_algorithm_is_the_backends_choice(accepts: Callable[..., bool], issuer: Issuer) -> None:
    by_the_public_key = FORGERIES["HS256 with the public key's PEM"](issuer)
    assert not accepts(by_the_public_key, algorithm="HS256")
    assert not accepts(issuer.token(), algorithm="EdDSA")


def test_a_test_numbers_token_is_accepted_where_it_is_meant_to_be(accepts: Callable[..., bool], issuer: Issuer) -> None:
    assert accepts(issuer.token(claims={"test": True}), acceptTest=True)


@pytest.mark.parametrize(("setting", "claim"), [("issuer", "iss"), ("audience", "aud")])
def test_an_empty_setting_is_not_what_an_empty_claim_says(
    accepts: Callable[..., bool], issuer: Issuer, setting: str, claim: str
) -> None:
    assert not accepts(issuer.token(claims={claim: ""}), **{setting: ""})


@pytest.mark.parametrize("spelling", ["{}=", "{}\n", " {}", "{}A"])
def test_another_spelling_of_a_token_is_refused(accepts: Callable[..., bool], issuer: Issuer, spelling: str) -> None:
    assert not accepts(spelling.format(issuer.token()))
