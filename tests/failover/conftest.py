"""Every test here is of `make test-failover`: it starts servers that fail and take over, which takes seconds each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failover.topologies import Cluster, Group, Sentinels


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.failover)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with Sentinels(tmp_path / "servers") as group:
        yield group


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "servers") as group:
        yield group


@pytest.fixture(params=["sentinels", "cluster"])
def group(request: pytest.FixtureRequest) -> Group:
    found: Group = request.getfixturevalue(request.param)
    return found
