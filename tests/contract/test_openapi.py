"""The OpenAPI document: complete, with an example each, and true: a fuzzer finds no status that it does not name, and no 500."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.problems import ROWS
from app.cli import main
from app.telemetry.metrics import REQUESTS, UNLISTED
from tests.exposition import scrape, series
from tests.harness import Service


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    answer = httpx.get(f"{service.url}/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_it_is_openapi_3_1_and_has_every_route_by_a_name_that_generated_clients_read_well(
    document: dict[str, Any],
) -> None:
    assert document["openapi"].startswith("3.1")
    assert {name: operation["operationId"] for name, operation in _operations(document).items()} == {
        "POST /verify/start": "startVerification",
        "POST /verify/check": "checkVerification",
        "POST /verify/resend": "resendVerification",
        "GET /verify/{verification_id}": "readVerification",
        "POST /verify/{verification_id}/cancel": "cancelVerification",
        "POST /verify/redeem": "redeemToken",
        "GET /policy": "getPolicy",
        "GET /.well-known/jwks.json": "getKeys",
        "GET /healthz": "health",
        "GET /readyz": "ready",
        "GET /metrics": "metrics",
    }


def test_summaries_are_sentences_and_not_the_names_of_functions(document: dict[str, Any]) -> None:
    operations = _operations(document)
    start = operations["POST /verify/start"]
    assert (start["summary"], start["description"][:18]) == ("Start a verification", "Calls the phone: i")
    assert not [name for name, operation in operations.items() if " " not in operation["summary"]]


def test_times_are_date_times_also_where_they_may_be_null(document: dict[str, Any]) -> None:
    time = {"type": "string", "format": "date-time"}
    times = {
        f"{name}.{field}": described
        for name, schema in document["components"]["schemas"].items()
        for field, described in schema.get("properties", {}).items()
        if field.endswith(("_at", "until"))
    }
    nullable = {name for name, described in times.items() if described.get("anyOf") == [time, {"type": "null"}]}
    of_state = {"PendingAnswer.resend_at", "StateAnswer.resend_at", "StateAnswer.approved_at"}
    assert nullable == of_state | {"PolicyAnswer.spray_alert_until"}
    assert {name for name, described in times.items() if described.items() >= time.items()} == set(times) - nullable


def test_generated_clients_can_switch_on_a_problems_code(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Problem"]["properties"]["code"] == {"$ref": "#/components/schemas/ProblemCode"}
    assert set(schemas["ProblemCode"]["enum"]) == set(ROWS)
    members = {member for row in ROWS.values() for member in row.extras}
    assert set(schemas["Problem"]["properties"]) == members | {"type", "title", "status", "code", "detail"}


def test_each_field_that_is_sent_is_described_and_none_has_a_title_that_only_repeats_its_name(
    document: dict[str, Any],
) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            assert "title" not in described, (name, field)
            assert "description" in described or not name.endswith("Request"), (name, field)


def test_an_example_fits_its_operation_and_shows_each_field_also_if_it_is_null(document: dict[str, Any]) -> None:
    operations = _operations(document)

    def shown(name: str, status: str = "200") -> dict[str, Any]:
        example: dict[str, Any] = operations[name]["responses"][status]["content"]["application/json"]["example"]
        return example

    assert shown("POST /verify/start", "201")["status"] == "pending"
    assert shown("POST /verify/check")["status"] == "approved"
    canceled = shown("POST /verify/{verification_id}/cancel")
    assert (canceled["status"], canceled["resend_at"], canceled["resend_in"]) == ("canceled", None, None)
    state = shown("GET /verify/{verification_id}")
    assert state["approved_at"] is None
    assert set(state) == set(document["components"]["schemas"]["StateAnswer"]["required"])


def test_the_command_prints_what_the_service_serves(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["openapi"]) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_every_route_behind_a_key_says_so(document: dict[str, Any]) -> None:
    for name, operation in _operations(document).items():
        behind = "/verify/" in name or "/policy" in name
        assert (bool(operation.get("security")), "401" in operation["responses"]) == (behind, behind), name


def test_every_answer_has_an_example_and_names_the_requests_id(document: dict[str, Any]) -> None:
    for name, operation in _operations(document).items():
        for status, answer in operation["responses"].items():
            assert "X-Request-Id" in answer["headers"], (name, status)
            if int(status) < 400:
                assert any("example" in body for body in answer["content"].values()), (name, status)
            else:
                examples = answer["content"]["application/problem+json"]["examples"]
                assert examples, (name, status)
                for code, example in examples.items():
                    assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))
                    if "retry_after" in example["value"]:
                        assert "Retry-After" in answer["headers"], (name, status)


def test_every_problem_of_the_table_is_documented_somewhere(document: dict[str, Any]) -> None:
    named = {
        code
        for operation in _operations(document).values()
        for answer in operation["responses"].values()
        for code in answer["content"].get("application/problem+json", {}).get("examples", {})
    }
    # These belong to no route of the interface: they come before one is found, or are a page for people.
    unrouted = {"no_such_route", "method_not_allowed", "malformed_request", "head_too_large"}
    assert set(ROWS) - named == unrouted | {"return_url_not_allowed"}


def test_a_fuzzer_finds_no_undocumented_answer(service: Service, tmp_path: Path) -> None:
    # A body over 8 KiB is refused as such before anybody looks into it: 413 refuses bad data as well as 422 does.
    (tmp_path / "schemathesis.toml").write_text(
        '[checks]\nnegative_data_rejection.expected-statuses = ["400", "401", "403", "404", "409", "413", "415", "422", "429"]\n'
    )
    before = _unlisted(service)
    command = [
        *(str(Path(sys.executable).parent / "st"), "run", f"{service.url}/openapi.json", "--no-color"),
        *("--header", f"Authorization: {service.headers()['Authorization']}", "--max-examples", "20", "--seed", "1"),
        # It takes each schema-valid body for one that must be accepted; whether digits are a phone number no schema says.
        *("--exclude-checks", "positive_data_acceptance"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert _unlisted(service) == before


def _unlisted(service: Service) -> list[float]:
    """How many answers of each hundred of statuses are documented nowhere. Other tests use this service too."""
    labels, counted = ("route", "method", "status", "code"), scrape(service.url)
    return [counted[series(REQUESTS, **dict(zip(labels, values, strict=True)))] for values in UNLISTED]
