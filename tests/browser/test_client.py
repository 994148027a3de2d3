"""The JavaScript client and the steps of a verification, by node's own test runner; their types, by TypeScript."""

import subprocess
from pathlib import Path

import pytest

from tests.npm import CLIENT, run_node

pytestmark = pytest.mark.node


def test_the_client_and_the_machine_hold_what_they_promise() -> None:
    files = sorted(str(path) for path in (CLIENT / "test").glob("*.test.js"))
    done = subprocess.run(["node", "--test", *files], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "# pass 0" not in done.stdout


def test_the_types_fit_the_code(tools: Path) -> None:
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom"]
    compiler = tools / "typescript" / "bin" / "tsc"
    done = run_node(str(compiler), *options, str(CLIENT / "test" / "types.ts"))
    assert done.returncode == 0, done.stdout


def test_the_built_files_are_those_of_the_source(tools: Path, tmp_path: Path) -> None:
    done = run_node(str(CLIENT / "build.mjs"), str(tmp_path), NODE_MODULES=str(tools))
    assert done.returncode == 0, done.stderr
    built = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    committed = CLIENT.parent.parent / "app" / "web" / "static" / "widget"
    assert built == {path.relative_to(committed): path.read_bytes() for path in committed.rglob("*") if path.is_file()}
