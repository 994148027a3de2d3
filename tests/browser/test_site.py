"""The documents as a site, in Chromium: it asks no other host, finds Russian and English words, and says which language a page is in."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page

from tests.harness import ROOT

pytestmark = pytest.mark.browser

BUILT = ROOT / "dist" / "docs"  # by `make docs`, on which `make test-browser` depends


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(BUILT)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def asked(page: Page) -> list[str]:
    """The addresses that a page asks for, with those it was refused or reported an error for."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url))
    page.on("console", lambda message: found.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    return found


def elsewhere(asked: list[str], site: str) -> list[str]:
    return [url for url in asked if not url.startswith(("data:", site + "/"))]


def test_the_first_page_leads_to_the_guides_of_both_languages(page: Page, site: str, asked: list[str]) -> None:
    page.goto(site)
    page.wait_for_url("**/README.html")
    for language, guide in (("en", "Five minutes"), ("ru", "За пять минут")):
        page.locator(".sidebar-tree").get_by_role("link", name=guide, exact=True).click()
        page.get_by_role("heading", level=1, name=guide).wait_for()
        assert page.locator("html").get_attribute("lang") == language
    assert elsewhere(asked, site) == []


@pytest.mark.parametrize(("words", "page_found"), [("carrier NAT", "en/limits"), ("операторов", "ru/limits")])
def test_a_search_finds_the_page(page: Page, site: str, asked: list[str], words: str, page_found: str) -> None:
    page.goto(site + "/README.html")
    page.get_by_role("textbox", name="Search").fill(words)
    page.keyboard.press("Enter")
    page.locator(f"#search-results a[href*='guides/{page_found}.html']").first.wait_for()
    assert elsewhere(asked, site) == []
