"""What the tests share: a real server, the simulator, and the service as its users run it.

Nothing is mocked: `service` is the real process with two workers, its store a real Valkey (or the Redis that TEST_REDIS_URL names), its provider
the simulator. Each test takes phones of its own, so that none needs an empty store.
"""

import os
import shutil
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from tests.harness import Service, Simulator, fresh_phone, serving, simulating

hypothesis.settings.register_profile(
    "tests",
    max_examples=50,
    deadline=None,  # the machine may be busy
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a run on a Redis of one's own: leave out what never sees it, for it starts services with stores of their own."""
    if "TEST_REDIS_URL" in os.environ:
        seen = [
            item
            for item in items
            if {"service", "server", "redis_url"} & set(getattr(item, "fixturenames", ()))
            or (item.get_closest_marker("redis") and shutil.which("redis-server"))
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in seen])
        items[:] = seen


@pytest.fixture
def phone() -> str:
    return fresh_phone()


@pytest.fixture
def phones() -> Callable[[], str]:
    return fresh_phone


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with simulating(tmp_path_factory.mktemp("simulator")) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    settings = {"REDIS_URL": url} if (url := os.environ.get("TEST_REDIS_URL")) else {}
    with serving(directory, simulator.send_url, **settings) as running_service:
        yield running_service
