"""A page that strangers use too, with the defaults and two workers: one for all tests of a run."""

from collections.abc import Iterator

import pytest

from tests.attacks.page import TEST_NUMBER, Page, lanes_of
from tests.harness import Simulator


@pytest.fixture(scope="session")
def _page(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Page]:
    with lanes_of(tmp_path_factory.mktemp("page"), simulator, TEST_NUMBERS=f"{TEST_NUMBER}=0000") as page:
        yield page


@pytest.fixture
def page(_page: Page) -> Page:
    """Nothing of the tests before counts any more."""
    _page.later(30 * 3600)
    return _page
