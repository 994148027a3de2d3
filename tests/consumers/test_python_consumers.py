"""A Django and a FastAPI backend, with the page's code as it stands, accept the service's tokens and refuse everything else."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.consumers.backends import Backend, Trust, python_backend
from tests.consumers.conftest import RealTokens
from tests.consumers.contract import AcceptsTokens
from tests.consumers.issuer import Issuer
from tests.consumers.page import snippet

Run = Callable[[Trust, Callable[[str], str]], AbstractContextManager[Backend]]


def as_it_stands(code: str) -> str:
    return code


@pytest.fixture(scope="module", params=["Django", "FastAPI"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    stack: str = request.param
    return lambda trust, edit: python_backend(
        stack.lower(), edit(snippet(stack)), tmp_path_factory.mktemp(stack), trust.environ()
    )


@pytest.fixture(scope="module")
def backend(run: Run, issuer: Issuer) -> Iterator[Backend]:
    with run(Trust(issuer.url), as_it_stands) as running:
        yield running


@pytest.fixture(scope="module")
def ed25519_backend(run: Run, issuer: Issuer) -> Iterator[Backend]:
    with run(Trust(issuer.url), lambda code: code.replace("ES256", "EdDSA")) as running:
        yield running


@pytest.fixture(scope="module")
def shop(run: Run, real: RealTokens) -> Iterator[Backend]:
    with run(Trust(real.jwks_url), as_it_stands) as running:
        yield running


class TestPythonBackends(AcceptsTokens):
    """The two accept the same tokens."""


def test_without_the_keys_nothing_is_accepted(run: Run, issuer: Issuer) -> None:
    with run(Trust("http://127.0.0.1:9/.well-known/jwks.json"), as_it_stands) as lonely:
        assert lonely.refuses(issuer.token())


@pytest.mark.parametrize("empty", [{"issuer": ""}, {"audience": ""}], ids=["no issuer", "no audience"])
def test_a_setting_left_empty_opens_nothing(run: Run, issuer: Issuer, empty: dict[str, str]) -> None:
    with run(Trust(issuer.url, **empty), as_it_stands) as careless:
        assert careless.refuses(issuer.token())
