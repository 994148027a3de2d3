"""A service on a server of its own."""

from collections.abc import Iterator

import pytest

from tests.harness import Service, Simulator, serving
from tests.server import Server


@pytest.fixture(scope="session")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def on_own_server(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, own_server: Server
) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("on-own-server")
    with serving(directory, simulator.send_url, REDIS_URL=own_server.url, REDIS_TIMEOUT="0.5") as service:
        yield service
