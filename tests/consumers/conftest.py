"""Who signs: a key server of the tests' own, the real service, and a sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.consumers.issuer import Issuer, issuing
from tests.consumers.page import Sandbox, sandboxed
from tests.harness import ROOT, Service, Simulator, fresh_phone
from tests.npm import install


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandboxed(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


class RealTokens:
    """The service's own tokens."""

    def __init__(self, service: Service, simulator: Simulator) -> None:
        self._service = service
        self._simulator = simulator
        self.jwks_url = f"{service.url}/.well-known/jwks.json"

    def of(self, client: str, purpose: str = "login") -> tuple[str, str]:
        """Verify a phone for a client as its user would; returns the phone and the token."""
        phone = fresh_phone()
        started = self._service.start(phone, client, purpose=purpose)
        assert started.status_code == 201, started.text
        approved = self._service.check(started.json()["id"], self._simulator.code(phone), client)
        assert approved.status_code == 200, approved.text
        return phone, str(approved.json()["token"])


@pytest.fixture(scope="session")
def real(service: Service, simulator: Simulator) -> RealTokens:
    return RealTokens(service, simulator)


@pytest.fixture(scope="session")
def modules() -> Path:
    """Where the libraries of the JavaScript on our pages are."""
    return install(ROOT / "tests" / "consumers" / "node")
