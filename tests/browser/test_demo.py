"""The sandbox's demo page: what a newcomer sees, and what they can make go wrong."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.visit import Open, Visit
from tests.consumers.page import Sandbox

pytestmark = pytest.mark.browser


@pytest.fixture
def someone(visit: Open, sandbox: Sandbox) -> Iterator[Visit]:
    """A person on the demo page, which asks no other host."""
    someone = visit(sandbox.url)
    someone.page.locator("phone-verify[client-key]").wait_for()
    yield someone
    assert {url for url in someone.asked if not url.startswith((sandbox.url, "data:"))} == set()


def _choose(someone: Visit, scenario: str) -> None:
    with someone.page.expect_response("**/demo/scenario"):
        someone.page.locator(f"[data-scenario={scenario}]").click()


def test_the_drawn_phone_rings_with_the_digits_that_verify(someone: Visit, sandbox: Sandbox) -> None:
    phone, page = someone.start(), someone.page
    page.locator("#phone[data-state=ringing]").wait_for(timeout=5000)
    shown = page.locator("#call-from b").inner_text().replace("-", "")
    assert shown == sandbox.code(phone)
    someone.approve(shown)
    rows = page.locator("#requests summary")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("approved")
    expect(rows.last).to_contain_text("POST /verify/start")
    expect(page.locator("#budgets meter").first).to_be_visible()
    expect(page.locator("#bounds")).to_contain_text("0.1%")
    expect(page.locator("#missed li")).to_have_count(1)


def test_the_number_that_is_copied_from_the_phone_is_found_in_the_field(someone: Visit) -> None:
    page = someone.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    someone.start()
    page.locator("#missed button").wait_for(state="attached", timeout=5000)
    page.locator("#phone[data-state=idle]").wait_for(timeout=10_000)
    page.locator("#missed button").click()
    someone.find("#code").focus()
    page.keyboard.press("Control+V")
    someone.step("approved")


@pytest.mark.parametrize(("scenario", "code"), [("busy", "call_not_placed"), ("timeout", "call_unknown")])
def test_a_refused_call_shows_everywhere(someone: Visit, scenario: str, code: str) -> None:
    _choose(someone, scenario)
    someone.ask()
    someone.find("#phoneError").wait_for(timeout=20_000)
    expect(someone.page.locator("#missed .refused")).to_contain_text(code)
    expect(someone.page.locator("#requests summary").first).to_contain_text(code)
    _choose(someone, "fine")
    someone.start()


def test_a_slow_provider_still_calls(someone: Visit) -> None:
    _choose(someone, "slow")
    someone.ask()
    expect(someone.find(".call .note").first).to_have_text("The connection is slow. Please wait.", timeout=6000)
    someone.step("code")
    _choose(someone, "fine")


def test_wrong_digits_and_none_left(someone: Visit) -> None:
    page = someone.page
    page.locator("[data-scenario=wrong]").click()
    expect(page.locator("#scenario-hint")).to_have_text("Start a verification first.")
    someone.start()
    page.locator("[data-scenario=wrong]").click()
    expect(someone.find("#codeError")).to_contain_text("2 attempts left")
    page.locator("[data-scenario=locked]").click()
    someone.step("ended")
    expect(someone.find("#endedError")).to_contain_text("No attempts left")


def test_a_cap_refuses_the_second_call(someone: Visit, sandbox: Sandbox) -> None:
    _choose(someone, "capped")
    expect(someone.page.locator("#scenario-hint")).to_contain_text("refused")
    phone = someone.ask()
    expect(someone.find("#phoneError")).to_contain_text("not available now")
    expect(someone.page.locator("#missed .refused").first).to_contain_text("spend_cap")
    assert sandbox.calls(phone) == []
    _choose(someone, "fine")
    someone.start()


def test_a_first_call_that_comes_late_still_counts(someone: Visit, sandbox: Sandbox) -> None:
    _choose(someone, "late")
    first = sandbox.code(someone.start())
    someone.page.wait_for_timeout(1500)
    expect(someone.page.locator("#missed li")).to_have_count(0)
    someone.find("button.link").get_by_text("Call again", exact=True).click(timeout=40_000)
    expect(someone.page.locator("#missed li")).to_have_count(2, timeout=15_000)
    assert someone.page.locator("#missed b").first.inner_text().replace("-", "") == first
    someone.approve(first)


def test_a_challenge_says_how_to_switch_it_on(someone: Visit) -> None:
    _choose(someone, "challenge")
    expect(someone.page.locator("#scenario-hint")).to_contain_text("LASTDIGITS_CHALLENGE=always")


def test_the_lines_to_paste_have_the_real_key_and_hash_and_work_as_they_stand(someone: Visit, sandbox: Sandbox) -> None:
    page = someone.page
    snippet = page.locator("#snippet")
    lines = snippet.inner_text()
    assert sandbox.public_key in lines
    assert 'purpose="login"' in lines
    assert httpx.get(f"{sandbox.url}/demo/context").json()["integrity"] in lines
    for name, has in (("React", "onverified"), ("Vue", "@verified"), ("curl", "Bearer pk_")):
        page.get_by_role("tab", name=name).click()
        expect(snippet).to_contain_text(has)
        expect(snippet).to_contain_text("purpose")
    page.get_by_role("tab", name="curl").press("ArrowRight")
    expect(page.get_by_role("tab", name="HTML")).to_be_focused()
    assert "sk_" not in page.content()
    html = f"<!doctype html><title>mine</title>{lines}"
    page.route("**/mine", lambda route: route.fulfill(body=html, content_type="text/html"))
    someone.go(f"{sandbox.url}/mine")
    someone.approve(sandbox.code(someone.start()))


@pytest.mark.parametrize(
    ("language", "tab", "title"), [("en-US", "Link", "Back with a token"), ("ru-RU", "Ссылка", "Вернулись с токеном")]
)
def test_the_hosted_page_comes_back_to_the_demo(
    visit: Open, sandbox: Sandbox, tools: Path, language: str, tab: str, title: str
) -> None:
    someone = visit(sandbox.url, locale=language)
    page = someone.page
    page.get_by_role("tab", name=tab).click()
    expect(page.locator("#snippet")).to_contain_text("/verify?client_key=pk_")
    page.locator("#hosted").click()
    page.wait_for_url("**/verify?*")
    expect(page.locator("html")).to_have_attribute("lang", language[:2])
    phone = someone.start()
    someone.type_code(sandbox.code(phone))
    page.wait_for_url("**/demo/returned")
    expect(page.locator("h1")).to_have_text(title)
    expect(page.locator("#fields")).to_contain_text('"state": "order-17"')
    expect(page.locator("#redeemed")).to_contain_text(f'"phone": "{phone}"')
    expect(page.locator("#redeemed")).to_contain_text('"test": true')
    assert someone.violations(tools) == []


def test_going_back_without_a_token_is_shown_as_such(someone: Visit) -> None:
    page = someone.page
    page.get_by_role("tab", name="Link").click()
    page.locator("#hosted").click()
    page.get_by_role("button", name="Cancel and go back").click()
    expect(page.locator("h1")).to_have_text("Back without a token")
    expect(page.locator("#redeemed")).to_be_hidden()


@pytest.mark.parametrize(("language", "scheme", "width"), [("ru", "light", 320), ("en", "dark", 1280)])
def test_it_is_for_everybody(
    visit: Open, sandbox: Sandbox, tools: Path, language: str, scheme: Any, width: int
) -> None:
    someone = visit(sandbox.url, viewport={"width": width, "height": 800}, color_scheme=scheme, locale=language)
    page = someone.page
    page.locator("phone-verify[client-key]").wait_for()
    expect(page.locator("h1")).to_have_text({"ru": "Код — это сам звонок", "en": "The call is the code"}[language])
    assert someone.violations(tools) == []
    someone.start()
    page.locator("#phone[data-state=ringing]").wait_for(timeout=5000)
    assert someone.violations(tools) == []
    page.locator("#phone[data-state=idle]").wait_for(timeout=10_000)
    page.locator("#requests summary").first.click()
    assert someone.violations(tools) == []
    assert someone.fits()
    expect(page.locator("#bounds")).to_contain_text({"ru": "0,1\u00a0%", "en": "0.1%"}[language])
    other, hint = {"ru": ("en", "called"), "en": ("ru", "звонили")}[language]
    page.locator(f"[data-language={other}]").click()
    expect(page.locator("html")).to_have_attribute("lang", other)
    expect(someone.find("#callHint")).to_contain_text(hint)


def test_the_documentation_shows_the_routes(page: Page, sandbox: Sandbox) -> None:
    someone = Visit(page)
    page.goto(f"{sandbox.url}/docs")
    expect(page.locator(".opblock-summary-path", has_text=re.compile("start")).first).to_be_visible(timeout=10_000)
    assert someone.errors == []
    assert {url for url in someone.asked if not url.startswith((sandbox.url, "data:"))} == set()
