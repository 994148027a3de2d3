"""Leaks: ATTACKS.md, "Leaks". The secrets are known here, so each place where they could turn up is searched for them."""

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jwt
import pytest

from app.settings import SettingsError, load_settings
from app.store.connection import connect
from app.verification.signing_keys import new_signing_key, parse_signing_keys, write_signing_keys
from tests.exposition import call, read
from tests.harness import PROVIDER_KEY, Service, Simulator, fresh_phone, serving, wrong

FOREIGN = "79160000065 code 8941"


@dataclass
class Used:
    """A service after it was used, all that it answered, and all that it must not show."""

    service: Service
    answers: list[httpx.Response] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    idempotency_keys: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """Whatever gives a right to something, and reaches no one but its owner."""
        signing = parse_signing_keys((self.service.directory / "signing-keys.json").read_text())
        private = [key.private_jwk()["d"] for key in signing if key.private]
        return [
            PROVIDER_KEY,
            self.service.settings["PEPPER"],
            *self.service.keys.values(),
            *self.idempotency_keys,
            *private,
        ]

    def verify(self, simulator: Simulator, number: int) -> None:
        """Verify a phone: each number goes another way."""
        service, phone, length = self.service, fresh_phone(), 6 if number % 2 else 4
        # Codes that no masked phone, price or call's number contains by chance: what is searched for is then really it.
        simulator.behave(phone, digits="730519"[:length])
        if number % 10 == 9:
            simulator.behave(phone, answer="error", error_code=f"provider-words {phone}")
        client, headers = ("app", "backend")[number % 2], {"Idempotency-Key": f"idempotency-{secrets.token_hex(12)}"}
        members = {"code_length": length, "purpose": "login"}
        if client == "backend":
            members["client_ip"] = f"203.0.113.{number}"
        started, again = (service.start(phone, client, headers, **members) for _ in range(2))
        self.answers += [started, again]
        self.phones.append(phone)
        self.idempotency_keys += headers.values()
        if started.status_code != 201:
            return
        verification, code = started.json()["id"], simulator.code(phone)
        self.codes.append(code)
        self.answers.append(service.check(verification, wrong(code), client))
        self.answers.append(service.get(f"/verify/{verification}"))
        if number % 3:
            approved = service.check(verification, code, client)
            self.tokens.append(approved.json()["token"])
            self.answers += [approved, service.post("/verify/redeem", {"token": self.tokens[-1]})]
        if number % 5 == 0:
            self.answers.append(service.post(f"/verify/{verification}/cancel"))


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Used]:
    settings = {"LOG_LEVEL": "debug", "CALLS_PER_IP": "999/hour", "WORKERS": "1"}
    with serving(tmp_path_factory.mktemp("used"), simulator.send_url, **settings) as service:
        used = Used(service)
        for number in range(30):
            used.verify(simulator, number)
        yield used


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
                is_text = await client.type(key) == b"string"
                fields = {b"": await client.get(key)} if is_text else await client.hgetall(key)
                parts += [key, *(part for pair in fields.items() for part in pair)]
        return b"\n".join(parts)

    return asyncio.run(read())


def _without(members: dict[str, object], *names: str) -> str:
    return json.dumps({name: value for name, value in members.items() if name not in names})


def test_no_answer_has_a_code_the_providers_words_or_a_key(used: Used) -> None:
    for answer in used.answers:
        whole = answer.text + str(dict(answer.headers))
        assert not [secret for secret in ("provider-words", *used.keys) if secret in whole]
        plain = _without(answer.json(), "phone", "id", "token")
        assert not [code for code in used.codes if len(code) == 6 and code in plain]
    for token in used.tokens:
        claims = _without(jwt.decode(token, options={"verify_signature": False}), "jti", "phone_number", "sub")
        assert not [code for code in used.codes if code in claims]


def _members(service: Service) -> list[str]:
    """What log lines say, without what holds any digits: times, numbers and ids of ours."""
    return [
        str(value)
        for line in service.lines()
        for name, value in line.items()
        if name not in {"timestamp", "request_id", "id"} and not isinstance(value, int | float)
    ]


def test_no_log_line_has_a_code_a_phone_or_a_key(used: Used) -> None:
    log = used.service.log.read_text("utf-8")
    hidden = [*used.keys, *used.tokens, *(token.split(".")[2] for token in used.tokens)]
    assert not [secret for secret in (*hidden, *(phone[1:] for phone in used.phones)) if secret in log]
    assert not [word for word in _members(used.service) for code in set(used.codes) if code in word]


def test_no_metric_has_anything_that_a_request_or_the_provider_brought(used: Used) -> None:
    answer = httpx.get(f"{used.service.url}/metrics")
    hidden = ("provider-words", *used.phones, *used.keys, *used.tokens)
    assert not [secret for secret in hidden if secret in answer.text]
    samples = [name + str(sorted(labels)) for name, labels in read(answer.text)]
    brought = {*used.codes, *(phone[1:] for phone in used.phones), "vrf_", "203.0.113.", "127.0.0.1"}
    brought |= {"'login'", "'backend'", "'app'"}
    assert not [(sample, word) for sample in samples for word in brought if word in sample]
    assert read(answer.text)[call("placed")] == len(used.codes)


def test_the_providers_words_reach_the_operators_log_without_their_digits(used: Used) -> None:
    refused = [line for line in used.service.lines() if line["event"] == "call" and line["outcome"] == "refused"]
    assert [line["detail"] for line in refused] == ["provider-words +#"] * 3


@pytest.mark.parametrize("member", ["id", "price", "error_code"])
def test_what_the_provider_writes_where_an_id_or_a_word_belongs_reaches_no_log(
    used: Used, simulator: Simulator, phone: str, member: str
) -> None:
    simulator.behave(phone, **{member: FOREIGN}, **({"answer": "error"} if member == "error_code" else {}))
    answer = used.service.start(phone)
    assert answer.status_code == (503 if member == "error_code" else 201)
    assert "9160000065" not in answer.text + used.service.log.read_text("utf-8")
    assert not [word for word in _members(used.service) if "8941" in word]


def test_a_dump_holds_no_phone_no_code_and_no_id_that_could_be_checked(used: Used) -> None:
    dump = _dump(used.service)
    for phone in used.phones:
        number = int(phone[1:])
        assert not [form for form in (number.to_bytes(5, "big"), number.to_bytes(5, "little")) if form in dump]
    assert not {code.encode() for code in used.codes} & set(dump.split(b"\n"))
    ids = [answer.json()["id"][4:] for answer in used.answers if answer.status_code == 201]
    hidden = [*used.keys, *used.tokens, *ids, *(phone[2:] for phone in used.phones), "203.0.113.", "127.0.0.1"]
    assert not [secret for secret in hidden if secret.encode() in dump]


def test_a_dump_does_not_yield_to_brute_force_without_the_pepper(used: Used) -> None:
    """Try every code and every phone that was used, through the digests that a careless store would keep."""
    dump = _dump(used.service)
    assert dump.isascii(), "digests are hex, and seals base64"
    kept = {word[:24] for word in re.findall(rb"[0-9a-f]{16,}", dump)}
    assert len(kept) > 100
    ids = [answer.json()["id"].encode() for answer in used.answers if answer.status_code == 201]
    salts = [b"", *ids, *(identifier[4:] for identifier in ids)]
    for secret in {text.encode() for text in (*used.codes, *used.phones, *(phone[1:] for phone in used.phones))}:
        for salt in salts:
            for digest in (
                hashlib.sha256(secret + salt),
                hashlib.sha256(salt + secret),
                hmac.new(salt or b"lastdigits", secret, "sha256"),
                hashlib.md5(secret + salt),
            ):
                assert not {digest.hexdigest()[:16].encode(), digest.hexdigest()[:24].encode()} & kept


HIDDEN = {
    "PROVIDER_API_KEY": "hidden-provider-1",
    "PEPPER": "hidden-pepper-3 0123456789 abcdefghij",
    "REDIS_URL": "redis://user:hidden-redis-5@localhost:6379/0",
    "CLIENTS_FILE": "clients.toml",
    "SIGNING_KEYS_FILE": "signing-keys.json",
}
BROKEN = {"PROVIDER_PASSWORD": "hidden-2", "PEPPER": "hidden-3", "REDIS_URL": "redis://u:hidden-5@localhost:notaport/0"}


def test_settings_and_their_problems_show_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    key = new_signing_key()
    Path("clients.toml").write_text(f'[[client]]\nid = "a"\nkind = "secret"\nkey_sha256 = "{"ab" * 32}"\n')
    Path("signing-keys.json").write_text(write_signing_keys((key,)))
    for name, value in HIDDEN.items():
        monkeypatch.setenv(f"LASTDIGITS_{name}", value)
    settings = load_settings(dotenv=None)
    shown = repr(settings) + str(settings) + repr(key)
    assert "hidden" not in shown
    assert key.private_jwk()["d"] not in shown
    for name, value in BROKEN.items():
        monkeypatch.setenv(f"LASTDIGITS_{name}", value)
    with pytest.raises(SettingsError) as error:
        load_settings(dotenv=None)
    said = str(error.value) + repr(error.value) + "".join(traceback.format_exception(error.value))
    assert "LASTDIGITS_PEPPER" in said
    assert "hidden" not in said
