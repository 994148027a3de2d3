"""The site that the hosted page returns to: another origin, which keeps what it was sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

_PAGE = b"<!doctype html><html lang=en><title>back</title><main><h1>back</h1></main>"


@dataclass
class Site:
    """Attributes:
    url: its origin.
    posted: what each POST brought: path, fields, headers.
    asked: the paths of all GETs of pages.
    moves_to: where a POST is answered to by a redirect; None: with a page.
    empty: a POST is answered with nothing to show (204).
    """

    url: str
    posted: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    moves_to: str | None = None
    empty: bool = False


class _Server(ThreadingHTTPServer):
    site: Site


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path != "/favicon.ico":
            self.server.site.asked.append(self.path)
        self._show(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.site.posted.append((self.path, fields, headers))
        self._show(204 if self.server.site.empty else 303 if self.server.site.moves_to else 200)

    def _show(self, status: int) -> None:
        self.send_response(status)
        if status == 303 and self.server.site.moves_to:
            self.send_header("Location", self.server.site.moves_to)
        self.send_header("Content-Type", "text/html")
        page = b"" if status == 204 else _PAGE
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site_at(host: str = "localhost") -> Iterator[Site]:
    """Run it."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.site = Site(f"http://{host}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
