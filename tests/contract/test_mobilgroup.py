"""Mobilgroup's client over real HTTP: the request it sends, and the ends of a response. What a response means: unit/test_responses.py."""

import asyncio
import gzip
import json
import logging
from decimal import Decimal

import httpx2
import pytest

from app.provider.credentials import BodyKey, Credentials, HeaderKey, Login
from app.provider.mobilgroup import NEVER_SENT, Limits, Mobilgroup, classify
from app.provider.responses import MAX_BYTES
from app.verification.model import Refusal
from app.verification.ports import CallOutcome, Placed, Refused, Unknown
from tests.contract.raw_provider import OK, Behaviour, RawProvider, Request, answer, flood, send, whole

PHONE = "+79161234567"
KEY = "Pa5s-key-7d1f9c"
PLACED = Placed("0427", "1234", Decimal("0.35"))


async def place(
    *script: Behaviour, credentials: Credentials | None = None, code_length: int = 4
) -> tuple[CallOutcome, Request]:
    async with RawProvider(*script) as provider, Mobilgroup(provider.url, credentials or HeaderKey(KEY)) as client:
        outcome = await client.place(PHONE, code_length)
        [request] = provider.requests
        return outcome, request


# ---- the request


async def test_the_request_is_as_documented_and_says_no_more_than_needed() -> None:
    async with RawProvider(answer(OK)) as provider, Mobilgroup(f"{provider.url}?a=b%20c", HeaderKey(KEY)) as client:
        assert await client.place(PHONE, 4) == PLACED
        [request] = provider.requests
        assert request.line == "POST /api/call-password/send/?a=b%20c HTTP/1.1"
        assert request.json == {"number": "79161234567", "capacity": "4"}
        assert request.headers == {
            "host": f"127.0.0.1:{provider.port}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
            "content-type": "application/json",
            "user-agent": "lastdigits",
            "authorization": KEY,
            "content-length": str(len(request.body)),
        }


@pytest.mark.parametrize(
    ("credentials", "security"),
    [(BodyKey(KEY), {"apiKey": KEY}), (Login("user", "pass-wörd"), {"login": "user", "password": "pass-wörd"})],
)
async def test_credentials_in_the_body_leave_no_header(credentials: Credentials, security: dict[str, str]) -> None:
    _, request = await place(answer(OK), credentials=credentials)
    assert request.json["security"] == security
    assert "authorization" not in request.headers


@pytest.mark.parametrize("code_length", [5, 6])
async def test_the_capacity_is_a_string(code_length: int) -> None:
    _, request = await place(answer(OK), code_length=code_length)
    assert request.json["capacity"] == str(code_length)


async def test_no_cookie_of_the_providers_is_sent_back() -> None:
    behaviour = answer(OK, 200, "Set-Cookie: session=1; Path=/")
    async with RawProvider(behaviour) as provider, Mobilgroup(provider.url, HeaderKey(KEY)) as client:
        assert [await client.place(PHONE, 4) for _ in range(2)] == [PLACED, PLACED]
        assert [request.headers.get("cookie") for request in provider.requests] == [None, None]


async def test_no_url_and_no_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await place(answer(OK))
    assert not [record for record in caplog.records if record.name.startswith("http")]


BAD_URLS = [
    "",
    "/send",
    "hidden:80/send",
    "ftp://hidden/",
    "https://",
    "https:///hidden",
    "https://user:hidden@voice.example/",
]
BAD_URLS += ["https://voice.example:hidden/", "https://voice.example:99999/hidden", "https://voice.example:0/hidden"]
BAD_URLS += [
    "https://[::1/hidden",
    "https://hidden host/",
    "https://hidden\x01/",
    "https://voice.example/a\r\nhidden",
    "https://hidden..ё/",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_invalid_url_is_refused_at_once_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="provider's URL") as error:
        Mobilgroup(url, HeaderKey(KEY))
    assert "hidden" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["https://voice.example", "HTTPS://Voice.Example:8443/A?b=c", "http://[::1]:80/", "https://пример.рф/"]
)
def test_a_valid_url_is_accepted_and_no_repr_shows_the_key(url: str) -> None:
    assert KEY not in repr(Mobilgroup(url, HeaderKey(KEY)))


# ---- where a response ends

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
BODY = json.dumps(OK).encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"14\r\n%s\r\n%x;note=1\r\n%s\r\n0\r\nX-Trailer: a\r\n\r\n" % (BODY[:20], len(BODY) - 20, BODY[20:])
WHOLE = {
    "with a length": send(whole(OK), keep=True),
    "in chunks": send(CHUNKED + CHUNKS, keep=True),
    "to the connection's end": send(b"HTTP/1.0 200 OK\r\n\r\n" + BODY),
    "after interim answers": send(HINTS * 3 + whole(OK), keep=True),
    "byte by byte": send(*(bytes([byte]) for byte in CHUNKED + CHUNKS), keep=True),
    "with more behind it": send(whole(OK) + whole(OK | {"code": "6666"}) + b"0000", keep=True),
    "as HTML": answer(OK, 200, "Content-Type: text/html"),
}


@pytest.mark.parametrize("behaviour", WHOLE.values(), ids=WHOLE)
async def test_a_whole_answer_is_read(behaviour: Behaviour) -> None:
    outcome, _ = await place(behaviour)
    assert outcome == PLACED


BROKEN = {
    "nothing": send(b""),
    "no HTTP": send(b"0427 nonsense\r\n\r\n"),
    "a head cut short": send(whole(OK)[:20]),
    "an endless head": send(b"HTTP/1.1 200 OK\r\nX-Long: " + b"0427" * 40_000),
    "a bad length": send(b"HTTP/1.1 200 OK\r\nContent-Length: x0427\r\n\r\n"),
    "a body cut short": send(whole(BODY[:-9], length=len(BODY))),
    "a body cut short that is JSON": send(whole(OK, length=len(BODY) + 1)),
    "a bad chunk": send(CHUNKED + b"zz0427\r\n"),
    "chunks cut short": send((CHUNKED + CHUNKS)[:-4]),
    "a change of protocol": send(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n0427"),
    "compressed": answer(gzip.compress(BODY), 200, "Content-Encoding: gzip"),
    "a compressed flood": answer(gzip.compress(b"0" * (200 * MAX_BYTES)), 200, "Content-Encoding: gzip"),
    "a flood": flood(b"HTTP/1.1 200 OK\r\n\r\n"),
    "an announced flood": flood(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"),
    "a body over the bound": answer(b" " * MAX_BYTES + BODY),
}


@pytest.mark.parametrize("behaviour", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_not_whole_is_unknown_and_quotes_nothing_of_it(behaviour: Behaviour) -> None:
    async with asyncio.timeout(5):
        outcome, _ = await place(behaviour)
    assert isinstance(outcome, Unknown)
    assert "0427" not in outcome.detail


async def test_the_bound_counts_the_body_and_not_its_status() -> None:
    outcome, _ = await place(answer(b" " * 2 * MAX_BYTES, 403))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.CREDENTIALS


async def test_a_redirect_is_not_followed() -> None:
    async with RawProvider(answer(OK)) as elsewhere:
        outcome, _ = await place(answer(b"", 307, f"Location: {elsewhere.url}"))
        assert isinstance(outcome, Refused)
        assert elsewhere.connections == 0


# ---- was the request sent?

PERHAPS_SENT = {
    *(
        "CloseError",
        "CookieConflict",
        "DecodingError",
        "HTTPError",
        "HTTPStatusError",
        "InvalidURL",
        "LocalProtocolError",
    ),
    *(
        "NetworkError",
        "ProtocolError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",
        "RequestError",
        "RequestNotRead",
    ),
    *(
        "ResponseNotRead",
        "SSEError",
        "StreamClosed",
        "StreamConsumed",
        "StreamError",
        "TimeoutException",
        "TooManyRedirects",
    ),
    *("TransportError", "UnsupportedProtocol", "WriteError", "WriteTimeout"),
}
"""Some of these come only before a request is sent, but nothing is gained by relying on that."""


def test_every_exception_of_httpx2_is_classified() -> None:
    public = {
        name: kind for name, kind in vars(httpx2).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    never_sent = {kind.__name__ for kind in NEVER_SENT}
    assert never_sent == {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
    assert public.keys() == never_sent | PERHAPS_SENT, (
        "decide by its source whether the new one can come after the first byte"
    )
    assert {name for name, kind in public.items() if classify(kind.__new__(kind)) is not None} == never_sent


class LaterError(httpx2.ConnectError):
    """As a later release may add it."""


@pytest.mark.parametrize(
    "error", [LaterError("x"), OSError(), TimeoutError(), ConnectionRefusedError(), RuntimeError()], ids=repr
)
def test_what_is_not_classified_may_have_been_sent(error: Exception) -> None:
    assert classify(error) is None


def test_a_call_is_bounded_by_its_times_together() -> None:
    assert Limits(connect_timeout=2, read_timeout=10, pool_timeout=3).call_timeout == 17
