"""Remote challenges against fakes of the three services: each token ends as solved, as not valid, or as unavailable, and as nothing else."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from traceback import TracebackException
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from app.challenges.remote import CLIENT_ERRORS, Remote
from app.challenges.services import SERVICES
from app.verification.challenge import MAX_LEVEL, ChallengeKind, ChallengeUnavailable, Solved
from tests.contract.captcha_services import GOOD, SECRET, SITE_KEY, Fake, Stand, raw, standing

PASSED = {
    ChallengeKind.SMARTCAPTCHA: {"status": "ok", "message": "", "host": "shop.example"},
    ChallengeKind.TURNSTILE: {"success": True, "error-codes": [], "hostname": "shop.example"},
    ChallengeKind.HCAPTCHA: {"success": True, "hostname": "shop.example"},
}
REFUSED = {
    ChallengeKind.SMARTCAPTCHA: {"status": "failed", "message": ""},
    ChallengeKind.TURNSTILE: {"success": False, "error-codes": ["invalid-input-response"]},
    ChallengeKind.HCAPTCHA: {"success": False, "error-codes": ["expired-input-response"]},
}
NAMES_HOST = [ChallengeKind.SMARTCAPTCHA, ChallengeKind.TURNSTILE]


one_kind = pytest.mark.parametrize("kind", [ChallengeKind.TURNSTILE])
"""For what the client does whichever service it asks."""


@pytest.fixture(params=list(SERVICES))
def kind(request: pytest.FixtureRequest) -> ChallengeKind:
    return ChallengeKind(request.param)


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with standing() as stand:
        yield stand


@asynccontextmanager
async def asking(kind: ChallengeKind, url: str, **options: Any) -> AsyncIterator[Remote]:
    keys = {"site_key": SITE_KEY, "secret_key": SECRET}
    remote = Remote(replace(SERVICES[kind], url=url), **keys | options)
    try:
        yield remote
    finally:
        await remote.close()


async def _verify(
    stand: Stand, fake: Fake, token: str = GOOD, address: str | None = None, **options: Any
) -> Solved | None:
    async with asking(fake.kind, stand.serve(fake), **options) as remote:
        return await remote.verify(token, "web", address)


async def _unavailable(stand: Stand, fake: Fake, **options: Any) -> str:
    with pytest.raises(ChallengeUnavailable) as unavailable:
        await _verify(stand, fake, **options)
    assert len(fake.forms) <= 1, "asked once at most"
    return str(unavailable.value)


def _always(response: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return response()

    return answer


# ---- what the documentation describes


async def test_a_valid_token_proves_the_most_work(stand: Stand, kind: ChallengeKind) -> None:
    solved = await _verify(stand, Fake(kind))
    assert solved is not None
    assert solved.level == MAX_LEVEL
    assert len(solved.name) == 24
    assert int(solved.name, 16) >= 0


async def test_the_service_receives_what_it_documents(stand: Stand, kind: ChallengeKind) -> None:
    fake = Fake(kind)
    await _verify(stand, fake, address="192.0.2.7")
    fields = {
        ChallengeKind.SMARTCAPTCHA: {"secret": SECRET, "token": GOOD, "ip": "192.0.2.7"},
        ChallengeKind.TURNSTILE: {"secret": SECRET, "response": GOOD, "remoteip": "192.0.2.7"},
        ChallengeKind.HCAPTCHA: {"secret": SECRET, "response": GOOD, "remoteip": "192.0.2.7", "sitekey": SITE_KEY},
    }
    assert fake.forms == [fields[kind]]


@pytest.mark.parametrize("address", [None, "2001:db8::/64"])
async def test_an_address_that_is_none_is_left_out(stand: Stand, kind: ChallengeKind, address: str | None) -> None:
    fake = Fake(kind)
    assert await _verify(stand, fake, address=address)
    assert {"ip", "remoteip"}.isdisjoint(fake.forms[0])


async def test_each_token_has_a_name_of_its_own(stand: Stand, kind: ChallengeKind) -> None:
    fake = Fake(kind, tokens={"one", "two"})
    async with asking(kind, stand.serve(fake)) as remote:
        one, two = await remote.verify("one", "web", None), await remote.verify("two", "web", None)
    assert one
    assert two
    assert one.name != two.name


async def test_a_wrong_token_is_none(stand: Stand, kind: ChallengeKind) -> None:
    assert await _verify(stand, Fake(kind), "made-up") is None


@pytest.mark.parametrize("status", [200, 400])
async def test_a_refused_token_is_none(stand: Stand, kind: ChallengeKind, status: int) -> None:
    assert await _verify(stand, Fake(kind, instead=_always(lambda: JSONResponse(REFUSED[kind], status)))) is None


async def test_a_robot_is_none(stand: Stand) -> None:
    assert await _verify(stand, Fake(ChallengeKind.SMARTCAPTCHA), "robot") is None


async def test_a_token_counts_once(stand: Stand, kind: ChallengeKind) -> None:
    async with asking(kind, stand.serve(Fake(kind))) as remote:
        assert await remote.verify(GOOD, "web", None)
        assert await remote.verify(GOOD, "web", None) is None


@one_kind
@pytest.mark.parametrize("token", ["", "токен", "\ud800"])
async def test_what_can_be_no_token_is_not_sent(stand: Stand, kind: ChallengeKind, token: str) -> None:
    fake = Fake(kind)
    assert await _verify(stand, fake, token) is None
    assert fake.forms == []


@one_kind
@pytest.mark.parametrize("token", ["a&secret=other&b=c", "a b+c%00\x00\r\nX: y"])
async def test_a_token_adds_no_field(stand: Stand, kind: ChallengeKind, token: str) -> None:
    fake = Fake(kind)
    assert await _verify(stand, fake, token) is None
    assert fake.forms[0]["secret"] == SECRET
    assert token in fake.forms[0].values()


async def test_a_wrong_secret_is_the_operators_error(stand: Stand, kind: ChallengeKind) -> None:
    message = await _unavailable(stand, Fake(kind), secret_key="another-secret")
    assert "refused" in message
    assert "another-secret" not in message


async def test_a_site_key_of_another_account_is_the_operators_error(stand: Stand) -> None:
    assert "sitekey-secret-mismatch" in await _unavailable(stand, Fake(ChallengeKind.HCAPTCHA), site_key="another")


async def test_the_services_own_error_says_nothing_of_the_token(stand: Stand, kind: ChallengeKind) -> None:
    answers = {
        ChallengeKind.SMARTCAPTCHA: {"status": "failed", "message": "Internal error."},
        ChallengeKind.TURNSTILE: {"success": False, "error-codes": ["internal-error"]},
        ChallengeKind.HCAPTCHA: {"success": False, "error-codes": ["internal-error"]},
    }
    await _unavailable(stand, Fake(kind, instead=_always(lambda: JSONResponse(answers[kind]))))


# ---- the site where a token was made


@pytest.mark.parametrize("kind", NAMES_HOST)
async def test_a_token_of_another_site_is_none(stand: Stand, kind: ChallengeKind) -> None:
    assert await _verify(stand, Fake(kind, host="thief.example"), hostnames=("Shop.example",)) is None
    assert await _verify(stand, Fake(kind, host="shop.example:8443"), hostnames=("Shop.example",))


@pytest.mark.parametrize("kind", NAMES_HOST)
async def test_a_blocked_account_passes_no_one(stand: Stand, kind: ChallengeKind) -> None:
    await _unavailable(stand, Fake(kind, host=""))
    await _unavailable(stand, Fake(kind, host="[not a host"))


async def test_hcaptchas_host_is_the_browsers_word_and_not_read(stand: Stand) -> None:
    assert await _verify(stand, Fake(ChallengeKind.HCAPTCHA), hostnames=("shop.example",))


# ---- what goes wrong


@one_kind
@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_server_error_is_unavailable_whatever_it_says(stand: Stand, kind: ChallengeKind, status: int) -> None:
    for answer in (PASSED[kind], REFUSED[kind]):
        fake = Fake(kind, instead=_always(lambda: JSONResponse(answer, status)))  # noqa: B023  called in the loop
        assert str(status) in await _unavailable(stand, fake)


@one_kind
@pytest.mark.parametrize("status", [201, 403, 429])
async def test_a_pass_without_a_200_is_unavailable(stand: Stand, kind: ChallengeKind, status: int) -> None:
    await _unavailable(stand, Fake(kind, instead=_always(lambda: JSONResponse(PASSED[kind], status))))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Just a moment...</body></html>",
        b'{"success": true, "status": "ok", "ho',
        b'"ok"',
        b"[]",
        b"null",
        b"{}",
        b'{"success": "true", "status": true, "hostname": "shop.example", "host": "shop.example"}',
        b'{"success": 1, "status": "OK", "hostname": "shop.example", "host": "shop.example"}',
        b'{"success": false, "error-codes": "invalid-input-response", "status": "failed"}',
        b'{"success": false, "error-codes": [["invalid-input-response"]], "status": "failed", "message": null}',
        b"[" * 5000,
        b"\xff\xfe",
        gzip.compress(
            b'{"success": true, "status": "ok", "hostname": "shop.example", "host": "shop.example"}', mtime=0
        ),
    ],
)
async def test_nonsense_is_unavailable(stand: Stand, kind: ChallengeKind, body: bytes) -> None:
    await _unavailable(stand, Fake(kind, instead=_always(lambda: Response(body, media_type="application/json"))))


async def test_words_of_the_service_reach_no_message(stand: Stand, kind: ChallengeKind) -> None:
    foreign = "79160000065 code 8941"
    answer = {"success": False, "error-codes": [foreign], "status": "failed", "message": foreign}
    assert "7916" not in await _unavailable(stand, Fake(kind, instead=_always(lambda: JSONResponse(answer))))


@one_kind
async def test_an_endless_answer_is_cut(stand: Stand, kind: ChallengeKind) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 4096
            await asyncio.sleep(0)

    assert "too long" in await _unavailable(stand, Fake(kind, instead=_always(lambda: StreamingResponse(body()))))
    assert sent < 1000


@one_kind
async def test_a_hanging_service_is_unavailable_in_time(stand: Stand, kind: ChallengeKind) -> None:
    async def hang(request: Request) -> Response:
        while not await request.is_disconnected():  # noqa: ASYNC110  Starlette offers no event for it
            await asyncio.sleep(0.02)
        return Response()

    async with asyncio.timeout(3):
        assert "0.2 s" in await _unavailable(stand, Fake(kind, instead=hang), timeout=0.2)


@one_kind
async def test_an_answer_that_drips_is_unavailable_in_time(stand: Stand, kind: ChallengeKind) -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.02)

    async with asyncio.timeout(3):
        assert "0.2 s" in await _unavailable(
            stand, Fake(kind, instead=_always(lambda: StreamingResponse(drip()))), timeout=0.2
        )


@one_kind
@pytest.mark.parametrize("where", ["other", "http://[", "file:///etc/passwd"])
async def test_a_redirect_is_not_followed(stand: Stand, kind: ChallengeKind, where: str) -> None:
    other = Fake(kind)
    redirect = stand.serve(other) if where == "other" else where
    for status in (302, 307, 308):
        await _unavailable(stand, Fake(kind, instead=_always(lambda: RedirectResponse(redirect, status))))  # noqa: B023  called in the loop
    assert other.forms == []


@one_kind
@pytest.mark.parametrize(
    ("written", "abort"),
    [
        (b"", False),
        (b"", True),
        (b"SSH-2.0-OpenSSH_9.6\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", True),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, False),
        (b"HTTP/1.1 200 OK\r\nlocation: \xff\xfe\r\nset-cookie: \xff\r\ncontent-length: 0\r\n\r\n", False),
    ],
)
async def test_a_broken_connection_is_unavailable(kind: ChallengeKind, written: bytes, abort: bool) -> None:
    async with raw(written, abort=abort) as url, asking(kind, url) as remote:
        with pytest.raises(ChallengeUnavailable):
            await remote.verify(GOOD, "web", None)


@one_kind
async def test_a_service_that_is_not_there_is_unavailable(kind: ChallengeKind) -> None:
    async with raw(b"") as gone:
        pass
    for url in (gone, gone.replace("http:", "https:"), "http://no-such-host.invalid/validate"):
        async with asking(kind, url) as remote:
            with pytest.raises(ChallengeUnavailable):
                await remote.verify(GOOD, "web", None)


@one_kind
async def test_a_handshake_that_hangs_leaves_no_socket_behind(kind: ChallengeKind) -> None:
    closed = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()
        closed.set()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/validate"
        async with asking(kind, url, timeout=0.3) as remote:
            with pytest.raises(ChallengeUnavailable):
                await remote.verify(GOOD, "web", None)
        async with asyncio.timeout(1):
            await closed.wait()


@one_kind
async def test_a_service_that_speaks_no_tls_is_unavailable(kind: ChallengeKind) -> None:
    async with (
        raw(b"HTTP/1.1 400 Bad Request\r\n\r\n\r\n\r\n") as url,
        asking(kind, url.replace("http:", "https:")) as remote,
    ):
        with pytest.raises(ChallengeUnavailable):
            await remote.verify(GOOD, "web", None)


def test_each_error_of_the_client_is_one_of_the_known() -> None:
    errors = {error for error in vars(httpx2).values() if isinstance(error, type) and issubclass(error, Exception)}
    ours = {httpx2.InvalidURL, httpx2.CookieConflict}  # the URL is in the table; no cookie is kept
    assert not [error for error in errors - ours if not issubclass(error, CLIENT_ERRORS)]


# ---- one request is not another


@one_kind
async def test_answers_that_come_in_another_order_reach_their_own_requests(stand: Stand, kind: ChallengeKind) -> None:
    good = {f"good-{number}" for number in range(10)}
    fake = Fake(kind, tokens=set(good))
    plain = fake.answer
    tokens = [token for number in range(10) for token in (f"good-{number}", f"bad-{number}")]

    async def late(request: Request) -> Response:
        form = fake.forms[-1]
        token = form.get("response", form.get("token", ""))
        await asyncio.sleep(0.01 * (20 - tokens.index(token)))
        fake.instead, fake.forms = None, fake.forms[:-1]
        try:
            return await plain(request)
        finally:
            fake.instead = late

    fake.instead = late
    async with asking(kind, stand.serve(fake)) as remote:
        verified = await asyncio.gather(*(remote.verify(token, "web", None) for token in tokens))
    assert [solved is not None for solved in verified] == [token in good for token in tokens]


@one_kind
async def test_no_connection_and_no_cookie_is_used_again(stand: Stand, kind: ChallengeKind) -> None:
    fake = Fake(kind, tokens={"one", "two", "three"})
    async with asking(kind, stand.serve(fake)) as remote:
        for token in ("one", "two", "three"):
            assert await remote.verify(token, "web", None)
    assert len({port for _, port in fake.heads}) == 3
    assert not any("cookie" in headers for headers, _ in fake.heads)


@one_kind
async def test_proxies_of_the_environment_are_not_used(
    stand: Stand, kind: ChallengeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await _verify(stand, Fake(kind))


# ---- the secret key


@one_kind
async def test_the_secret_key_is_in_no_log_repr_or_exception(
    stand: Stand, kind: ChallengeKind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await _verify(stand, Fake(kind))
    slow = Fake(kind, instead=_always(lambda: Response("no", 503)))
    async with asking(kind, stand.serve(slow)) as remote:
        with pytest.raises(ChallengeUnavailable) as unavailable:
            await remote.verify(GOOD, "web", None)
        seen = [repr(remote), str(vars(unavailable.value)), repr(unavailable.value), caplog.text]
    async with raw(b"", abort=True) as url, asking(kind, url) as remote:
        with pytest.raises(ChallengeUnavailable) as broken:
            await remote.verify(GOOD, "web", None)
    for error in (unavailable.value, broken.value):
        assert error.__cause__ is None
        assert error.__context__ is None
        frames = TracebackException.from_exception(error, capture_locals=True).format()
        seen.append("".join(line for line in frames if "tests/contract" not in line))
    assert all(record.name.startswith(("httpx2", "httpcore2", "asyncio", "uvicorn")) for record in caplog.records)
    assert caplog.text
    assert not [text for text in seen if SECRET in text]
