"""One service for the tests that need few calls an address or test numbers: each takes addresses of its own."""

from collections.abc import Iterator

import pytest

from tests.harness import Service, Simulator, serving

FOUR, SIX, FOREIGN = "+79990000001", "+79990000002", "+12015550123"
"""Test numbers, with codes of four and six digits, and of another country."""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    settings = {
        "CALLS_PER_IP": "3/hour, 5/day",
        "TEST_NUMBERS": f"{FOUR}=0000, {SIX}=123456,{FOREIGN}=4321",
        "TRUSTED_PROXIES": "127.0.0.1",
        "WORKERS": "1",
    }
    with serving(tmp_path_factory.mktemp("small"), simulator.send_url, **settings) as service:
        yield service
