"""Who signs: a key server of the tests' own, and the real service."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.consumers.issuer import Issuer, Json, issuing, parts
from tests.harness import ROOT, Service, Simulator, fresh_phone

INSTALL = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
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

    def key(self, token: str) -> Json:
        """The published key that a token names."""
        kid = parts(token)[0]["kid"]
        keys: list[Json] = self._service.http.get("/.well-known/jwks.json").json()["keys"]
        return next(key for key in keys if key["kid"] == kid)


@pytest.fixture(scope="session")
def real(service: Service, simulator: Simulator) -> RealTokens:
    return RealTokens(service, simulator)


@pytest.fixture(scope="session")
def real_token(real: RealTokens) -> tuple[str, str]:
    """A phone and the service's token for it and the client "backend"."""
    return real.of("backend")


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the libraries of the JavaScript on our pages are: NODE_MODULES, or installed for this run."""
    if given := os.environ.get("NODE_MODULES"):
        return Path(given).resolve(strict=True)
    return npm_install(ROOT / "tests" / "consumers" / "node" / "package.json", tmp_path_factory.mktemp("npm"))


def npm_install(package: Path, directory: Path) -> Path:
    """Install what a package.json names; returns the folder of the modules."""
    shutil.copy(package, directory)
    installed = subprocess.run(INSTALL, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    assert installed.returncode == 0, installed.stderr
    return directory / "node_modules"
