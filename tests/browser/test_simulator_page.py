"""The simulator's page in Chromium: it shows the calls by itself, as text, and asks no other host for anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.harness import PROVIDER_KEY, running

pytestmark = pytest.mark.browser


@pytest.fixture
def own_simulator(tmp_path: Path) -> Iterator[str]:
    command = ["simulator", "--port", "0", "--api-key", PROVIDER_KEY]
    found = running(
        command, {}, tmp_path / "log", lambda text: text.partition("simulator on ")[2].split("\n")[0] or None
    )
    with found as (_, url):
        yield url


def _call(page: Page, url: str, number: str, capacity: str = "4") -> str:
    answer = page.request.post(
        f"{url}/api/call-password/send/",
        data={"number": number, "capacity": capacity},
        headers={"Authorization": PROVIDER_KEY},
    )
    return str(answer.json()["code"])


def test_it_shows_each_call_and_the_digits_by_itself(page: Page, own_simulator: str) -> None:
    problems: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(own_simulator)
    assert page.locator("#screen-title").inner_text() == "No call yet"
    assert page.locator("#empty").is_visible()

    code = _call(page, own_simulator, "79991234567", "6")
    page.locator("#from b", has_text=code).wait_for(timeout=5000)
    assert page.locator("#screen-title").inner_text() == "Incoming call"
    assert page.locator("#to").inner_text() == "to +7 999 123-45-67"
    assert page.locator("tbody tr").count() == 1
    assert not page.locator("#empty").is_visible()

    second = _call(page, own_simulator, "79991234568")
    page.locator("#from b", has_text=second).wait_for(timeout=5000)
    assert [row.split("\t")[1] for row in page.locator("tbody tr").all_inner_texts()] == [
        "+7 999 123-45-68",
        "+7 999 123-45-67",
    ]
    assert {url.split("?")[0] for url in asked} - {"data:,"} == {f"{own_simulator}/", f"{own_simulator}/calls"}
    assert problems == []


def test_what_it_receives_is_shown_as_text(page: Page, own_simulator: str) -> None:
    hostile = {
        "id": "1",
        "number": "<img src=x onerror=document.title=1>",
        "from": "<b id=evil>1234",
        "code": "1234",
        "at": "2026-11-23T07:00:00Z",
    }
    page.route("**/calls*", lambda route: route.fulfill(json={"count": 1, "calls": [hostile]}))
    page.goto(own_simulator)
    page.locator("#from b", has_text="1234").wait_for(timeout=5000)
    assert page.locator("#evil, main img").count() == 0
    assert "Simulator" in page.title()


def test_it_says_when_the_simulator_has_gone(page: Page, own_simulator: str) -> None:
    page.goto(own_simulator)
    page.route("**/calls*", lambda route: route.abort())
    page.locator("#offline").wait_for(state="visible", timeout=5000)


def test_it_fits_a_narrow_screen(page: Page, own_simulator: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(own_simulator)
    _call(page, own_simulator, "79991234567")
    page.locator("tbody tr").first.wait_for(timeout=5000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    _call(page, own_simulator, "491511234567890", "6")
    page.locator("td", has_text="+491 511 234 567 890").wait_for(timeout=5000)
    assert page.evaluate(
        "document.querySelector('.history').scrollWidth <= document.querySelector('.history').clientWidth"
    )


def test_it_rests_again_when_the_calls_are_forgotten(page: Page, own_simulator: str) -> None:
    page.goto(own_simulator)
    code = _call(page, own_simulator, "79991234567")
    page.locator("#from b", has_text=code).wait_for(timeout=5000)
    page.request.delete(f"{own_simulator}/calls")
    page.locator("#empty").wait_for(state="visible", timeout=5000)
    assert page.locator("#screen-title").inner_text() == "No call yet"
    assert page.locator("#from").inner_text() == ""


def test_a_page_that_outlives_the_simulator_shows_the_new_ones_calls(page: Page, own_simulator: str) -> None:
    call = {"id": "1001", "number": "79991234567", "code": "1111", "capacity": "4"}
    told = [{**call, "from": "74950001111", "at": "2026-01-01T00:00:00.000Z"}]
    page.route("**/calls*", lambda route: route.fulfill(json={"count": 1, "calls": told}))
    page.goto(own_simulator)
    page.locator("#from b", has_text="1111").wait_for(timeout=5000)
    told[0] = {**call, "code": "2222", "from": "74950002222", "at": "2026-01-01T00:00:09.000Z"}
    page.locator("#from b", has_text="2222").wait_for(timeout=5000)


def test_its_policy_stops_a_script_that_is_not_its_own(page: Page, own_simulator: str) -> None:
    page.goto(own_simulator)
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))"
    )
    assert "Simulator" in page.title()
