"""A page of another origin in Chromium: it verifies a phone by itself if its client names it, and reads nothing if not."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.shop import Shop
from tests.harness import fresh_phone

pytestmark = pytest.mark.browser

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


def _ask(page: Page, shop: Shop, key: str, path: str, body: dict[str, str], once: str = "") -> dict[str, Any]:
    told: dict[str, Any] = page.evaluate(ASK, [shop.service.url + path, key, body, once])
    return told


def test_a_page_of_a_named_origin_verifies_a_phone(page: Page, shop: Shop) -> None:
    phone = fresh_phone()
    page.goto(shop.url)
    once = page.evaluate("() => crypto.randomUUID()")
    started, again = (_ask(page, shop, shop.key, "/verify/start", {"phone": phone}, once) for _ in range(2))
    assert (started["status"], started["headers"]["x-request-id"]) == (201, "from-a-page")
    assert again["body"] == started["body"]
    assert again["headers"]["idempotency-replayed"] == "true"
    verification = started["body"]["id"]
    early = _ask(page, shop, shop.key, "/verify/resend", {"id": verification})
    assert (early["status"], early["body"]["limit"]) == (429, "resend_cooldown")
    assert int(early["headers"]["retry-after"]) == early["body"]["retry_after"]
    approved = _ask(page, shop, shop.key, "/verify/check", {"id": verification, "code": shop.code(phone)})
    assert approved["status"] == 200
    assert shop.simulator.count(phone) == 1


def test_a_page_of_another_origin_reads_nothing_and_calls_no_one(page: Page, shop: Shop) -> None:
    phone = fresh_phone()
    page.goto(shop.url.replace("localhost", "127.0.0.1"))
    for key in (shop.key, shop.service.keys["app"], shop.service.keys["backend"]):
        assert "Failed to fetch" in _ask(page, shop, key, "/verify/start", {"phone": phone})["fault"]
    assert shop.simulator.count(phone) == 0


def test_a_page_reaches_no_route_of_backends(page: Page, shop: Shop) -> None:
    page.goto(shop.url)
    for path in ("/verify/redeem", "/verify/vrf_x/cancel"):
        assert "Failed to fetch" in _ask(page, shop, shop.service.keys["backend"], path, {"token": "x"})["fault"]
