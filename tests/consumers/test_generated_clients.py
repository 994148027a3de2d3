"""Clients that generators make of the OpenAPI document compile, and verify a phone, by the commands and the code of docs/guides/en/generated.md."""

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.consumers.page import GUIDES, marked
from tests.consumers.sandbox import Sandbox, as_served, sandboxed
from tests.harness import ROOT, fresh_phone, wrong
from tests.npm import install

pytestmark = pytest.mark.generated

SHOWN = marked(GUIDES / "en" / "generated.md")
BIN = "node_modules/.bin"
MAINS = ROOT / "tests" / "consumers" / "generated"

Shop = Callable[..., str]
"""Runs a program around the page's code: `start PHONE ACTION` or `check ID CODE`. It answers the id, the phone, or why not."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandboxed(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def generators() -> Path:
    """The generators of npm, in versions that one file names."""
    return install(MAINS)


@pytest.fixture
def folder(tmp_path: Path, sandbox: Sandbox, generators: Path) -> Path:
    """A folder with the document in it, as the page's first command fetches it."""
    (tmp_path / "node_modules").symlink_to(generators, target_is_directory=True)
    run("bash", "-euc", as_served(SHOWN["generated-document"], sandbox), cwd=tmp_path)
    return tmp_path


def run(*command: str, cwd: Path) -> str:
    quiet = {"GOPROXY": "off", "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | quiet, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def generated(name: str, language: str, folder: Path, sandbox: Sandbox) -> None:
    """Lay the page's code, a program around it, and what its command generates."""
    (folder / f"shop.{language}").write_text(as_served(SHOWN[f"{name}-code"], sandbox), "utf-8")
    shutil.copy(MAINS / f"main.{language}", folder)
    run("bash", "-euc", SHOWN[name], cwd=folder)


def shop(*command: str, folder: Path) -> Shop:
    return lambda *arguments: run(*command, *arguments, cwd=folder).strip()


def verifies_a_phone(ask: Shop, sandbox: Sandbox) -> None:
    phone, action = fresh_phone(), str(uuid.uuid4())
    verification = ask("start", phone, action)
    assert ask("start", phone, action) == verification
    assert len(sandbox.calls(phone)) == 1
    assert re.fullmatch(r"Try again in \d+ s", ask("start", phone, str(uuid.uuid4())))
    assert ask("start", "12", str(uuid.uuid4())) == "This is not a phone number"
    code = sandbox.code(phone)
    assert ask("check", verification, wrong(code)) == "Wrong code. Attempts left: 2"
    assert ask("check", verification, code) == phone


def test_the_document_is_clean_to_redocly(folder: Path) -> None:
    run(f"{BIN}/redocly", "lint", "--config", str(ROOT / "redocly.yaml"), "openapi.json", cwd=folder)


@pytest.mark.parametrize("name", ["generated-types", "generated-hey"])
def test_typescript(name: str, folder: Path, sandbox: Sandbox) -> None:
    generated(name, "ts", folder, sandbox)
    strict = ["--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    run(f"{BIN}/tsc", *strict, "--types", "node", "main.ts", cwd=folder)
    bundle = ["--bundle", "--platform=node", "--format=esm", "--outfile=main.mjs", "--log-level=warning"]
    run(f"{BIN}/esbuild", "main.ts", *bundle, cwd=folder)
    verifies_a_phone(shop("node", "main.mjs", folder=folder), sandbox)


def test_python(folder: Path, sandbox: Sandbox) -> None:
    generated("generated-python", "py", folder, sandbox)
    generator = shutil.which("openapi-python-client")
    assert generator
    python = str(Path(generator).parent / "python")
    run(
        sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "shop.py", "lastdigits_api", cwd=folder
    )
    verifies_a_phone(shop(python, "main.py", folder=folder), sandbox)


def test_go(folder: Path, sandbox: Sandbox) -> None:
    generated("generated-go", "go", folder, sandbox)
    run("go", "vet", "./...", cwd=folder)
    run("go", "build", "-o", "shop", ".", cwd=folder)
    verifies_a_phone(shop("./shop", folder=folder), sandbox)
