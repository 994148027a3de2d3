"""An Express backend, with the page's code as it stands, accepts the service's tokens and refuses everything else."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.consumers.backends import Backend, Trust, node_backend
from tests.consumers.conftest import RealTokens
from tests.consumers.contract import AcceptsTokens
from tests.consumers.issuer import Issuer
from tests.consumers.page import snippet

pytestmark = pytest.mark.node

Run = Callable[[dict[str, str], str], AbstractContextManager[Backend]]


@pytest.fixture(scope="module")
def run(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return lambda environ, code: node_backend(code, tmp_path_factory.mktemp("express"), modules, environ)


@pytest.fixture(scope="module")
def backend(run: Run, issuer: Issuer) -> Iterator[Backend]:
    with run(Trust(issuer.url).environ(), snippet("Express")) as running:
        yield running


@pytest.fixture(scope="module")
def ed25519_backend(run: Run, issuer: Issuer) -> Iterator[Backend]:
    with run(Trust(issuer.url).environ(), snippet("Express").replace("ES256", "EdDSA")) as running:
        yield running


@pytest.fixture(scope="module")
def shop(run: Run, real: RealTokens) -> Iterator[Backend]:
    with run(Trust(real.jwks_url).environ(), snippet("Express")) as running:
        yield running


class TestExpressBackend(AcceptsTokens):
    """It accepts the same tokens as the Python backends."""


def test_without_the_keys_nothing_is_accepted(run: Run, issuer: Issuer) -> None:
    with run(Trust("http://127.0.0.1:9/.well-known/jwks.json").environ(), snippet("Express")) as lonely:
        assert lonely.refuses(issuer.token())


@pytest.mark.parametrize("missing", ["TOKEN_ISSUER", "TOKEN_AUDIENCE"])
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "unset"])
def test_a_setting_that_is_missing_opens_nothing(run: Run, issuer: Issuer, missing: str, empty: bool) -> None:
    environ = Trust(issuer.url).environ()
    del environ[missing]
    with run(environ | ({missing: ""} if empty else {}), snippet("Express")) as careless:
        assert careless.refuses(issuer.token())
