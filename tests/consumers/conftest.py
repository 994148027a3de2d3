"""Who signs: a key server of the tests' own, the real service, and a sandbox."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.consumers.issuer import Issuer, issuing
from tests.consumers.page import Sandbox, sandboxed, verify
from tests.harness import ROOT, Service, Simulator
from tests.npm import install


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandboxed(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@dataclass(frozen=True)
class RealTokens:
    """The service's own tokens."""

    service: Service
    simulator: Simulator

    @property
    def jwks_url(self) -> str:
        return f"{self.service.url}/.well-known/jwks.json"

    def of(self, client: str, purpose: str = "login") -> tuple[str, str]:
        """A phone that was verified for a client, and its token."""
        return verify(self.service.url, self.service.keys[client], self.simulator.code, purpose)


@pytest.fixture(scope="session")
def real(service: Service, simulator: Simulator) -> RealTokens:
    return RealTokens(service, simulator)


@pytest.fixture(scope="session")
def modules() -> Path:
    """Where the libraries of the JavaScript on our pages are."""
    return install(ROOT / "tests" / "consumers" / "node")
