"""HTTP servers of the tests' own on the loopback; one of them loses answers of the service, so that its client never learns them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

import httpx

from tests.harness import Service

Respond: TypeAlias = Callable[[str, dict[str, str], bytes], tuple[int, bytes] | None]
"""Answers a path, headers and a body by a status and JSON; None closes the connection."""


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve by this handler until the block ends; yields the server's URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def answering(respond: Respond) -> Iterator[str]:
    """Answer requests until the block ends; yields the server's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class calls it so
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            answer = respond(self.path, dict(self.headers.items()), body)
            self.close_connection = True
            if answer:
                self.send_response(answer[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_arguments: object) -> None:
            """Tests are quiet."""

    with listening(Handler) as url:
        yield url


@dataclass
class LossyProxy:
    """Passes requests on to the service, and closes the connection instead of the first answer."""

    url: str = ""
    keys: list[str | None] = field(default_factory=list)


@contextmanager
def losing(service: Service) -> Iterator[LossyProxy]:
    proxy = LossyProxy()

    def respond(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        proxy.keys.append(headers.get("Idempotency-Key"))
        passed = {name: value for name, value in headers.items() if name not in {"Host", "Content-Length"}}
        answer = httpx.post(service.url + path, content=body, headers=passed, timeout=30)
        return (answer.status_code, answer.content) if len(proxy.keys) > 1 else None

    with answering(respond) as proxy.url:
        yield proxy
