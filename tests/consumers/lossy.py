"""A proxy that loses answers of the service: the request was processed, and its client never learns it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import httpx

from tests.consumers.loopback import answering
from tests.harness import Service


@dataclass
class LossyProxy:
    """Passes requests on to the service, and closes the connection instead of the first `lost` answers."""

    url: str
    lost: int = 1
    keys: list[str | None] = field(default_factory=list)


@contextmanager
def losing(service: Service) -> Iterator[LossyProxy]:
    class Pass(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            passed = {name: self.headers[name] for name in ("Authorization", "Content-Type", "Idempotency-Key")}
            proxy.keys.append(passed["Idempotency-Key"])
            headers = {name: value for name, value in passed.items() if value}
            answer = httpx.post(service.url + self.path, content=body, headers=headers, timeout=30)
            self.close_connection = True
            if len(proxy.keys) <= proxy.lost:
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_arguments: object) -> None:
            """Tests are quiet."""

    with answering(Pass) as url:
        proxy = LossyProxy(url)
        yield proxy
