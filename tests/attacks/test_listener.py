"""The listener itself, without a proxy in front: no head, no silence and no HEAD holds it. ATTACKS.md, "The listener itself"."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.exposition import scrape, series
from tests.harness import Service, Simulator, serving

SILENT = 2400
HEAD_TIMEOUT = 10
HALF_A_HEAD = b"POST /verify/check HTTP/1.1\r\nHost: x\r\nX-Filler: "
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """A service that strangers reach themselves, with one worker: what one connection does to it, all others see."""
    with serving(tmp_path_factory.mktemp("listener"), simulator.send_url, WORKERS="1") as service:
        yield service


def _connect(service: Service, source: str = "127.0.0.1") -> socket.socket:
    url = httpx.URL(service.url)
    connection = socket.create_connection((url.host, url.port), timeout=15, source_address=(source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    pieces = []
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def _get(connection: socket.socket, request: bytes = GET) -> bytes:
    """Send a request on a connection that stays open, and read its whole answer."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head


def _send(connection: socket.socket, data: bytes, pieces: int = 1) -> None:
    with suppress(ConnectionError):  # who is refused may still be sending
        for at in range(0, len(data), -(-len(data) // pieces)):
            connection.sendall(data[at : at + -(-len(data) // pieces)])


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _resident(service: Service) -> int:
    """KiB that the service's process has in memory."""
    status = Path(f"/proc/{service.process.pid}/status").read_text("utf-8")
    return int(status.split("VmRSS:")[1].split()[0])


def _post(key: str) -> bytes:
    """The head of a check whose body has 100 bytes."""
    return (
        b"POST /verify/check HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        % key.encode()
    )


def _refused_heads(service: Service) -> float:
    labels = {"route": "other", "method": "other", "status": "431", "code": "head_too_large"}
    return scrape(service.url)[series("lastdigits_http_requests_total", **labels)]


# ---- heads that are too large


@pytest.mark.parametrize("pieces", [1, 3, 40])
@pytest.mark.parametrize(
    "head",
    [
        HALF_A_HEAD + b"x" * 33_000 + b"\r\n\r\n",
        HALF_A_HEAD + b"x" * 200_000,
        b"GET /" + b"x" * 33_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%05d: y\r\n" % nth for nth in range(4000)) + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"X" * 50_000,
    ],
    ids=["header", "endless header", "path", "many headers", "endless name"],
)
def test_a_head_over_32_kib_is_refused(service: Service, head: bytes, pieces: int) -> None:
    before = _refused_heads(service)
    with _connect(service) as connection:
        _send(connection, head, pieces)
        answer = _answer(connection)
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"), answer[:200]
    assert b'"code":"head_too_large"' in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert _refused_heads(service) == before + 1


def test_a_head_just_below_the_bound_is_read(service: Service) -> None:
    with _connect(service) as connection:
        _send(
            connection,
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Filler: " + b"x" * 32_000 + b"\r\n\r\n",
            7,
        )
        assert _answer(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_large_body_is_not_taken_for_a_large_head(service: Service) -> None:
    key = service.headers()["Authorization"].encode()
    head = b"POST /verify/start HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
    with _connect(service) as connection:
        _send(connection, head % key + b"x" * 60_000)
        assert _answer(connection).startswith(b"HTTP/1.1 413 ")


def test_the_next_request_on_a_connection_has_a_bound_of_its_own(service: Service) -> None:
    filled = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"x" * 20_000 + b"\r\n\r\n"
    with _connect(service) as connection:
        for _ in range(4):
            assert _get(connection, filled).startswith(b"HTTP/1.1 200 OK\r\n")
        _send(connection, filled[:-4] + b"x" * 20_000, 5)
        assert _answer(connection).startswith(b"HTTP/1.1 431 ")


def test_endless_heads_leave_memory_flat(service: Service) -> None:
    def flood(connections: int) -> None:
        with ExitStack() as stack:
            opened = [stack.enter_context(_connect(service)) for _ in range(connections)]
            for connection in opened:
                _send(connection, HALF_A_HEAD + b"x" * 1_000_000)
            for connection in opened:
                _answer(connection)  # returns, for the service has closed it

    flood(40)  # what the process takes for so many connections, it has after this
    before = _resident(service)
    for _ in range(3):
        flood(40)
    assert _resident(service) - before < 8 * 1024, (
        "120 connections with a million bytes each: over 100 MiB if they were kept"
    )


def test_what_is_not_http_is_refused_as_problem_details(service: Service) -> None:
    with _connect(service) as connection:
        _send(connection, b"\x16\x03\x01\x02\x00\x01 this is TLS\r\n\r\n")
        answer = _answer(connection)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code":"malformed_request"' in answer


# ---- heads that do not come


def test_what_does_not_come_within_ten_seconds_is_given_up(service: Service) -> None:
    """All kinds at once, since each takes ten seconds: nothing, half a head, a byte a second, half of a second request; a body, and one that no one needs.

    A connection that is between two requests is kept.
    """
    with ExitStack() as stack:
        silent, half, slow, second, kept, body, needless = (stack.enter_context(_connect(service)) for _ in range(7))
        begun = time.monotonic()
        body.sendall(_post(service.headers()["Authorization"]) + b'{"id":')
        needless.sendall(_post("Bearer sk_unknown") + b"{")
        assert _get(kept).startswith(b"HTTP/1.1 200 OK")
        half.sendall(HALF_A_HEAD)
        slow.sendall(HALF_A_HEAD)
        assert _get(second).startswith(b"HTTP/1.1 200 OK")
        second.sendall(HALF_A_HEAD)
        while time.monotonic() < begun + HEAD_TIMEOUT - 1:
            slow.sendall(b"x")
            body.sendall(b" ")
            time.sleep(1)
        assert not any(_is_closed(connection) for connection in (silent, half, second))
        for connection in (silent, half, slow, second):
            connection.settimeout(HEAD_TIMEOUT)
            _answer(connection)  # returns when it is closed; else it raises
        assert _answer(needless).startswith(b"HTTP/1.1 401 "), "answered at once"
        assert (answer := _answer(body)).startswith(b"HTTP/1.1 408 ")
        assert b'"code":"body_timeout"' in answer
        assert _get(kept).startswith(b"HTTP/1.1 200 OK")


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
                    assert _get(opened[-1], first).startswith(b"HTTP/1.1 200 OK")
            for source in ("127.0.0.1", "127.0.0.2"):
                # Sooner than the silent ones are given up.
                with httpx.Client(
                    transport=httpx.HTTPTransport(local_address=source), timeout=HEAD_TIMEOUT / 2
                ) as http:
                    assert http.get(f"{service.url}/healthz").status_code == 200
            held = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
            assert held < 300, "of one address only the newest 128 are held"
            assert sum(not _is_closed(connection) for connection in opened) <= 130
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_of_a_trusted_proxy_have_no_such_bound(tmp_path: Path, simulator: Simulator) -> None:
    with (
        serving(tmp_path, simulator.send_url, WORKERS="1", TRUSTED_PROXIES="127.0.0.1") as behind,
        ExitStack() as stack,
    ):
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
