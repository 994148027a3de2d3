"""The house's rules that a machine can hold: imports run one way, and every outcome has its row."""

import ast
import sys
from pathlib import Path
from typing import get_args

import pytest

from app.api.problems import FAULTS, OUTCOMES, PHONE, REFUSED, RequestError
from app.verification import model
from app.verification.call import RESPONSIBILITY_OF, RETRY_AFTER, Refusal
from app.verification.phone import PhoneError

APP = Path(__file__).parents[2] / "app"
ROOMS = {
    "verification": {"verification"},
    "store": {"store", "verification", "processes"},
    "telephony": {"telephony", "verification"},
    "challenges": {"challenges", "verification"},
    "telemetry": {"telemetry", "verification"},
    "api": {"api", "store", "telemetry", "verification"},
}
CORE_LIBRARIES = {"cryptography", "jwt", "phonenumbers"}


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


def test_every_outcome_has_its_problem_or_is_a_success() -> None:
    successes = {model.Pending, model.Approved, model.Found, model.Canceled, model.Redeemed, model.Replayed}
    tabled_by_reason = {model.PhoneRejected, model.CallRefused}
    assert set(get_args(model.Outcome)) == successes | tabled_by_reason | set(OUTCOMES)


def test_every_reason_has_its_row() -> None:
    assert set(PHONE) == set(PhoneError)
    assert set(REFUSED) == set(Refusal) == set(RESPONSIBILITY_OF) == set(RETRY_AFTER)
    assert set(FAULTS) == set(RequestError)


def test_a_wrong_code_is_never_a_2xx() -> None:
    assert all(row.status >= 400 for row in (*OUTCOMES.values(), *PHONE.values(), *REFUSED.values(), *FAULTS.values()))
    assert OUTCOMES[model.CodeIncorrect].status == 422
