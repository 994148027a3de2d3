"""The listener itself, without a proxy in front: no head, no silence and no HEAD holds it. ATTACKS.md, "The listener itself"."""

import json
import resource
import socket
import time
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from app.api.listener import READ_TIMEOUT
from tests.exposition import scrape, series
from tests.harness import Service, Simulator, service_with, serving, until

SILENT = 2400
HEAD_TIMEOUT = 10
HALF_A_HEAD = b"POST /verify/check HTTP/1.1\r\nHost: x\r\nX-Filler: "
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
TOO_LARGE = series("lastdigits_http_requests_total", route="other", method="other", status="431", code="head_too_large")

# Strangers reach it themselves. It has one worker: what one connection does to it, all others see.
service = service_with(WORKERS="1")


def _connect(service: Service) -> socket.socket:
    url = httpx.URL(service.url)
    connection = socket.create_connection((url.host, url.port), timeout=15)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    pieces = []
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def _status(connection: socket.socket, request: bytes = GET) -> int:
    """Send a request on a connection that stays open, and read its whole answer."""
    connection.sendall(request)
    with HTTPResponse(connection) as answer:
        answer.begin()
        answer.read()
        return answer.status


def _send(connection: socket.socket, data: bytes, pieces: int = 1) -> bytes:
    """Send something in so many pieces, and return all that comes."""
    size = -(-len(data) // pieces)
    with suppress(ConnectionError):  # who is refused may still be sending
        for at in range(0, len(data), size):
            connection.sendall(data[at : at + size])
    return _answer(connection)


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _files(service: Service) -> list[Path]:
    """What the service has open."""
    return list(Path(f"/proc/{service.process.pid}/fd").iterdir())


def _post(authorization: str, length: int, operation: str = "check") -> bytes:
    """The head of a check, or another operation, whose body is so long."""
    head = f"POST /verify/{operation} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode()


# ---- heads that are too large

LARGE = {
    "header": HALF_A_HEAD + b"x" * 33_000 + b"\r\n\r\n",
    "endless header": HALF_A_HEAD + b"x" * 200_000,
    "path": b"GET /" + b"x" * 33_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"".join(b"X-%05d: y\r\n" % nth for nth in range(4000)) + b"\r\n",
    "endless name": b"GET / HTTP/1.1\r\n" + b"X" * 50_000,
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_head_over_32_kib_is_refused(service: Service, kind: str) -> None:
    for pieces in (1, 3, 40):
        before = scrape(service.url)[TOO_LARGE]
        with _connect(service) as connection:
            answer = _send(connection, LARGE[kind], pieces)
        assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"), answer[:200]
        assert b'"code":"head_too_large"' in answer
        assert b"connection: close" in answer.lower()
        assert answer.count(b"HTTP/1.1") == 1
        assert scrape(service.url)[TOO_LARGE] == before + 1


@pytest.mark.parametrize("trailers", [b"X-Filler: " + b"x" * 1_000_000, b"X: y\r\n" * 200_000], ids=["one", "many"])
def test_headers_behind_a_body_are_bounded_like_a_head(service: Service, trailers: bytes) -> None:
    head = _post(service.headers()["Authorization"], 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with _connect(service) as connection:
        answer = _send(connection, head + b"2\r\n{}\r\n0\r\n" + trailers)
    assert answer.startswith(b"HTTP/1.1 431 "), answer[:200]


def test_a_head_below_the_bound_is_read_and_each_request_has_a_bound_of_its_own(service: Service) -> None:
    def filled(filler: int) -> bytes:
        return GET[:-2] + b"X-Filler: " + b"x" * filler + b"\r\n\r\n"

    with _connect(service) as connection:
        assert [_status(connection, filled(size)) for size in (32_000, 20_000, 20_000)] == [200] * 3
        for _ in range(3):
            request = filled(20_000)
            connection.sendall(request[:15_000])
            time.sleep(0.05)  # it comes in pieces
            assert _status(connection, request[15_000:]) == 200
        assert _send(connection, filled(40_000), 5).startswith(b"HTTP/1.1 431 ")


def test_a_large_body_and_what_is_not_http_are_not_taken_for_a_large_head(service: Service) -> None:
    with _connect(service) as connection:
        body = _post(service.headers()["Authorization"], 60_000) + b"x" * 60_000
        assert _send(connection, body).startswith(b"HTTP/1.1 413 ")
    with _connect(service) as connection:
        answer = _send(connection, b"\x16\x03\x01\x02\x00\x01 this is TLS\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code":"malformed_request"' in answer


def test_endless_heads_leave_memory_flat(service: Service) -> None:
    def flood() -> None:
        with ExitStack() as stack:
            opened = [stack.enter_context(_connect(service)) for _ in range(40)]
            for connection in opened:
                with suppress(ConnectionError):
                    connection.sendall(HALF_A_HEAD + b"x" * 1_000_000)
            for connection in opened:
                _answer(connection)  # returns, for the service has closed it

    flood()  # what the process takes for so many connections, it has after this
    before = service.memory()
    for _ in range(3):
        flood()
    grown = service.memory() - before
    assert grown < 8, "120 connections with a million bytes each: over 100 MiB if they were kept"


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"


def test_an_offer_of_http_2_is_ignored(service: Service) -> None:
    """Java's HttpClient makes it with each request."""
    head, body = _post(service.headers()["Authorization"], 2), b"{}"
    with _connect(service) as connection:
        assert [_status(connection, GET[:-2] + OFFER) for _ in range(2)] == [200, 200]
        assert [_status(connection, head[:-2] + OFFER + body) for _ in range(2)] == [422, 422]
        assert _status(connection) == 200


@pytest.mark.parametrize("framing", [b"Content-Length: %d" % len(GET), b"Transfer-Encoding: chunked"])
def test_a_body_with_another_upgrade_is_refused_and_makes_no_other_request(service: Service, framing: bytes) -> None:
    """Behind a proxy, a body that counts as a request of its own would get another's answer."""
    head = _post("Bearer x", 0).replace(b"Content-Length: 0", framing)
    with _connect(service) as connection:
        answer = _send(connection, head[:-2] + OFFER.replace(b"h2c", b"websocket") + GET)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"without an Upgrade" in answer


# ---- heads that do not come


def test_what_does_not_come_within_ten_seconds_is_given_up(service: Service) -> None:
    """All kinds at once, since each takes ten seconds: nothing, half a head, a byte a second, half of a second request; a body, and one that no one needs.

    A connection that is between two requests is kept.
    """
    with ExitStack() as stack:
        silent, half, slow, second, kept, body, needless = (stack.enter_context(_connect(service)) for _ in range(7))
        begun = time.monotonic()
        body.sendall(_post(service.headers()["Authorization"], 100) + b'{"id":')
        needless.sendall(_post("Bearer sk_unknown", 100) + b"{")
        kept.sendall(_post(service.headers()["Authorization"], 2) + b"{")
        assert _status(second) == 200
        assert _status(kept, b"}") == 422, "its body came in time"
        for connection in (half, slow, second):
            connection.sendall(HALF_A_HEAD)
        while time.monotonic() < begun + HEAD_TIMEOUT - 1:
            slow.sendall(b"x")
            body.sendall(b" ")
            time.sleep(1)
        assert not any(_is_closed(connection) for connection in (silent, half, second))
        for connection in (silent, half, slow, second, body):
            connection.settimeout(HEAD_TIMEOUT / 2)  # the last byte of some came a second ago
        for connection in (silent, half, slow, second):
            _answer(connection)  # returns when it is closed; else it raises
        assert _answer(needless).startswith(b"HTTP/1.1 401 "), "answered at once"
        assert (answer := _answer(body)).startswith(b"HTTP/1.1 408 ")
        assert b'"code":"body_timeout"' in answer
        assert _status(kept) == 200


# ---- silent connections


@pytest.mark.parametrize("first", [b"", GET], ids=["silent from the start", "silent after one request"])
def test_many_silent_connections_of_one_address_keep_no_one_out(service: Service, first: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * SILENT), hard))
    try:
        with ExitStack() as stack:
            opened = []
            for _ in range(SILENT):
                opened.append(stack.enter_context(_connect(service)))
                if first:
                    assert _status(opened[-1], first) == 200
            for source in ("127.0.0.1", "127.0.0.2"):
                transport = httpx.HTTPTransport(local_address=source)
                with httpx.Client(
                    transport=transport, timeout=HEAD_TIMEOUT / 2
                ) as http:  # sooner than those are given up
                    assert http.get(f"{service.url}/healthz").status_code == 200
            assert len(_files(service)) < 300, "of one address only the newest 128 are held"
            assert sum(not _is_closed(connection) for connection in opened) <= 130
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_that_read_no_answer_are_closed(service: Service) -> None:
    idle = len(_files(service))
    with ExitStack() as stack:
        opened = [stack.enter_context(_connect(service)) for _ in range(20)]
        for connection in opened:
            connection.sendall(GET.replace(b"/healthz", b"/openapi.json") * 100)  # more than the kernel keeps
        until(lambda: len(_files(service)) >= idle + len(opened))
        until(lambda: len(_files(service)) <= idle, 3 * READ_TIMEOUT, "they are open as long as their peers like")


def test_a_connection_with_a_request_makes_no_room_for_silent_ones(
    service: Service, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=1)
    body = json.dumps({"phone": phone}).encode()
    with ExitStack() as stack:
        busy = stack.enter_context(_connect(service))
        busy.sendall(_post(service.headers()["Authorization"], len(body), "start") + body)
        until(lambda: simulator.count(phone) == 1)
        for _ in range(200):
            stack.enter_context(_connect(service))
        assert _status(busy, b"") == 201


def test_connections_of_a_trusted_proxy_have_no_such_bound(tmp_path: Path, simulator: Simulator) -> None:
    settings = {"WORKERS": "1", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(tmp_path, simulator.send_url, **settings) as behind, ExitStack() as stack:
        opened = [stack.enter_context(_connect(behind)) for _ in range(300)]
        assert httpx.get(f"{behind.url}/healthz").status_code == 200
        assert not any(_is_closed(connection) for connection in opened)


# ---- HEAD


def test_head_on_a_kept_connection_is_answered_at_once(service: Service) -> None:
    with _connect(service) as connection:
        connection.settimeout(2)
        for path in (b"/healthz", b"/readyz", b"/metrics", b"/.well-known/jwks.json", b"/nowhere"):
            connection.sendall(b"HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 404" if path == b"/nowhere" else b"HTTP/1.1 200"), path
            assert answer.endswith(b"\r\n\r\n"), "no body"
