"""Chromium, pages that ask only their own addresses, the services that they verify phones with, and the tools of clients/js."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.shop import Shop, shop_at
from tests.browser.visit import Open, Visit
from tests.consumers.page import Sandbox, sandboxed
from tests.harness import Simulator
from tests.npm import CLIENT, install

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(locale="en-US")
    yield context.new_page()
    context.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Open]:
    """Opens an address as a person of their own, by options of Playwright's `new_context`. In the end no page may have reported an error."""
    visits: list[Visit] = []

    def open_at(url: str, **options: Any) -> Visit:
        visits.append(Visit(chromium.new_context(**{"locale": "en-US", **options}).new_page()))
        return visits[-1].go(url)

    yield open_at
    for each in visits:
        each.page.context.close()
    assert [error for each in visits for error in each.errors] == []


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of clients/js's installed packages."""
    return install(CLIENT)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Shop]:
    """A page of another origin with a strict policy, and the service that knows its key."""
    with shop_at(tmp_path_factory.mktemp("shop"), simulator, RESEND_COOLDOWNS="5,60,300") as running:
        yield running


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox as a newcomer starts it, with a limit that a test suite does not use up."""
    with sandboxed(tmp_path_factory.mktemp("sandbox"), CALLS_PER_IP="10000/hour") as running:
        yield running
