"""What the guides show works as it stands, against a real sandbox; and a guide is the same in both languages."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from lastdigits_client import Client

from tests.consumers.backends import Backend, Trust, python_backend
from tests.consumers.conftest import RealTokens
from tests.consumers.contract import AcceptsTokens
from tests.consumers.issuer import Issuer
from tests.consumers.page import GUIDES, marked
from tests.consumers.sandbox import Sandbox, sandboxed
from tests.harness import ROOT, fresh_phone, wrong

PAGES = sorted(page.name for page in (GUIDES / "en").glob("*.md"))

Run = Callable[[dict[str, str], str], AbstractContextManager[Backend]]


def shown(name: str) -> str:
    """A piece of code, by the name of its marker."""
    return marked(GUIDES / "en" / f"{name.partition('-')[0]}.md")[name]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandboxed(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


def shell(script: str, directory: Path, **environ: str) -> str:
    """Run lines of a guide as a person pastes them; returns what they print."""
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_served(script: str, sandbox: Sandbox) -> str:
    """With the addresses and keys of this sandbox in place of the page's."""
    changes = {
        "http://127.0.0.1:8000": sandbox.url,
        "http://127.0.0.1:8001": sandbox.simulator,
        "sk_…": sandbox.secret_key,
        "pk_…": sandbox.public_key,
        ".venv/bin/lastdigits": f"{sys.executable} -m app.cli",
    }
    for shown_as, real in changes.items():
        script = script.replace(shown_as, real)
    return script


# ---- the two languages


def test_each_guide_is_there_in_both_languages() -> None:
    assert sorted(page.name for page in (GUIDES / "ru").glob("*.md")) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_a_guide_shows_the_same_code_in_both_languages(page: str) -> None:
    english, russian = (marked(GUIDES / language / page) for language in ("en", "ru"))
    assert english == russian


@pytest.mark.parametrize("page", PAGES)
def test_a_guide_has_the_same_sections_in_both_languages(page: str) -> None:
    english, russian = ((GUIDES / language / page).read_text("utf-8").splitlines() for language in ("en", "ru"))
    assert [line.split()[0] for line in english if line.startswith("#")] == [
        line.split()[0] for line in russian if line.startswith("#")
    ]
    assert [line for line in english if line.startswith("```")] == [line for line in russian if line.startswith("```")]


# ---- Django and FastAPI by clients/python: they accept and refuse what docs/token.md says


@pytest.fixture(scope="module", params=["django", "fastapi"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(stack: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return lambda environ, code: python_backend(
        f"guide_{stack}", code or shown(stack), tmp_path_factory.mktemp(stack), environ
    )


@pytest.fixture(scope="module")
def backend(run: Run, issuer: Issuer) -> Iterator[Backend]:
    with run(Trust(issuer.url).environ(), "") as running:
        yield running


@pytest.fixture(scope="module")
def ed25519_backend(stack: str, run: Run, issuer: Issuer) -> Iterator[Backend]:
    code = shown(stack).replace("accept_test=", 'algorithm="EdDSA", accept_test=')
    with run(Trust(issuer.url).environ(), code) as running:
        yield running


@pytest.fixture(scope="module")
def shop(run: Run, real: RealTokens) -> Iterator[Backend]:
    with run(Trust(real.jwks_url).environ(), "") as running:
        yield running


class TestPythonGuides(AcceptsTokens):
    """The two accept the same tokens as the code of docs/token.md."""


def test_with_the_settings_of_the_sandbox_its_tokens_are_accepted(run: Run, sandbox: Sandbox) -> None:
    phone = fresh_phone()
    with Client(sandbox.url, sandbox.secret_key) as client, run(sandbox.trust(), "") as page:
        token = client.check(client.start(phone, purpose="login").id, sandbox.code(phone)).token
        assert page.phone(token) == phone
        form = page.http.post("/login", data={"phone_token": token})
        assert (form.status_code, form.json()) == (200, {"phone": phone})
        assert page.http.post("/login", data={"phone_token": token[:-1]}).status_code == 403
        assert page.http.post("/login", data={}).status_code == 403
    with run(sandbox.trust() | {"ALLOW_TEST_PHONES": ""}, "") as production:
        assert production.refuses(token)


# ---- whole flows in the sandbox


def flow(
    backend: Backend, sandbox: Sandbox, start: Callable[[str], httpx.Response], check: Callable[..., httpx.Response]
) -> None:
    """A person verifies a phone through a backend that starts and checks by itself, and mistypes once."""
    phone = fresh_phone()
    started = start(phone)
    assert started.status_code == 200, started.text
    assert start(phone).status_code == 429
    verification, code = started.json()["id"], sandbox.code(phone)
    mistyped = check(verification, wrong(code))
    assert (mistyped.status_code, mistyped.json().get("detail", mistyped.json())["code"]) == (422, "code_incorrect")
    approved = check(verification, code)
    assert (approved.status_code, approved.json()) == (200, {"phone": phone})


def test_a_fastapi_backend_starts_and_checks_by_itself(sandbox: Sandbox, tmp_path: Path) -> None:
    with python_backend("guide_fastapi", shown("fastapi-backend"), tmp_path, sandbox.trust()) as backend:
        flow(
            backend,
            sandbox,
            lambda phone: backend.http.post("/phone", params={"number": phone}),
            lambda verification, code: backend.http.post("/code", params={"id": verification, "digits": code}),
        )
