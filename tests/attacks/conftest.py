"""A page that strangers use too, with the defaults and two workers: one for all tests of a run."""

from collections.abc import Iterator

import pytest

from tests.attacks.own_deployment import BEHIND
from tests.attacks.page import LONG_AGO, TEST_NUMBER, Page
from tests.harness import Service, Simulator, serving


@pytest.fixture(scope="session")
def _behind(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    settings = BEHIND | {"TEST_NUMBERS": f"{TEST_NUMBER}=0000"}
    with serving(tmp_path_factory.mktemp("page"), simulator.send_url, **settings) as service:
        yield service


@pytest.fixture
def page(_behind: Service, simulator: Simulator) -> Page:
    """Nothing of the tests before counts any more."""
    _behind.later(LONG_AGO)
    _behind.passed = 0
    return Page(_behind, simulator)
