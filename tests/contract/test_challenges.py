"""Remote challenges on real sockets: each token ends as solved, as not valid, or as unavailable, and as nothing else.

What the services answer is from their documentation. Yandex Cloud: SmartCaptcha, "Verifying the CAPTCHA response". Cloudflare: Turnstile, "Validate the
token". hCaptcha: "Developer Guide".
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from traceback import TracebackException
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import pytest

from app.challenges.remote import CLIENT_ERRORS, Remote
from app.verification.challenge import MAX_LEVEL, ChallengeKind, ChallengeUnavailable, Solved
from tests.contract.raw_provider import Behaviour, RawProvider, answer, close, flood, hang, reset, send, whole

SECRET, SITE_KEY, GOOD = "secret-key-5b0c77", "site-key-11", "good-token"
SMARTCAPTCHA, TURNSTILE, HCAPTCHA = ChallengeKind.SMARTCAPTCHA, ChallengeKind.TURNSTILE, ChallengeKind.HCAPTCHA
PASSED: dict[ChallengeKind, dict[str, Any]] = {
    SMARTCAPTCHA: {"status": "ok", "message": "", "host": "shop.example"},
    TURNSTILE: {"success": True, "error-codes": [], "messages": [], "hostname": "shop.example", "action": ""},
    HCAPTCHA: {"success": True, "challenge_ts": "2026-11-25T10:00:00.000000Z", "hostname": "not-provided"},
}
every_kind = pytest.mark.parametrize("kind", PASSED)


@asynccontextmanager
async def asking(
    *script: Behaviour, kind: ChallengeKind = TURNSTILE, url: str | None = None, **options: Any
) -> AsyncIterator[tuple[RawProvider, Remote]]:
    """A service that answers by its script, and what asks it."""
    async with RawProvider(*script) as service:
        remote = Remote(kind, SITE_KEY, SECRET, url=url or service.url, **options)
        try:
            yield service, remote
        finally:
            await remote.close()


async def verify(behaviour: Behaviour, kind: ChallengeKind = TURNSTILE, **options: Any) -> Solved | None:
    async with asking(behaviour, kind=kind, **options) as (service, remote):
        try:
            return await remote.verify(GOOD, "web", None)
        finally:
            assert len(service.requests) <= 1, "asked once at most"


async def unavailable(behaviour: Behaviour, kind: ChallengeKind = TURNSTILE, **options: Any) -> str:
    with pytest.raises(ChallengeUnavailable) as error:
        await verify(behaviour, kind, **options)
    return str(error.value)


# ---- what the documentation describes


@every_kind
async def test_a_valid_token_proves_the_most_work_and_has_a_name_of_its_own(kind: ChallengeKind) -> None:
    async with asking(answer(PASSED[kind]), kind=kind) as (_, remote):
        one, two = await remote.verify("one", "web", None), await remote.verify("two", "web", None)
    assert one
    assert two
    assert one.level == two.level == MAX_LEVEL
    assert len(one.name) == 24
    assert int(one.name, 16) != int(two.name, 16)


@every_kind
@pytest.mark.parametrize("address", ["192.0.2.7", None, "2001:db8::/64"])
async def test_the_service_receives_what_it_documents(kind: ChallengeKind, address: str | None) -> None:
    async with asking(answer(PASSED[kind]), kind=kind) as (service, remote):
        assert await remote.verify(GOOD, "web", address)
    fields = {
        SMARTCAPTCHA: {"secret": SECRET, "token": GOOD, "ip": "192.0.2.7"},
        TURNSTILE: {"secret": SECRET, "response": GOOD, "remoteip": "192.0.2.7"},
        HCAPTCHA: {"secret": SECRET, "response": GOOD, "remoteip": "192.0.2.7", "sitekey": SITE_KEY},
    }
    known = {name: value for name, value in fields[kind].items() if address == value or name not in {"ip", "remoteip"}}
    [request] = service.requests
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert dict(parse_qsl(request.body.decode())) == known


NOT_VALID: list[tuple[ChallengeKind, dict[str, Any]]] = [
    (SMARTCAPTCHA, {"status": "failed", "message": ""}),  # a robot
    (SMARTCAPTCHA, {"status": "failed", "message": "Token invalid or expired."}),
    (TURNSTILE, {"success": False, "error-codes": ["invalid-input-response"], "messages": []}),
    (TURNSTILE, {"success": False, "error-codes": ["timeout-or-duplicate"], "messages": []}),
    (HCAPTCHA, {"success": False, "error-codes": ["expired-input-response"]}),
    (HCAPTCHA, {"success": False, "error-codes": ["already-seen-response"]}),
]


@pytest.mark.parametrize(("kind", "said"), NOT_VALID, ids=str)
@pytest.mark.parametrize("status", [200, 400])
async def test_a_refused_token_is_none(kind: ChallengeKind, said: dict[str, Any], status: int) -> None:
    assert await verify(answer(said, status), kind) is None


# Errors of the operator or of the service itself: they say nothing of the token.
ERRORS: list[tuple[ChallengeKind, dict[str, Any], str]] = [
    (
        SMARTCAPTCHA,
        {"status": "failed", "message": "Authentication failed. Invalid secret."},
        "is the secret key right",
    ),
    (SMARTCAPTCHA, {"status": "failed", "message": "Internal error."}, "refused"),
    (SMARTCAPTCHA, {"status": "ok", "message": "", "host": ""}, "is the account blocked"),
    (TURNSTILE, {"success": False, "error-codes": ["invalid-input-secret"]}, "invalid-input-secret"),
    (TURNSTILE, {"success": False, "error-codes": ["79160000065 code 8941"]}, "an unknown error"),
    (TURNSTILE, {"success": True, "error-codes": [], "hostname": ""}, "is the account blocked"),
    (HCAPTCHA, {"success": False, "error-codes": ["sitekey-secret-mismatch"]}, "sitekey-secret-mismatch"),
    (HCAPTCHA, {"success": False, "error-codes": ["internal-error"]}, "internal-error"),
]


@pytest.mark.parametrize(("kind", "said", "message"), ERRORS, ids=str)
async def test_an_error_that_is_not_the_tokens_is_the_operators(
    kind: ChallengeKind, said: dict[str, Any], message: str
) -> None:
    assert message in await unavailable(answer(said), kind)


@pytest.mark.parametrize("token", ["", "токен", "\ud800"])
async def test_what_can_be_no_token_is_not_sent(token: str) -> None:
    async with asking(answer(PASSED[TURNSTILE])) as (service, remote):
        assert await remote.verify(token, "web", None) is None
        assert service.connections == 0


@pytest.mark.parametrize("token", ["a&secret=other&b=c", "a b+c%00\x00\r\nX: y"])
async def test_a_token_adds_no_field(token: str) -> None:
    async with asking(answer(PASSED[TURNSTILE])) as (service, remote):
        assert await remote.verify(token, "web", None)
    assert dict(parse_qsl(service.requests[0].body.decode())) == {"secret": SECRET, "response": token}


# ---- what goes wrong

NONSENSE: list[dict[str, Any] | bytes] = [
    b"",
    b"<html><body>Just a moment...</body></html>",
    b'{"success": true, "status": "ok", "ho',
    b"[]",
    {},
    {"success": "true", "status": True, "hostname": "shop.example", "host": "shop.example"},
    {"success": 1, "status": "OK", "hostname": "shop.example", "host": "shop.example"},
    {"success": False, "error-codes": "invalid-input-response", "status": "failed"},
    {"success": False, "error-codes": [["invalid-input-response"]], "status": "failed", "message": None},
    b"[" * 5000,
    b"\xff\xfe",
]


@every_kind
@pytest.mark.parametrize("body", NONSENSE)
async def test_nonsense_is_unavailable(kind: ChallengeKind, body: dict[str, Any] | bytes) -> None:
    await unavailable(answer(body), kind)


@pytest.mark.parametrize("status", [201, 302, 307, 403, 429, 500, 503])
async def test_a_pass_without_a_200_is_unavailable_and_no_redirect_is_followed(status: int) -> None:
    async with RawProvider(answer(PASSED[TURNSTILE])) as elsewhere:
        said = await unavailable(answer(PASSED[TURNSTILE], status, f"Location: {elsewhere.url}"))
        assert f"status {status}" in said
        assert elsewhere.connections == 0


BROKEN: dict[str, tuple[Behaviour, str]] = {
    "a close": (close, ""),
    "a reset": (reset, ""),
    "no HTTP": (send(b"SSH-2.0-OpenSSH_9.6\r\n"), ""),
    "cut short": (send(whole(PASSED[TURNSTILE], length=400)), ""),
    "an endless head": (send(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000), ""),
    "a flood": (flood(b"HTTP/1.1 200 OK\r\n\r\n"), "too long"),
    "a hang": (hang, "0.3 s"),
    "an answer that drips": (send(b"HTTP/1.1 200 OK\r\n\r\n", *[b" "] * 99, pause=0.02), "0.3 s"),
}


@pytest.mark.parametrize(("behaviour", "said"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_connection_is_unavailable_in_time(behaviour: Behaviour, said: str) -> None:
    async with asyncio.timeout(3):
        assert said in await unavailable(behaviour, timeout=0.3)


async def test_a_service_that_is_not_there_or_speaks_no_tls_is_unavailable() -> None:
    async with RawProvider(close) as left:
        gone = left.url
    async with RawProvider(answer(b"", 400)) as plain:
        for url in (gone, plain.url.replace("http:", "https:"), "http://no-such-host.invalid/validate"):
            await unavailable(close, url=url)


async def test_a_handshake_that_hangs_leaves_no_socket_behind() -> None:
    closed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()
        closed.set()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as server:
        await unavailable(close, url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", timeout=0.3)
        async with asyncio.timeout(1):
            await closed.wait()


def test_each_error_of_the_client_is_one_of_the_known() -> None:
    errors = {error for error in vars(httpx2).values() if isinstance(error, type) and issubclass(error, Exception)}
    ours = {httpx2.InvalidURL, httpx2.CookieConflict}  # the URL is in the table; no cookie is kept
    assert not [error for error in errors - ours if not issubclass(error, CLIENT_ERRORS)]


# ---- one request is not another


async def test_no_connection_and_no_cookie_is_used_again_and_a_second_answer_is_no_ones() -> None:
    first = whole({"success": False, "error-codes": ["invalid-input-response"]}, 200, "Set-Cookie: __cf_bm=tracked")
    async with asking(send(first + whole(PASSED[TURNSTILE]), keep=True)) as (service, remote):
        assert [await remote.verify(token, "web", None) for token in ("one", "two")] == [None, None]
        assert service.connections == 2
        assert not any("cookie" in request.headers for request in service.requests)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await verify(answer(PASSED[TURNSTILE]))


@pytest.mark.parametrize("behaviour", [answer(b"no", 503), reset], ids=["an answer", "an error"])
async def test_the_secret_key_is_in_no_log_repr_or_exception(
    behaviour: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with asking(behaviour) as (_, remote):
        with pytest.raises(ChallengeUnavailable) as raised:
            await remote.verify(GOOD, "web", None)
        shown = repr(remote)
    error = raised.value
    assert (error.__cause__, error.__context__) == (None, None)
    frames = TracebackException.from_exception(error, capture_locals=True).format()
    seen = [shown, repr(error), json.dumps(vars(error)), caplog.text]
    seen += [line for line in frames if "tests/contract" not in line]
    assert caplog.text
    assert not [text for text in seen if SECRET in text]
