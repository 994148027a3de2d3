"""The house's rules that a machine can hold: imports run one way."""

import ast
import sys
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "app"
ROOMS = {
    "verification": {"verification"},
    "store": {"store", "verification", "processes"},
    "provider": {"provider", "verification"},
    "simulator": {"simulator"},
    "telemetry": {"telemetry", "verification"},
    "api": {"api", "store", "telemetry", "verification"},
}
CORE_LIBRARIES = {"altcha", "cryptography", "jwt", "phonenumbers"}


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    for file in (APP / room).rglob("*.py"):
        ours = {name.split(".")[1] for name in _imports(file) if name.startswith("app.")}
        assert ours <= ROOMS[room], f"{file.name} reaches into {ours - ROOMS[room]}"


def test_the_core_imports_no_framework_client_or_settings() -> None:
    for file in (APP / "verification").glob("*.py"):
        foreign = {name.split(".")[0] for name in _imports(file)} - set(sys.stdlib_module_names) - {"app"}
        assert foreign <= CORE_LIBRARIES, file.name


def test_nothing_below_main_imports_the_settings() -> None:
    for room in ROOMS:
        for file in (APP / room).rglob("*.py"):
            assert "app.settings" not in _imports(file), file
