"""The simulator's page in Chromium: it shows the calls by itself, as text, and asks no other host for anything."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visit import Visit
from tests.harness import PROVIDER_KEY, Simulator, simulating

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator that no service uses."""
    with simulating(tmp_path_factory.mktemp("quiet")) as running:
        yield running


@pytest.fixture
def someone(page: Page, quiet: Simulator) -> Visit:
    """A person on the page of a simulator that has called no one yet."""
    quiet.http.delete("/calls")
    someone = Visit(page)
    page.goto(quiet.url)
    return someone


def _call(simulator: Simulator, number: str, capacity: str = "4") -> str:
    body = {"number": number, "capacity": capacity}
    answer = simulator.http.post(simulator.send_url, json=body, headers={"Authorization": PROVIDER_KEY})
    return str(answer.json()["code"])


def test_it_shows_each_call_and_the_digits_by_itself_and_rests_again(someone: Visit, quiet: Simulator) -> None:
    page = someone.page
    title, rows = page.locator("#screen-title"), page.locator("tbody tr")
    expect(title).to_have_text("No call yet")
    expect(page.locator("#empty")).to_be_visible()
    first = _call(quiet, "79991234567", "6")
    page.locator("#from b", has_text=first).wait_for(timeout=5000)
    expect(title).to_have_text("Incoming call")
    expect(page.locator("#to")).to_have_text("to +7 999 123-45-67")
    expect(page.locator("#empty")).to_be_hidden()
    second = _call(quiet, "79991234568")
    page.locator("#from b", has_text=second).wait_for(timeout=5000)
    assert [row.split("\t")[1] for row in rows.all_inner_texts()] == ["+7 999 123-45-68", "+7 999 123-45-67"]
    quiet.http.delete("/calls")
    page.locator("#empty").wait_for(state="visible", timeout=5000)
    expect(title).to_have_text("No call yet")
    expect(page.locator("#from")).to_be_empty()
    assert {url.split("?")[0] for url in someone.asked} - {"data:,"} == {f"{quiet.url}/", f"{quiet.url}/calls"}
    assert someone.errors == []


def test_it_shows_what_it_receives_as_text_and_the_newest_call_also_of_a_simulator_that_began_again(
    someone: Visit,
) -> None:
    page = someone.page
    call: dict[str, Any] = {"id": "1001", "number": "<img src=x onerror=document.title=1>", "from": "<b id=evil>1111"}
    shown = [{**call, "code": "1111", "at": "2026-01-01T00:00:00.000Z"}]
    page.route("**/calls*", lambda route: route.fulfill(json={"count": 1, "calls": shown}))
    page.locator("#from b", has_text="1111").wait_for(timeout=5000)
    assert page.locator("#evil, main img").count() == 0
    assert "Simulator" in page.title()
    shown[0] = {**call, "code": "2222", "from": "74950002222", "at": "2026-01-01T00:00:09.000Z"}
    page.locator("#from b", has_text="2222").wait_for(timeout=5000)
    page.unroute_all()
    page.route("**/calls*", lambda route: route.abort())
    page.locator("#offline").wait_for(state="visible", timeout=5000)


def test_it_fits_a_narrow_screen(someone: Visit, quiet: Simulator) -> None:
    page = someone.page
    page.set_viewport_size({"width": 360, "height": 740})
    _call(quiet, "491511234567890", "6")
    page.locator("td", has_text="+491 511 234 567 890").wait_for(timeout=5000)
    assert someone.fits()
    assert page.locator(".history").evaluate("history => history.scrollWidth <= history.clientWidth")
