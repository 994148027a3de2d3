"""What goes over the wire, byte by byte: whole answers, in order, however requests come."""

import asyncio
import json
import socket
from typing import Any

from app.api.one_write import _Gathering, _Outbox
from tests.harness import Service

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def _connected(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.http.base_url.port or 80), 5)


def _answer(stream: Any) -> tuple[int, dict[str, str], bytes]:
    """Read one answer off a stream: status, headers, body."""
    status = int(stream.readline().split()[1])
    headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def test_requests_in_one_packet_are_answered_each_and_in_order(service: Service) -> None:
    with _connected(service) as connection, connection.makefile("rb") as stream:
        connection.sendall(GET + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        assert [_answer(stream)[0] for _ in range(3)] == [200, 404, 200]


def test_whoever_asks_first_whether_to_send_is_told_so_first(service: Service) -> None:
    body = b"{}"
    head = b"POST /verify/check HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
    key = f"Authorization: Bearer {service.keys['backend']}\r\nContent-Type: application/json\r\n\r\n".encode()
    with _connected(service) as connection, connection.makefile("rb") as stream:
        connection.sendall(head + key)
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert stream.readline() == b"\r\n"
        connection.sendall(body)
        assert json.loads(_answer(stream)[2])["code"] == "invalid_request"


def test_a_connection_that_is_to_close_closes_after_its_whole_answer(service: Service) -> None:
    with _connected(service) as connection, connection.makefile("rb") as stream:
        connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        status, headers, body = _answer(stream)
        assert (status, headers["connection"], json.loads(body)["status"]) == (200, "close", "ok")
        assert stream.read() == b""


def test_a_long_answer_comes_whole(service: Service) -> None:
    with _connected(service) as connection, connection.makefile("rb") as stream:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        assert json.loads(_answer(stream)[2])["openapi"].startswith("3.1")
        assert _answer(stream)[0] == 200


class _Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def test_head_and_body_are_one_write_and_wait_for_the_end_of_the_turn() -> None:
    outbox = _Outbox(asyncio.get_running_loop())
    transports: list[Any] = [_Transport() for _ in range(3)]
    first, second, gone = (_Gathering(transport, outbox) for transport in transports)
    for gathering in (first, second, gone):
        gathering.write(b"HTTP/1.1 200 OK\r\n\r\n")
        gathering.write(b"body")
    first.write(b"HTTP/1. is how this piece of the same body begins")
    transports[2].closed = True  # the caller has gone meanwhile
    assert not any(transport.written for transport in transports)
    await asyncio.sleep(0)
    assert transports[0].written == [
        b"HTTP/1.1 200 OK\r\n\r\nbody",
        b"HTTP/1. is how this piece of the same body begins",
    ]
    assert transports[1].written == [b"HTTP/1.1 200 OK\r\n\r\nbody"]
    assert transports[2].written == []


async def test_what_is_held_is_sent_before_the_end() -> None:
    transport: Any = _Transport()
    gathering = _Gathering(transport, _Outbox(asyncio.get_running_loop()))
    gathering.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    gathering.close()
    assert transport.written == [b"HTTP/1.1 204 No Content\r\n\r\n"]
    assert transport.closed
