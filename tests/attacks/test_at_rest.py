"""ATTACKS.md, "At rest": what a thief of the store's files, or a reader of its traffic, finds of phones, ranges, addresses, purposes and clients."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.verification.signing_keys import parse_signing_keys
from tests.attacks.own_deployment import BEHIND
from tests.attacks.page import SHOP, Page
from tests.harness import Simulator, names_of, ref_of, serving, until, wrong
from tests.server import Server

FIRST = "+7958642"
PURPOSE, KEY = "login-4711-purpose", "idempotency-key-4711"
ADDRESSES = ("203.0.113.77", "2001:db8:4711:77::9")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that writes everything down, as text."""
    options = {"appendonly": "yes", "appendfsync": "always", "aof_use_rdb_preamble": "no", "rdbcompression": "no"}
    server = Server(
        tmp_path_factory.mktemp("written"), **options, slowlog_log_slower_than="0", slowlog_max_len="100000"
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, server: Server) -> Iterator[Page]:
    """Every watch on, so that all kinds of records are there."""
    settings = {"FRAUD_CALLS_PER_RANGE": "8", "SPRAY_ALERT": "2", "SPEND_PER_COUNTRY": "RU 100/hour", "WORKERS": "1"}
    directory, given = tmp_path_factory.mktemp("at-rest"), BEHIND | settings | {"REDIS_URL": server.url}
    with serving(directory, simulator.send_url, **given) as service:
        yield Page(service, simulator)


@asynccontextmanager
async def _overheard(server: Server) -> AsyncIterator[list[str]]:
    """What MONITOR shows meanwhile."""
    heard: list[str] = []
    async with Redis.from_url(server.url) as client, client.monitor() as monitor, Redis.from_url(server.url) as other:

        async def listen() -> None:
            while not heard or "the end" not in heard[-1]:
                heard.append((await monitor.next_command())["command"])

        listening = asyncio.ensure_future(listen())
        yield heard
        await other.echo("the end")
        await listening


def _use(page: Page, phones: list[str]) -> None:
    """All that can become of a phone, its caller and its range."""
    service = page.service
    for number, phone in enumerate(phones):
        address, client = ADDRESSES[number % 2], "web"
        begun = page.start(phone, address, headers={"Idempotency-Key": f"{KEY}-{number}"}, purpose=PURPOSE)
        if begun.status_code != 201:  # strangers are challenged by now
            begun, client = service.start(phone, client_ip=address, purpose=PURPOSE), "backend"
        assert begun.status_code == 201, begun.text
        body, code = {"id": begun.json()["id"]}, page.simulator.code(phone)
        service.post("/verify/check", body | {"code": wrong(code)}, client, headers=SHOP)
        if number % 3 == 0:
            approved = service.post("/verify/check", body | {"code": code}, client, headers=SHOP)
            assert approved.status_code == 200, approved.text
            assert service.post("/verify/redeem", {"token": approved.json()["token"]}).status_code == 200
    while service.start(f"{FIRST}{secrets.randbelow(10_000):04d}").status_code != 503:
        pass
    assert page.policy()["suspended"]


def _files(server: Server) -> str:
    """The append-only file and a dump, as they lie on disk."""
    server.command("SAVE")
    files = [file for file in server.directory.rglob("*") if file.is_file()]
    assert {"dump.rdb"} < {file.name for file in files}
    assert any(".aof" in file.name for file in files)
    return "\n".join(file.read_bytes().decode("latin-1") for file in files)


def _records(server: Server) -> str:
    """Every key, field and value, as the server gives them: in its files, numbers are packed."""
    read = {b"hash": ("HGETALL",), b"string": ("GET",), b"zset": ("ZRANGE", "0", "-1")}
    parts: list[Any] = []
    for key in server.command("KEYS", "*"):
        command, *limits = read[server.command("TYPE", key)]
        parts += [key, server.command(command, key, *limits)]
    return str(parts)


def test_no_file_and_no_command_shows_whom_a_record_is_about(page: Page, server: Server) -> None:
    phones = [f"{FIRST}{number:04d}" for number in range(1357, 1363)]

    async def run() -> list[str]:
        async with _overheard(server) as heard:
            await asyncio.to_thread(_use, page, phones)
        return heard

    heard = asyncio.run(run())
    slow = str(server.command("SLOWLOG", "GET", "100000"))
    assert len(heard) > 50
    assert "EVALSHA" in slow
    digits = [phone[1:] for phone in phones]
    readable = {*digits, *(number[1:] for number in digits), FIRST[1:], FIRST[2:], *ADDRESSES, "203.0.113", "2001:db8"}
    readable |= {PURPOSE, KEY, *page.service.keys.values()}
    # The scripts' comments speak of backends: a client's name would stand behind a quote or a colon.
    pattern = re.compile("|".join(map(re.escape, readable)) + r"""|["':](?:backend|web)\b""")
    seen = {"files": _files(server), "records": _records(server), "MONITOR": "\n".join(heard), "SLOWLOG": slow}
    for where, text in seen.items():
        found = [text[max(0, match.start() - 60) : match.end() + 60] for match in pattern.finditer(text)]
        assert not found, f"{where}: {found[:3]!r}"


def test_three_days_after_the_last_call_nothing_of_a_phone_is_on_disk(page: Page, server: Server) -> None:
    phone = f"{FIRST[:-1]}91234"
    begun = page.service.start(phone, purpose=PURPOSE)
    assert begun.status_code == 201, begun.text
    page.service.check(begun.json()["id"], wrong(page.simulator.code(phone)))
    ref = ref_of(page.service, begun.json()["id"])
    names = [key.rpartition(":")[2] for key in names_of(page.service).verification(ref).values()]
    assert all(name in _files(server) for name in names), "a verification, its phone, and what was guessed"
    page.later(3 * 86400)
    server.command("BGREWRITEAOF")
    until(lambda: not server.command("INFO", "persistence").get("aof_rewrite_in_progress"))
    assert [server.command("KEYS", f"*:{of}:*") for of in ("phone", "guesses", "verification", "request")] == [[]] * 4
    files = _files(server)
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
    secret = signing.private_jwk()["d"]
    assert not [word for word in (pepper, secret, phone[1:], phone[5:], PURPOSE) if word in kept]
    assert not [path for path in (store, keys) if path.stat().st_mode & 0o077]
