"""Chromium, pages that ask only their own addresses, the service that they verify phones with, and the tools of clients/js."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.shop import Shop, shop_at
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
def challenging_shop(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Shop]:
    """The same, where each start must bring a solved challenge."""
    with shop_at(tmp_path_factory.mktemp("challenging"), simulator, CHALLENGE="always") as running:
        yield running
