"""The documents as a site, in Chromium: it asks no other host, finds Russian and English words, and says which language a page is in."""

from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.consumers.loopback import listening
from tests.harness import ROOT

pytestmark = pytest.mark.browser


class _Built(SimpleHTTPRequestHandler):
    """What `make docs` built, on which `make test-browser` depends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(ROOT / "dist" / "docs"))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(page: Page) -> Iterator[str]:
    """Its address. In the end no page may have asked elsewhere, or reported an error."""
    with listening(_Built) as url:
        found: list[str] = []
        page.on("request", lambda request: found.append(request.url))
        page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: found.append(f"error: {error}"))
        yield url
        assert [each for each in found if not each.startswith(("data:", f"{url}/"))] == []


def test_the_first_page_leads_to_the_guides_of_both_languages(page: Page, site: str) -> None:
    page.goto(site)
    page.wait_for_url("**/README.html")
    for language, guide in (("en", "Five minutes"), ("ru", "За пять минут")):
        page.locator(".sidebar-tree").get_by_role("link", name=guide, exact=True).click()
        page.get_by_role("heading", level=1, name=guide).wait_for()
        assert page.locator("html").get_attribute("lang") == language


@pytest.mark.parametrize(("words", "page_found"), [("carrier NAT", "en/limits"), ("операторов", "ru/limits")])
def test_a_search_finds_the_page(page: Page, site: str, words: str, page_found: str) -> None:
    page.goto(site + "/README.html")
    page.get_by_role("textbox", name="Search").fill(words)
    page.keyboard.press("Enter")
    page.locator(f"#search-results a[href*='guides/{page_found}.html']").first.wait_for()
