"""What the tests share: a real server, the simulator, and the service as its users run it.

Nothing is mocked: `service` is the real process with two workers, its store a real Valkey (or the Redis that TEST_REDIS_URL names), its provider
the simulator. Each test takes phones of its own, so that none needs an empty store.
"""

import os
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.harness import PROVIDER_KEY, Service, Simulator, fresh_phone, running, serving


@pytest.fixture
def phone() -> str:
    return fresh_phone()


@pytest.fixture
def phones() -> Callable[[], str]:
    return fresh_phone


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    log = tmp_path_factory.mktemp("simulator") / "log"
    command = [
        "simulator",
        "--port",
        "0",
        "--api-key",
        PROVIDER_KEY,
        "--login",
        "user",
        "--password",
        "provider-password-1",
    ]
    with (
        running(command, {}, log, lambda text: text.partition("simulator on ")[2].split("\n")[0] or None) as (_, url),
        httpx.Client(base_url=url, timeout=10) as http,
    ):
        yield Simulator(url, http)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    settings = {"REDIS_URL": url} if (url := os.environ.get("TEST_REDIS_URL")) else {}
    with serving(directory, simulator.send_url, **settings) as running_service:
        yield running_service
