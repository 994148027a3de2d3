"""Leaks: ATTACKS.md, "Leaks". The secrets are known here, so each place where they could turn up is searched for them."""

import asyncio
import hashlib
import hmac
import itertools
import traceback
from typing import Any

import pytest

from app.settings import SettingsError, load_settings
from app.store.connect import connect
from app.verification.signing import new_signing_key, write_signing_keys
from tests.harness import PROVIDER_KEY, Service, Simulator, fresh_phone, serving, wrong


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Any:
    """A service after a hundred verifications that went every way, with all that it answered."""
    with serving(tmp_path_factory.mktemp("used"), simulator.send_url, LOG_LEVEL="debug") as service:
        answers, codes, phones = [], [], []
        for n in range(100):
            phone = fresh_phone()
            length = 6 if n % 2 else 4
            # Codes that no masked phone, price or call's number contains by chance: what is searched for is then really it.
            simulator.behave(phone, digits="730519"[:length])
            if n % 10 == 9:
                simulator.behave(phone, answer="error", error_code=f"provider-words {phone}")
            started = service.start(phone, code_length=length, purpose="login")
            answers.append(started)
            phones.append(phone)
            if started.status_code != 201:
                continue
            code = simulator.code(phone)
            codes.append(code)
            verification = started.json()["id"]
            answers.append(service.check(verification, wrong(code)))
            answers.append(service.get(f"/verify/{verification}"))
            if n % 3:
                answers.append(service.check(verification, code))
            if n % 5 == 0:
                answers.append(service.post(f"/verify/{verification}/cancel"))
        yield service, answers, codes, phones


def _dump(service: Service) -> bytes:
    """Everything in the store: names, and values whole."""

    async def read() -> bytes:
        parts = []
        async with connect(service.settings["REDIS_URL"], 5) as client:
            async for key in client.scan_iter(count=1000):
                parts.append(key)
                assert await client.pttl(key) > 0, f"{key!r} would stay for ever"
                for field, value in (await client.hgetall(key)).items():
                    parts += [field, value]
        return b"\n".join(parts)

    return asyncio.run(read())


def test_no_answer_carries_a_code_the_providers_words_or_a_key(used: Any, simulator: Simulator) -> None:
    service, answers, codes, _ = used
    for answer in answers:
        told = answer.text + str(dict(answer.headers))
        assert "provider-words" not in told
        assert PROVIDER_KEY not in told
        assert not any(key in told for key in service.keys.values())
    for answer, code in itertools.product(answers, [code for code in codes if len(code) == 6]):
        assert code not in answer.text.replace(answer.json().get("phone", "+"), "").replace(
            answer.json().get("id", "-"), ""
        )


def test_no_log_line_carries_a_code_a_phone_or_a_key(used: Any, simulator: Simulator) -> None:
    service, _, codes, phones = used
    log = service.log.read_text("utf-8")
    for secret in (
        PROVIDER_KEY,
        service.settings["PEPPER"],
        *service.keys.values(),
        *phones,
        *(phone[1:] for phone in phones),
    ):
        assert secret not in log
    members = [
        value
        for line in service.lines()
        for name, value in line.items()
        if name not in {"timestamp", "request_id", "id", "call_id"}
    ]
    for code in codes:
        assert not any(code in str(value) for value in members if not isinstance(value, int | float))


def test_the_providers_words_reach_the_operators_log(used: Any, simulator: Simulator) -> None:
    service, _, _, _ = used
    refused = [line for line in service.lines() if line["event"] == "call" and line["outcome"] == "refused"]
    assert len(refused) == 10
    assert all("provider-words" in line["detail"] for line in refused)


def test_a_dump_holds_no_phone_and_no_code(used: Any) -> None:
    service, _, codes, phones = used
    dump = _dump(service)
    for phone in phones:
        digits = phone[1:].encode()
        for form in (digits, digits[1:], int(digits).to_bytes(5, "big"), int(digits).to_bytes(5, "little")):
            assert form not in dump
    values = dump.split(b"\n")
    assert not {code.encode() for code in codes} & set(values)


def test_a_dump_does_not_yield_to_brute_force_without_the_pepper(used: Any) -> None:
    """Try every code and every phone that was used, through the digests that a careless store would keep."""
    service, answers, codes, phones = used
    dump = _dump(service)
    ids = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    salts = [b"", *(identifier.encode() for identifier in ids), *(identifier[4:].encode() for identifier in ids)]
    for secret in {
        *(code.encode() for code in codes),
        *(form for phone in phones for form in (phone.encode(), phone[1:].encode())),
    }:
        for salt in salts:
            for digest in (
                hashlib.sha256(secret + salt).digest(),
                hashlib.sha256(salt + secret).digest(),
                hmac.digest(salt or b"lastdigits", secret, "sha256"),
                hashlib.md5(secret + salt).digest(),
            ):
                assert digest[:12] not in dump
                assert digest[:12].hex().encode() not in dump


def test_a_dump_makes_no_id_that_could_be_checked(used: Any) -> None:
    service, answers, _, _ = used
    dump = _dump(service)
    for answer in answers:
        if answer.status_code == 201:
            assert answer.json()["id"][4:].encode() not in dump


def test_settings_and_their_faults_show_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    secrets = {
        "PROVIDER_API_KEY": "hidden-provider-1",
        "PROVIDER_LOGIN": "login",
        "PROVIDER_PASSWORD": "hidden-provider-2",
        "PEPPER": "hidden-3",
        "PEPPER_PREVIOUS": "hidden-pepper-4 " * 3,
        "REDIS_URL": "redis://user:hidden-redis-5@localhost:notaport/0",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(f"LASTDIGITS_{name}", value)
    with pytest.raises(SettingsError) as fault:
        load_settings(dotenv=None)
    told = str(fault.value) + repr(fault.value) + "".join(traceback.format_exception(fault.value))
    assert "LASTDIGITS_PEPPER" in told
    assert "hidden" not in told


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
