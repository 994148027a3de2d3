"""A shop's page that holds the widget: on an origin of its own, with a strict Content-Security-Policy and Trusted Types."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, Response

from app.api.clients import Kind, clients_entry, new_key
from tests.harness import CLIENTS, Service, Simulator, clients_toml, fresh_phone, serving

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
    """The shop's pages and the service behind them."""

    service: Service
    simulator: Simulator
    key: str
    url: str
    server: ThreadingHTTPServer
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
    """Run the shop and its service.

    Args:
        directory: where the service's files are.
        simulator: who "calls".
        settings: of the service, without their prefix.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://localhost:{server.server_port}"
    try:
        with serving_a_page(directory, simulator, url, CALLS_PER_IP="10000/hour", **settings) as (service, key):
            shop = Shop(service, simulator, key, url, server)
            _Pages.of[server.server_port] = shop
            yield shop
    finally:
        server.shutdown()
        server.server_close()


class _Pages(BaseHTTPRequestHandler):
    of: dict[int, Shop] = {}  # noqa: RUF012  shared by the handlers of all shops, by port

    def do_GET(self) -> None:
        port = self.connection.getsockname()[1]
        html, policy = self.of[port].pages.get(urlsplit(self.path).path, ("<!doctype html><title>order</title>", ""))
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(html.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving_a_page(
    directory: Path, simulator: Simulator, origin: str, **settings: str
) -> Iterator[tuple[Service, str]]:
    """Run the service with one client more, the page of an origin; yields its key too."""
    keys, key = {name: new_key(member["kind"]) for name, member in CLIENTS.items()}, new_key(Kind.PUBLIC)
    entry = clients_entry("shop-web", Kind.PUBLIC, key, (origin,), audience="backend")
    (directory / "page.toml").write_text(f"{clients_toml(keys)}\n{entry}")
    settings["CLIENTS_FILE"] = str(directory / "page.toml")
    with serving(directory, simulator.send_url, keys, **settings) as service:
        yield service, key


@dataclass
class Visit:
    """A person on the page: what they see, and what went wrong behind it."""

    page: Page
    nth: int = 0
    errors: list[str] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)

    @classmethod
    def of(cls, page: Page, url: str, nth: int = 0) -> Self:
        visit = cls(page, nth)
        page.on("console", lambda message: visit._heard(message.type, message.text))
        page.on("pageerror", lambda error: visit.errors.append(str(error)))
        page.on("request", lambda request: visit._sent(request.method, request.url, request.post_data, request.headers))
        page.goto(url)
        visit.widget.locator(".card").wait_for()
        return visit

    # A refusal is not an error of the page: Chromium logs each 4xx.
    def _heard(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and "Failed to load resource" not in text:
            self.errors.append(text)

    def _sent(self, method: str, url: str, body: str | None, headers: dict[str, str]) -> None:
        if method == "POST" and headers.get("content-type") == "application/json":
            self.requests.append((urlsplit(url).path, json.loads(body or "{}"), headers))

    def sent(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body, _ in self.requests if asked == path]

    @property
    def widget(self) -> Locator:
        return self.page.locator("phone-verify").nth(self.nth)

    def find(self, selector: str, has_text: str | None = None) -> Locator:
        return self.widget.locator(selector, has_text=has_text)

    def step(self, name: str) -> None:
        """Wait for a step."""
        self.find(f".card[data-step={name}]").wait_for()

    def enter(self, phone: str) -> None:
        self.find("#phone").fill(phone)

    def start(self, phone: str | None = None) -> str:
        """Have a phone called; returns it."""
        phone = phone or fresh_phone()
        self.enter(phone)
        self.find("#phone").press("Enter")
        self.step("code")
        return phone

    def type_code(self, code: str) -> None:
        self.find("#code").press_sequentially(code)

    def paste(self, text: str) -> None:
        """Paste as a browser does: the field gets the event with the clipboard's text."""
        self.find("#code").evaluate(
            """(field, text) => {
                const data = new DataTransfer();
                data.setData("text", text);
                field.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
            }""",
            text,
        )

    def token(self) -> str:
        return str(self.widget.evaluate("element => element.value"))

    def lose_answers(self, path: str, times: int) -> None:
        """Let requests through, and lose their answers on the way back."""
        left = [times]

        def handle(route: Any) -> None:
            if left[0] == 0:
                route.continue_()
                return
            left[0] -= 1
            route.fetch()
            route.abort("connectionreset")

        self.page.route(f"**{path}", handle)


def is_answer(path: str) -> Any:
    def matches(response: Response) -> bool:
        return urlsplit(response.url).path == path and response.request.method == "POST"

    return matches
