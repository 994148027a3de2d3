"""Leaks: ATTACKS.md, "Leaks". The secrets are known here, so each place where they could turn up is searched for them."""

import asyncio
import hashlib
import hmac
import itertools
import json
import re
import secrets
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import jwt
import pytest

from app.settings import SettingsError, load_settings
from app.store.connection import connect
from app.verification.signing_keys import new_signing_key, parse_signing_keys, write_signing_keys
from tests.exposition import call, read
from tests.harness import PROVIDER_KEY, Service, Simulator, fresh_phone, serving, wrong


class Used(NamedTuple):
    """A service after it was used, and all that it must not show."""

    service: Service
    answers: list[httpx.Response]
    codes: list[str]
    phones: list[str]
    keys: list[str]
    tokens: list[str]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Used]:
    """A service after thirty verifications that went every way, with all that it answered."""
    with serving(
        tmp_path_factory.mktemp("used"),
        simulator.send_url,
        LOG_LEVEL="debug",
        CALLS_PER_IP="999/hour",
        WORKERS="1",
    ) as service:
        answers: list[httpx.Response] = []
        codes: list[str] = []
        phones: list[str] = []
        keys: list[str] = []
        tokens: list[str] = []
        for n in range(30):
            phone = fresh_phone()
            length = 6 if n % 2 else 4
            # Codes that no masked phone, price or call's number contains by chance: what is searched for is then really it.
            simulator.behave(phone, digits="730519"[:length])
            if n % 10 == 9:
                simulator.behave(phone, answer="error", error_code=f"provider-words {phone}")
            client, headers = ("app", "backend")[n % 2], {"Idempotency-Key": f"idempotency-{secrets.token_hex(12)}"}
            keys.append(headers["Idempotency-Key"])
            asked = {"phone": phone, "code_length": length, "purpose": "login"}
            if client == "backend":
                asked["client_ip"] = f"203.0.113.{n}"
            started = service.post("/verify/start", asked, client, headers=headers)
            answers += [started, service.post("/verify/start", asked, client, headers=headers)]
            phones.append(phone)
            if started.status_code != 201:
                continue
            code = simulator.code(phone)
            codes.append(code)
            verification = started.json()["id"]
            answers.append(service.check(verification, wrong(code), client))
            answers.append(service.get(f"/verify/{verification}", "backend"))
            if n % 3:
                approved = service.check(verification, code, client)
                answers.append(approved)
                answers.append(service.post("/verify/redeem", {"token": approved.json()["token"]}))
                tokens.append(approved.json()["token"])
            if n % 5 == 0:
                answers.append(service.post(f"/verify/{verification}/cancel"))
        yield Used(service, answers, codes, phones, keys, tokens)


def _signing_secrets(service: Service) -> list[str]:
    keys = parse_signing_keys((service.directory / "signing-keys.json").read_text())
    return [key.private_jwk()["d"] for key in keys if key.private]


def _dump(service: Service) -> bytes:
    """Everything in the store: names, and values whole."""

    async def read() -> bytes:
        parts = []
        async with connect(service.settings["REDIS_URL"], 5) as client:
            async for key in client.scan_iter(count=1000):
                left = await client.pttl(key)
                if left == -2:  # it has just expired
                    continue
                assert left > 0, f"{key!r} would stay indefinitely"
                parts.append(key)
                if await client.type(key) == b"string":
                    parts.append(await client.get(key))
                    continue
                for field, value in (await client.hgetall(key)).items():
                    parts += [field, value]
        return b"\n".join(parts)

    return asyncio.run(read())


def test_no_answer_has_a_code_the_providers_words_or_a_key(used: Used, simulator: Simulator) -> None:
    service, answers, codes = used[:3]
    for answer in answers:
        whole = answer.text + str(dict(answer.headers))
        assert "provider-words" not in whole
        assert PROVIDER_KEY not in whole
        assert not any(key in whole for key in (*service.keys.values(), *used.keys, *_signing_secrets(service)))
    for answer, code in itertools.product(answers, {code for code in codes if len(code) == 6}):
        body = answer.json()
        plain = {name: value for name, value in body.items() if name not in {"phone", "id", "token"}}
        assert code not in json.dumps(plain)
    for token, code in itertools.product(used.tokens, set(codes)):
        claims = jwt.decode(token, options={"verify_signature": False})
        assert code not in json.dumps(
            {name: value for name, value in claims.items() if name not in {"jti", "phone_number", "sub"}}
        )


def _members(service: Service) -> list[str]:
    """What log lines say, without what holds any digits: times, numbers and ids of ours."""
    return [
        str(value)
        for line in service.lines()
        for name, value in line.items()
        if name not in {"timestamp", "request_id", "id"} and not isinstance(value, int | float)
    ]


def test_no_log_line_has_a_code_a_phone_or_a_key(used: Used, simulator: Simulator) -> None:
    service, codes, phones = used.service, used.codes, used.phones
    log = service.log.read_text("utf-8")
    for secret in (
        PROVIDER_KEY,
        service.settings["PEPPER"],
        *service.keys.values(),
        *phones,
        *(phone[1:] for phone in phones),
        *used.keys,
        *used.tokens,
        *(token.split(".")[2] for token in used.tokens),
        *_signing_secrets(service),
    ):
        assert secret not in log
    for code in codes:
        assert not [word for word in _members(service) if code in word]


def test_no_metric_has_anything_that_a_request_or_the_provider_brought(used: Used) -> None:
    answer = httpx.get(f"{used.service.url}/metrics")
    assert not any(
        secret in answer.text for secret in (PROVIDER_KEY, "provider-words", *used.phones, *used.keys, *used.tokens)
    )
    assert not any(secret in answer.text for secret in (*used.service.keys.values(), used.service.settings["PEPPER"]))
    samples = [name + str(sorted(labels)) for name, labels in read(answer.text)]
    brought = {
        *used.codes,
        *(phone[1:] for phone in used.phones),
        "vrf_",
        "203.0.113.",
        "127.0.0.1",
        "'login'",
        "'backend'",
        "'app'",
    }
    assert not [(sample, word) for sample, word in itertools.product(samples, brought) if word in sample]
    assert read(answer.text)[call("placed")] == len(used.codes)


def test_the_providers_words_reach_the_operators_log_without_their_digits(used: Used) -> None:
    refused = [line for line in used.service.lines() if line["event"] == "call" and line["outcome"] == "refused"]
    assert len(refused) == 3
    assert {line["detail"] for line in refused} == {"provider-words +#"}


FOREIGN = "79160000065 code 8941"


@pytest.mark.parametrize("member", ["id", "price", "error_code"])
def test_what_the_provider_writes_where_an_id_or_a_word_belongs_reaches_no_log(
    used: Used, simulator: Simulator, phone: str, member: str
) -> None:
    if member == "error_code":
        simulator.behave(phone, answer="error", error_code=FOREIGN)
    else:
        simulator.behave(phone, **{member: FOREIGN})
    answer = used.service.start(phone)
    assert answer.status_code == (503 if member == "error_code" else 201)
    assert "9160000065" not in answer.text + used.service.log.read_text("utf-8")
    assert not [word for word in _members(used.service) if "8941" in word]


def test_a_dump_holds_no_phone_and_no_code(used: Used) -> None:
    service, codes, phones = used.service, used.codes, used.phones
    dump = _dump(service)
    for phone in phones:
        digits = phone[1:].encode()
        for form in (digits, digits[1:], int(digits).to_bytes(5, "big"), int(digits).to_bytes(5, "little")):
            assert form not in dump
    values = dump.split(b"\n")
    assert not {code.encode() for code in codes} & set(values)
    for secret in (
        *used.keys,
        *used.tokens,
        *service.keys.values(),
        *_signing_secrets(service),
        "203.0.113.",
        "127.0.0.1",
    ):
        assert secret.encode() not in dump


def test_a_dump_does_not_yield_to_brute_force_without_the_pepper(used: Used) -> None:
    """Try every code and every phone that was used, through the digests that a careless store would keep."""
    service, answers, codes, phones = used[:4]
    dump = _dump(service)
    assert dump.isascii(), "digests are hex, and seals base64"
    kept = {word[:24] for word in re.findall(rb"[0-9a-f]{16,}", dump)}
    assert len(kept) > 100
    ids = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    salts = [b"", *(identifier.encode() for identifier in ids), *(identifier[4:].encode() for identifier in ids)]
    for secret in {
        *(code.encode() for code in codes),
        *(form for phone in phones for form in (phone.encode(), phone[1:].encode())),
    }:
        for salt in salts:
            for digest in (
                hashlib.sha256(secret + salt),
                hashlib.sha256(salt + secret),
                hmac.new(salt or b"lastdigits", secret, "sha256"),
                hashlib.md5(secret + salt),
            ):
                assert not {digest.hexdigest()[:16].encode(), digest.hexdigest()[:24].encode()} & kept


def test_a_dump_makes_no_id_that_could_be_checked(used: Used) -> None:
    service, answers = used[:2]
    dump = _dump(service)
    for answer in answers:
        if answer.status_code == 201:
            assert answer.json()["id"][4:].encode() not in dump


def test_settings_and_their_problems_show_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    hidden = {
        "PROVIDER_API_KEY": "hidden-provider-1",
        "PROVIDER_LOGIN": "login",
        "PROVIDER_PASSWORD": "hidden-provider-2",
        "PEPPER": "hidden-3",
        "PEPPER_PREVIOUS": "hidden-pepper-4 " * 3,
        "REDIS_URL": "redis://user:hidden-redis-5@localhost:notaport/0",
    }
    for name, value in hidden.items():
        monkeypatch.setenv(f"LASTDIGITS_{name}", value)
    with pytest.raises(SettingsError) as error:
        load_settings(dotenv=None)
    said = str(error.value) + repr(error.value) + "".join(traceback.format_exception(error.value))
    assert "LASTDIGITS_PEPPER" in said
    assert "hidden" not in said


def test_a_repr_of_good_settings_shows_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "clients.toml").write_text(f'[[client]]\nid = "a"\nkind = "secret"\nkey_sha256 = "{"ab" * 32}"\n')
    key = new_signing_key()
    (tmp_path / "signing-keys.json").write_text(write_signing_keys((key,)))
    for name, value in {
        "PROVIDER_API_KEY": "hidden-provider-1",
        "PEPPER": "hidden-pepper-3 0123456789 abcdefghij",
        "REDIS_URL": "redis://user:hidden-redis-5@localhost:6379/0",
        "CLIENTS_FILE": str(tmp_path / "clients.toml"),
        "SIGNING_KEYS_FILE": str(tmp_path / "signing-keys.json"),
    }.items():
        monkeypatch.setenv(f"LASTDIGITS_{name}", value)
    settings = load_settings(dotenv=None)
    assert "hidden" not in repr(settings)
    assert "hidden" not in str(settings)
    assert key.private_jwk()["d"] not in repr(settings) + repr(key)
