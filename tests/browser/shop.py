"""A shop's pages that hold the widget: on an origin of their own, with a strict Content-Security-Policy and Trusted Types."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from app.api.clients import Kind, clients_entry, new_key
from tests.consumers.loopback import listening
from tests.harness import CLIENTS, Service, Simulator, clients_toml, serving

PAGE = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Shop</title><link rel="icon" href="data:,">
<script type="module" crossorigin src="{service}/widget/phone-verify.js"></script>
</head>
<body><main><h1>Shop</h1><form id="order" action="/order" method="get">{widgets}<button id="buy">Buy</button></form></main></body>
</html>"""

POLICY = (
    "default-src 'none'; script-src {service}; connect-src {service}; img-src data:; form-action 'self'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types {trusted}; worker-src {worker}"
)


@dataclass
class Shop:
    """The shop's pages, by their path, and the service behind them."""

    service: Service
    simulator: Simulator
    key: str
    url: str
    pages: dict[str, tuple[str, str]] = field(default_factory=dict)

    def write(self, lang: str = "en", *, attributes: str = "", count: int = 1, workers: bool = True) -> str:
        """Make a page with so many widgets; returns its address."""
        widget = f'<phone-verify client-key="{self.key}" name="phone_token" {attributes}></phone-verify>'
        html = PAGE.format(lang=lang, service=self.service.url, widgets=widget * count)
        worker, trusted = ("blob:", "lastdigits") if workers else ("'none'", "'none'")
        path = f"/{len(self.pages)}"
        self.pages[path] = (html, POLICY.format(service=self.service.url, worker=worker, trusted=trusted))
        return self.url + path

    def code(self, phone: str) -> str:
        return self.simulator.code(phone)


@contextmanager
def shop_at(directory: Path, simulator: Simulator, **settings: str) -> Iterator[Shop]:
    """Run the shop, and a service that knows its key.

    Args:
        directory: where the service's files are.
        simulator: who "calls".
        settings: of the service, without their prefix.
    """
    pages: dict[str, tuple[str, str]] = {}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            html, policy = pages.get(urlsplit(self.path).path, ("<!doctype html><title>order</title>", ""))
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            if policy:
                self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    with listening(Pages) as address:
        url = address.replace("127.0.0.1", "localhost")
        keys, key = {name: new_key(member["kind"]) for name, member in CLIENTS.items()}, new_key(Kind.PUBLIC)
        entry = clients_entry("shop-web", Kind.PUBLIC, key, (url,), audience="backend")
        (directory / "page.toml").write_text(f"{clients_toml(keys)}\n{entry}")
        settings = {"CLIENTS_FILE": str(directory / "page.toml"), "CALLS_PER_IP": "10000/hour"} | settings
        with serving(directory, simulator.send_url, keys, **settings) as service:
            yield Shop(service, simulator, key, url, pages)
