"""Clients that generators make of the OpenAPI document compile, and verify a phone, by the commands and the code of docs/guides/en/generated.md."""

import re
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.consumers.page import GUIDES, Sandbox, as_served, marked, run, shell
from tests.harness import ROOT, fresh_phone, wrong
from tests.npm import install

pytestmark = pytest.mark.generated

SHOWN = marked(GUIDES / "en" / "generated.md")
BIN = "node_modules/.bin"
HERE = ROOT / "tests" / "consumers"
QUIET = {"GOPROXY": "off", "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}

Shop = Callable[..., str]
"""Runs a program around the page's code: `start PHONE ACTION` or `check ID CODE`. It answers the id, the phone, or why not."""


@pytest.fixture
def folder(tmp_path: Path, sandbox: Sandbox) -> Path:
    """A folder with the document in it, as the page's first command fetches it."""
    (tmp_path / "node_modules").symlink_to(install(HERE / "generated"), target_is_directory=True)
    shell(as_served(SHOWN["generated-document"], sandbox), tmp_path)
    return tmp_path


def generate(name: str, language: str, folder: Path, sandbox: Sandbox) -> None:
    """Lay the page's code, a program around it, and what its command generates."""
    (folder / f"shop.{language}").write_text(as_served(SHOWN[f"{name}-code"], sandbox), "utf-8")
    shutil.copy(HERE / "generated" / f"main.{language}", folder)
    shell(SHOWN[name], folder, **QUIET)


def shop(*command: object, folder: Path) -> Shop:
    return lambda *arguments: run(*command, *arguments, cwd=folder)


def verifies_a_phone(ask: Shop, sandbox: Sandbox) -> None:
    phone, action = fresh_phone(), str(uuid.uuid4())
    verification = ask("start", phone, action)
    assert ask("start", phone, action) == verification
    assert len(sandbox.calls(phone)) == 1
    assert re.fullmatch(r"Try again in \d+ s", ask("start", phone, str(uuid.uuid4())))
    assert ask("start", "12", str(uuid.uuid4())) == "This is not a phone number"
    assert ask("check", verification, wrong(sandbox.code(phone))) == "Wrong code. Attempts left: 2"
    assert ask("check", verification, sandbox.code(phone)) == phone


def test_the_document_is_clean_to_redocly(folder: Path) -> None:
    run(f"{BIN}/redocly", "lint", "--config", ROOT / "redocly.yaml", "openapi.json", cwd=folder, **QUIET)


@pytest.mark.parametrize("name", ["generated-types", "generated-hey"])
def test_typescript(name: str, folder: Path, sandbox: Sandbox) -> None:
    generate(name, "ts", folder, sandbox)
    strict = ["--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    run(f"{BIN}/tsc", *strict, "--types", "node", "main.ts", cwd=folder)
    bundle = ["--bundle", "--platform=node", "--format=esm", "--outfile=main.mjs", "--log-level=warning"]
    run(f"{BIN}/esbuild", "main.ts", *bundle, cwd=folder)
    verifies_a_phone(shop("node", "main.mjs", folder=folder), sandbox)


def test_python(folder: Path, sandbox: Sandbox) -> None:
    generate("generated-python", "py", folder, sandbox)
    generator = shutil.which("openapi-python-client")
    assert generator
    python = str(Path(generator).parent / "python")
    typed = ("--strict", "--python-executable", python, "shop.py", "lastdigits_api")
    run(sys.executable, "-m", "mypy", *typed, cwd=folder)
    verifies_a_phone(shop(python, "main.py", folder=folder), sandbox)


def test_go(folder: Path, sandbox: Sandbox) -> None:
    generate("generated-go", "go", folder, sandbox)
    run("go", "vet", "./...", cwd=folder, **QUIET)
    run("go", "build", "-o", "shop", ".", cwd=folder, **QUIET)
    verifies_a_phone(shop("./shop", folder=folder), sandbox)
