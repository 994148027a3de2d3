"""The OpenAPI document: complete, with an example each, and true: a fuzzer finds no status that it does not name, and no 500."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.problems import ROWS
from app.telemetry.metrics import REQUESTS, UNLISTED
from tests.exposition import scrape, series
from tests.harness import Service

LABELS = ("route", "method", "status", "code")


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


def test_it_is_openapi_3_1_and_names_every_route(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert set(_operations(document)) == {
        "POST /verify/start",
        "POST /verify/check",
        "POST /verify/resend",
        "GET /verify/{verification_id}",
        "POST /verify/{verification_id}/cancel",
        "POST /verify/redeem",
        "GET /policy",
        "GET /.well-known/jwks.json",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }


def test_every_operation_has_a_name_that_generated_clients_read_well(document: dict[str, Any]) -> None:
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


def test_times_are_date_times_also_where_they_may_be_null(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    time = {"type": "string", "format": "date-time"}
    pending, state = schemas["PendingAnswer"]["properties"], schemas["StateAnswer"]["properties"]
    assert pending["created_at"].items() >= time.items()
    assert pending["resend_at"]["anyOf"] == [time, {"type": "null"}]
    assert state["approved_at"]["anyOf"] == [time, {"type": "null"}]
    assert "format" not in pending["resend_at"]


def test_every_route_behind_a_key_says_so(document: dict[str, Any]) -> None:
    for name, operation in _operations(document).items():
        assert bool(operation.get("security")) == ("/verify/" in name or "/policy" in name), name


def test_every_answer_has_an_example_and_names_the_requests_id(document: dict[str, Any]) -> None:
    for name, operation in _operations(document).items():
        assert operation["summary"], name
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
    # These belong to no route: they come before one is found.
    assert set(ROWS) - named == {"no_such_route", "method_not_allowed", "malformed_request", "head_too_large"}


def test_every_field_that_is_sent_has_an_example(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Request"):
            for field, described in schema["properties"].items():
                assert described.get("description"), (name, field)


def test_a_fuzzer_finds_no_undocumented_answer(service: Service, tmp_path: Path) -> None:
    # A body over 8 KiB is refused as such before anybody looks into it: 413 refuses bad data as well as 422 does.
    (tmp_path / "schemathesis.toml").write_text(
        '[checks]\nnegative_data_rejection.expected-statuses = ["400", "401", "403", "404", "409", "413", "415", "422", "429"]\n'
    )
    command = [
        *(str(Path(sys.executable).parent / "st"), "run", f"{service.url}/openapi.json"),
        *(
            "--header",
            f"Authorization: {service.headers()['Authorization']}",
            "--max-examples",
            "20",
            "--no-color",
            "--seed",
            "1",
        ),
        # It takes each schema-valid body for one that must be accepted; whether digits are a phone number no schema says.
        *("--exclude-checks", "positive_data_acceptance"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    counted = scrape(service.url)
    assert not [
        labels for labels in UNLISTED if counted.get(series(REQUESTS, **dict(zip(LABELS, labels, strict=True))))
    ]
