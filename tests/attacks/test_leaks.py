"""ATTACKS.md, "Leaks" and "At rest". The secrets are known here, so each place where they could turn up is searched for them.

Answers, the log and metrics; the store's files, its records, and what MONITOR and SLOWLOG show; settings and tracebacks.
"""

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from redis.asyncio import Redis

from app.settings import SettingsError, load_settings
from app.verification.signing_keys import new_signing_key, parse_signing_keys, write_signing_keys
from tests.attacks.own_deployment import BEHIND
from tests.exposition import call, read
from tests.harness import PROVIDER_KEY, Service, Simulator, fresh_phone, names_of, ref_of, serving, until, wrong
from tests.server import Server

FOREIGN = "79160000065 code 8941"
RANGE, ADDRESSES = "+7958642", ("203.0.113.77", "2001:db8:4711:77::9")
PURPOSE = "login-4711-purpose"


@dataclass
class Used:
    """A service after it was used, all that it answered, and all that it must not show."""

    service: Service
    simulator: Simulator
    answers: list[httpx.Response] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    idempotency_keys: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    """What MONITOR showed meanwhile."""

    @property
    def keys(self) -> list[str]:
        """Whatever gives a right to something, and reaches no one but its owner."""
        signing = parse_signing_keys((self.service.directory / "signing-keys.json").read_text())
        private = [key.private_jwk()["d"] for key in signing if key.private]
        own = [PROVIDER_KEY, self.service.settings["PEPPER"], *self.service.keys.values()]
        return [*own, *private, *self.idempotency_keys]

    @property
    def ids(self) -> list[str]:
        return [answer.json()["id"] for answer in self.answers if answer.status_code == 201]

    def use(self) -> None:
        """All that can become of a phone, its caller and its range."""
        for number in range(30):
            self._verify(number)
        while (begun := self.service.start(f"{RANGE}{secrets.randbelow(10_000):04d}")).status_code == 201:
            self.codes.append(self.simulator.code(begun.json()["phone"]))
            self.service.check(begun.json()["id"], wrong(self.codes[-1]))
        policy = self.service.get("/policy").json()
        assert policy["suspended"]
        assert policy["spray_alert_until"]

    def _verify(self, number: int) -> None:
        """Verify a phone: each number goes another way."""
        service, phone, length = self.service, fresh_phone(), 6 if number % 2 else 4
        # Codes that no masked phone, price or call's number contains by chance: what is searched for is then really it.
        self.simulator.behave(phone, digits="730519"[:length])
        if number % 10 == 9:
            self.simulator.behave(phone, answer="error", error_code=f"provider-words {phone}")
        client, address = ("app", "backend")[number % 2], ADDRESSES[number // 2 % 2]
        headers = {"Idempotency-Key": f"idempotency-{secrets.token_hex(12)}", "X-Forwarded-For": address}
        members: dict[str, Any] = {"code_length": length, "purpose": PURPOSE}
        if client == "backend":
            members["client_ip"] = address
        started, again = (service.start(phone, client, headers, **members) for _ in range(2))
        self.answers += [started, again]
        self.phones.append(phone)
        self.idempotency_keys.append(headers["Idempotency-Key"])
        if started.status_code != 201:
            assert started.json()["code"] == "call_not_placed", started.text
            return
        verification, code = started.json()["id"], self.simulator.code(phone)
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
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that writes everything down, as text."""
    options = {"appendonly": "yes", "appendfsync": "always", "aof_use_rdb_preamble": "no", "rdbcompression": "no"}
    slow = {"slowlog_log_slower_than": "0", "slowlog_max_len": "100000"}
    server = Server(tmp_path_factory.mktemp("written"), **options, **slow)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, written: Server) -> Iterator[Used]:
    """Every watch is on, so that all kinds of records are there."""
    watches = {
        "FRAUD_CALLS_PER_RANGE": "30",
        "SPRAY_ALERT": "20",
        "SPEND_PER_COUNTRY": "RU 100/hour",
        "CHALLENGE": "never",
    }
    settings = BEHIND | watches | {"REDIS_URL": written.url, "LOG_LEVEL": "debug", "WORKERS": "1"}
    with serving(tmp_path_factory.mktemp("used"), simulator.send_url, **settings) as service:
        used = Used(service, simulator)
        asyncio.run(_overheard(used, written))
        yield used


async def _overheard(used: Used, written: Server) -> None:
    async with Redis.from_url(written.url) as client, client.monitor() as monitor:

        async def listen() -> None:
            while True:
                used.heard.append((await monitor.next_command())["command"])

        listening = asyncio.ensure_future(listen())
        await asyncio.to_thread(used.use)
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


def _files(written: Server) -> str:
    """The append-only file and a dump, as they lie on disk."""
    written.command("SAVE")
    files = [file for file in written.directory.rglob("*") if file.is_file()]
    assert {"dump.rdb"} < {file.name for file in files}
    assert any(".aof" in file.name for file in files)
    return "\n".join(file.read_bytes().decode("latin-1") for file in files)


def _records(written: Server) -> str:
    """Every key, field and value, as the server gives them: in its files, numbers are packed."""
    read = {b"hash": ("HGETALL",), b"string": ("GET",), b"zset": ("ZRANGE", "0", "-1")}
    parts: list[Any] = []
    for key in written.command("KEYS", "*"):
        left = written.command("PTTL", key)
        if left != -2:  # it has just expired
            assert left > 0, f"{key!r} would stay indefinitely"
            command, *limits = read[written.command("TYPE", key)]
            parts += [key, written.command(command, key, *limits)]
    return str(parts)


def _without(members: dict[str, object], *names: str) -> str:
    return json.dumps({name: value for name, value in members.items() if name not in names})


# ---- answers, the log and metrics


def test_no_answer_has_a_code_the_providers_words_or_a_key(used: Used) -> None:
    for answer in used.answers:
        whole = answer.text + str(dict(answer.headers))
        assert not [secret for secret in ("provider-words", *used.keys) if secret in whole]
        plain = _without(answer.json(), "phone", "id", "token", "device")
        assert not [code for code in used.codes if len(code) == 6 and code in plain]
    for token in used.tokens:
        claims = _without(jwt.decode(token, options={"verify_signature": False}), "jti", "phone_number", "sub")
        assert "7305" not in claims


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
    hidden = [*used.keys, *used.ids, *used.tokens, *(token.split(".")[2] for token in used.tokens)]
    assert not [secret for secret in (*hidden, *(phone[1:] for phone in used.phones)) if secret in log]
    assert not [word for word in _members(used.service) if "7305" in word]
    refused = [line for line in used.service.lines() if line["event"] == "call" and line["outcome"] == "refused"]
    assert [line["detail"] for line in refused] == ["provider-words +#"] * 3


def test_no_metric_has_anything_that_a_request_or_the_provider_brought(used: Used) -> None:
    answer = httpx.get(f"{used.service.url}/metrics")
    hidden = ("provider-words", *used.keys, *used.tokens)
    assert not [secret for secret in hidden if secret in answer.text]
    samples = [name + str(sorted(labels)) for name, labels in read(answer.text)]
    brought = {*used.codes, *(phone[1:] for phone in used.phones), "vrf_", *ADDRESSES, "127.0.0.1"}
    brought |= {PURPOSE, "'backend'", "'app'"}
    assert not [(sample, word) for sample in samples for word in brought if word in sample]
    assert read(answer.text)[call("placed")] == len(used.codes)


@pytest.mark.parametrize("member", ["id", "price", "error_code"])
def test_what_the_provider_writes_where_an_id_or_a_word_belongs_reaches_no_log(
    used: Used, simulator: Simulator, phone: str, member: str
) -> None:
    simulator.behave(phone, **{member: FOREIGN}, **({"answer": "error"} if member == "error_code" else {}))
    answer = used.service.start(phone)
    assert answer.status_code == (503 if member == "error_code" else 201)
    assert "9160000065" not in answer.text + used.service.log.read_text("utf-8")
    assert not [word for word in _members(used.service) if "8941" in word]


# ---- at rest


def test_no_file_and_no_command_shows_whom_a_record_is_about_or_an_id_that_could_be_checked(
    used: Used, written: Server
) -> None:
    slow = str(written.command("SLOWLOG", "GET", "100000"))
    assert len(used.heard) > 50
    assert "EVALSHA" in slow
    readable = {*(phone[2:] for phone in used.phones), *ADDRESSES, "203.0.113", "2001:db8", PURPOSE}
    readable |= {*used.keys, *used.tokens, *(identifier[4:] for identifier in used.ids)}
    packed = [int(phone[1:]).to_bytes(5, order) for phone in used.phones for order in ("big", "little")]
    readable |= {form.decode("latin-1") for form in packed}
    # A digest may contain the digits of a range. The scripts' comments speak of backends: a client's name would stand behind a quote or a colon.
    others = rf"""(?<![0-9a-f])(?:{RANGE[1:]}|{RANGE[2:]})|["':](?:backend|app)\b|["']7305(?:19)?["']"""
    pattern = re.compile("|".join([*map(re.escape, readable), others]))
    seen = {"MONITOR": "\n".join(used.heard), "SLOWLOG": slow, "files": _files(written), "records": _records(written)}
    for where, text in seen.items():
        found = [text[max(0, match.start() - 60) : match.end() + 60] for match in pattern.finditer(text)]
        assert not found, f"{where}: {found[:3]!r}"


def test_a_dump_does_not_yield_to_brute_force_without_the_pepper(used: Used, written: Server) -> None:
    """Try every code and every phone that was used, through the digests that a careless store would keep."""
    records = _records(written)
    assert records.isascii(), "digests are hex, and seals base64"
    kept = {word[:24] for word in re.findall("[0-9a-f]{16,}", records)}
    assert len(kept) > 100
    salts = [b"", *(salt.encode() for identifier in used.ids for salt in (identifier, identifier[4:]))]
    for secret in {text.encode() for text in (*used.codes, *used.phones, *(phone[1:] for phone in used.phones))}:
        for salt in salts:
            for digest in (
                hashlib.sha256(secret + salt),
                hashlib.sha256(salt + secret),
                hmac.new(salt or b"lastdigits", secret, "sha256"),
                hashlib.md5(secret + salt),
            ):
                assert not {digest.hexdigest()[:16], digest.hexdigest()[:24]} & kept


def test_three_days_after_the_last_call_nothing_of_a_phone_is_on_disk(used: Used, written: Server, phone: str) -> None:
    begun, code = used.service.begin(used.simulator, phone, purpose=PURPOSE)
    used.service.check(begun, wrong(code))
    keys = names_of(used.service).verification(ref_of(used.service, begun)).values()
    names = [key.rpartition(":")[2] for key in keys]
    assert all(name in _files(written) for name in names), "a verification, its phone, and what was guessed"
    used.service.later(3 * 86400)
    written.command("BGREWRITEAOF")
    until(lambda: not written.command("INFO", "persistence").get("aof_rewrite_in_progress"))
    assert [written.command("KEYS", f"*:{of}:*") for of in ("phone", "guesses", "verification", "request")] == [[]] * 4
    files = _files(written)
    assert not [name for name in names if name in files]


def test_a_copy_of_the_embedded_store_alone_holds_no_key(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    """The keys that the service makes for itself lie in another directory: what a backup of the store holds recovers nothing."""
    made = {"PEPPER": "", "SIGNING_KEYS_FILE": "", "WORKERS": "1"}
    with serving(tmp_path, simulator.send_url, **made) as service:
        assert service.start(phone, purpose=PURPOSE).status_code == 201
    store, keys = tmp_path / "data" / "store", tmp_path / "data" / "keys"
    pepper = (keys / "pepper").read_text().strip()
    (signing,) = parse_signing_keys((keys / "signing-keys.json").read_text())
    kept = "\n".join(file.read_bytes().decode("latin-1") for file in store.rglob("*") if file.is_file())
    assert "verification" in kept
    assert not [word for word in (pepper, signing.private_jwk()["d"], phone[1:], phone[5:], PURPOSE) if word in kept]
    assert not [path for path in (store, keys) if path.stat().st_mode & 0o077]


# ---- settings

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
