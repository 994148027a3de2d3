"""The sandbox's demo page: what a newcomer sees, and what they can make go wrong."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.accessibility import violations
from tests.browser.sandbox import Sandbox, sandbox_at
from tests.browser.shop import Visit
from tests.harness import fresh_phone

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox_at(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


def _open(page: Page, sandbox: Sandbox) -> Visit:
    visit = Visit.of(page, sandbox.url)
    page.locator("phone-verify[client-key]").wait_for()
    return visit


@pytest.fixture
def visit(page: Page, sandbox: Sandbox) -> Iterator[Visit]:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit = _open(page, sandbox)
    yield visit
    assert visit.errors == []
    assert {url for url in asked if not url.startswith((sandbox.url, "data:"))} == set()


def _choose(visit: Visit, scenario: str) -> None:
    with visit.page.expect_response("**/demo/scenario"):
        visit.page.locator(f"[data-scenario={scenario}]").click()


def test_the_drawn_phone_rings_with_the_digits_that_verify(visit: Visit, sandbox: Sandbox) -> None:
    phone = visit.start()
    visit.page.locator("#phone[data-state=ringing]").wait_for(timeout=5000)
    shown = visit.page.locator("#call-from b").text_content() or ""
    assert shown.replace("-", "") == sandbox.code(phone)
    visit.type_code(shown.replace("-", ""))
    visit.step("approved")
    rows = visit.page.locator("#requests summary")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("approved")
    expect(rows.last).to_contain_text("POST /verify/start")
    expect(visit.page.locator("#budgets meter").first).to_be_visible()
    expect(visit.page.locator("#bounds")).to_contain_text("0.1 %")
    expect(visit.page.locator("#missed li")).to_have_count(1)


def test_the_number_that_is_copied_from_the_phone_is_found_in_the_field(chromium: Browser, sandbox: Sandbox) -> None:
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    visit = _open(context.new_page(), sandbox)
    visit.start()
    visit.page.locator("#missed button").wait_for(state="attached", timeout=5000)
    visit.page.locator("#phone[data-state=idle]").wait_for(timeout=10_000)
    visit.page.locator("#missed button").click()
    visit.find("#code").focus()
    visit.page.keyboard.press("Control+V")
    visit.step("approved")
    assert visit.errors == []
    context.close()


@pytest.mark.parametrize(("scenario", "code"), [("busy", "call_not_placed"), ("timeout", "call_unknown")])
def test_a_refused_call_shows_everywhere(visit: Visit, sandbox: Sandbox, scenario: str, code: str) -> None:
    _choose(visit, scenario)
    phone = fresh_phone()
    visit.enter(phone)
    visit.find("#phone").press("Enter")
    visit.find("#phoneError").wait_for(timeout=20_000)
    expect(visit.page.locator("#missed .refused")).to_contain_text(code)
    expect(visit.page.locator("#requests summary").first).to_contain_text(code)
    _choose(visit, "fine")
    visit.start()


def test_a_slow_provider_still_calls(visit: Visit) -> None:
    _choose(visit, "slow")
    visit.enter(fresh_phone())
    visit.find("#phone").press("Enter")
    expect(visit.find(".call .note").first).to_have_text("The connection is slow. Please wait.", timeout=6000)
    visit.find(".card[data-step=code]").wait_for(timeout=10_000)
    _choose(visit, "fine")


def test_wrong_digits_and_none_left(visit: Visit) -> None:
    page = visit.page
    page.locator("[data-scenario=wrong]").click()
    expect(page.locator("#scenario-hint")).to_have_text("Start a verification first.")
    visit.start()
    page.locator("[data-scenario=wrong]").click()
    expect(visit.find("#codeError")).to_contain_text("2 attempts left")
    page.locator("[data-scenario=locked]").click()
    visit.step("ended")
    expect(visit.find("#endedError")).to_contain_text("No attempts left")


def test_a_cap_refuses_the_second_call(visit: Visit, sandbox: Sandbox) -> None:
    _choose(visit, "capped")
    expect(visit.page.locator("#scenario-hint")).to_contain_text("refused")
    phone = fresh_phone()
    visit.enter(phone)
    visit.find("#phone").press("Enter")
    expect(visit.find("#phoneError")).to_contain_text("not available now")
    expect(visit.page.locator("#missed .refused").first).to_contain_text("spend_cap")
    assert sandbox.count(phone) == 0
    _choose(visit, "fine")
    visit.start()


def test_a_first_call_that_comes_late_still_counts(visit: Visit, sandbox: Sandbox) -> None:
    _choose(visit, "late")
    phone = visit.start()
    visit.page.wait_for_timeout(1500)
    expect(visit.page.locator("#missed li")).to_have_count(0)
    first = sandbox.code(phone)
    visit.find("button.link").get_by_text("Call again", exact=True).click(timeout=40_000)
    expect(visit.page.locator("#missed li")).to_have_count(2, timeout=15_000)
    assert visit.page.locator("#missed b").first.inner_text().replace("-", "") == first
    visit.type_code(first)
    visit.step("approved")


def test_a_challenge_says_how_to_switch_it_on(visit: Visit) -> None:
    _choose(visit, "challenge")
    expect(visit.page.locator("#scenario-hint")).to_contain_text("LASTDIGITS_CHALLENGE=always")


def test_the_lines_to_paste_have_the_real_key_and_hash(visit: Visit, sandbox: Sandbox) -> None:
    page = visit.page
    context = httpx_get(sandbox, "/demo/context")
    expect(page.locator("#snippet")).to_contain_text(context["public_key"])
    expect(page.locator("#snippet")).to_contain_text(context["integrity"])
    for name, has in (("React", "onverified"), ("Vue", "@verified"), ("curl", "Bearer pk_")):
        page.get_by_role("tab", name=name).click()
        expect(page.locator("#snippet")).to_contain_text(has)
    page.get_by_role("tab", name="curl").press("ArrowRight")
    expect(page.get_by_role("tab", name="HTML")).to_be_focused()
    assert "sk_" not in page.content()


def httpx_get(sandbox: Sandbox, path: str) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.simulator.get(sandbox.url + path).json()
    return found


def test_the_pasted_page_works_as_it_stands(page: Page, sandbox: Sandbox) -> None:
    visit = _open(page, sandbox)
    lines = page.locator("#snippet").inner_text()
    page.route(
        "**/mine",
        lambda route: route.fulfill(body=f"<!doctype html><title>mine</title>{lines}", content_type="text/html"),
    )
    mine = Visit.of(page, f"{sandbox.url}/mine")
    phone = mine.start()
    mine.type_code(sandbox.code(phone))
    mine.step("approved")
    assert visit.errors == []


@pytest.mark.parametrize(
    ("language", "tab", "title"), [("en-US", "Link", "Back with a token"), ("ru-RU", "Ссылка", "Вернулись с токеном")]
)
def test_the_hosted_page_comes_back_to_the_demo(
    chromium: Browser, sandbox: Sandbox, tools: Path, language: str, tab: str, title: str
) -> None:
    context = chromium.new_context(locale=language)
    visit = _open(context.new_page(), sandbox)
    page = visit.page
    page.get_by_role("tab", name=tab).click()
    expect(page.locator("#snippet")).to_contain_text("/verify?client_key=pk_")
    page.locator("#hosted").click()
    page.wait_for_url("**/verify?*")
    expect(page.locator("html")).to_have_attribute("lang", language[:2])
    phone = visit.start()
    visit.type_code(sandbox.code(phone))
    page.wait_for_url("**/demo/returned")
    expect(page.locator("h1")).to_have_text(title)
    expect(page.locator("#fields")).to_contain_text('"state": "order-17"')
    expect(page.locator("#redeemed")).to_contain_text(f'"phone": "{phone}"')
    expect(page.locator("#redeemed")).to_contain_text('"test": true')
    assert violations(page, tools) == []
    assert visit.errors == []
    context.close()


def test_going_back_without_a_token_is_shown_as_such(page: Page, sandbox: Sandbox) -> None:
    visit = _open(page, sandbox)
    page.get_by_role("tab", name="Link").click()
    page.locator("#hosted").click()
    page.get_by_role("button", name="Cancel and go back").click()
    expect(page.locator("h1")).to_have_text("Back without a token")
    expect(page.locator("#redeemed")).to_be_hidden()
    assert visit.errors == []


@pytest.mark.parametrize(
    ("language", "scheme", "width"), [("ru-RU", "light", 320), ("en-US", "dark", 1280), ("ru-RU", "dark", 768)]
)
def test_it_is_for_everybody(
    chromium: Browser, sandbox: Sandbox, tools: Path, language: str, scheme: Any, width: int
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, locale=language)
    visit = _open(context.new_page(), sandbox)
    title = "Код — это сам звонок" if language == "ru-RU" else "The call is the code"
    expect(visit.page.locator("h1")).to_have_text(title)
    assert violations(visit.page, tools) == []
    visit.start()
    visit.page.locator("#phone[data-state=ringing]").wait_for(timeout=5000)
    assert violations(visit.page, tools) == []
    visit.page.locator("#phone[data-state=idle]").wait_for(timeout=10_000)
    visit.page.locator("#requests summary").first.click()
    assert violations(visit.page, tools) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    other = "en" if language == "ru-RU" else "ru"
    visit.page.locator(f"[data-language={other}]").click()
    expect(visit.page.locator("html")).to_have_attribute("lang", other)
    expect(visit.find("#callHint")).to_contain_text("called" if other == "en" else "звонили")
    assert visit.errors == []
    context.close()


def test_the_documentation_shows_the_routes(page: Page, sandbox: Sandbox) -> None:
    errors: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{sandbox.url}/docs")
    expect(page.locator(".opblock-summary-path", has_text=re.compile("start")).first).to_be_visible(timeout=10_000)
    assert errors == []
    assert {url for url in asked if not url.startswith((sandbox.url, "data:"))} == set()
