"""A page of another origin in Chromium: it verifies a phone by itself if its client names it, and reads nothing if not."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.shop import serving_a_page
from tests.harness import Service, Simulator, fresh_phone

pytestmark = pytest.mark.browser


class _EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>shop</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def origins() -> Iterator[tuple[str, str]]:
    """Two origins on this machine: of the shop, and of somebody else."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{servers[0].server_port}", f"http://localhost:{servers[1].server_port}"
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, origins: tuple[str, str]
) -> Iterator[tuple[Service, str]]:
    """The service, and the page's key."""
    with serving_a_page(tmp_path_factory.mktemp("shop"), simulator, origins[0]) as running:
        yield running


ASK = """async ([url, key, body, idempotencyKey]) => {
  const headers = {'Authorization': `Bearer ${key}`, 'Content-Type': 'application/json', 'X-Request-Id': 'from-a-page'};
  if (idempotencyKey) headers['Idempotency-Key'] = idempotencyKey;
  try {
    const answer = await fetch(url, {method: 'POST', headers, body: JSON.stringify(body)});
    const read = Object.fromEntries(['x-request-id', 'retry-after', 'idempotency-replayed'].map(name => [name, answer.headers.get(name)]));
    return {status: answer.status, body: await answer.json(), headers: read};
  } catch (fault) {
    return {fault: String(fault)};
  }
}"""


def _ask(page: Page, service: Service, key: str, path: str, body: dict[str, str], once: str = "") -> dict[str, Any]:
    told: dict[str, Any] = page.evaluate(ASK, [service.url + path, key, body, once])
    return told


def test_a_page_of_a_named_origin_verifies_a_phone(
    page: Page, shop: tuple[Service, str], origins: tuple[str, str], simulator: Simulator
) -> None:
    service, key = shop
    phone = fresh_phone()
    page.goto(origins[0])
    once = page.evaluate("() => crypto.randomUUID()")
    started, again = (_ask(page, service, key, "/verify/start", {"phone": phone}, once) for _ in range(2))
    assert (started["status"], started["headers"]["x-request-id"]) == (201, "from-a-page")
    assert again["body"] == started["body"]
    assert again["headers"]["idempotency-replayed"] == "true"
    verification = started["body"]["id"]
    early = _ask(page, service, key, "/verify/resend", {"id": verification})
    assert (early["status"], early["body"]["limit"]) == (429, "resend_cooldown")
    assert int(early["headers"]["retry-after"]) == early["body"]["retry_after"]
    approved = _ask(page, service, key, "/verify/check", {"id": verification, "code": simulator.code(phone)})
    assert approved["status"] == 200
    redeemed = service.post("/verify/redeem", {"token": approved["body"]["token"]})
    assert (redeemed.status_code, redeemed.json()["phone"]) == (200, phone)
    assert simulator.count(phone) == 1


def test_a_page_of_another_origin_reads_nothing_and_calls_no_one(
    page: Page, shop: tuple[Service, str], origins: tuple[str, str], simulator: Simulator
) -> None:
    service, key = shop
    phone = fresh_phone()
    page.goto(origins[1])
    for bearer in (key, service.keys["app"], service.keys["backend"]):
        assert "Failed to fetch" in _ask(page, service, bearer, "/verify/start", {"phone": phone})["fault"]
    assert simulator.count(phone) == 0


def test_a_page_reaches_no_route_of_backends(page: Page, shop: tuple[Service, str], origins: tuple[str, str]) -> None:
    service, _ = shop
    page.goto(origins[0])
    for path in ("/verify/redeem", "/verify/vrf_x/cancel"):
        assert "Failed to fetch" in _ask(page, service, service.keys["backend"], path, {"token": "x"})["fault"]
