"""The main job through HTTP: the contract's statuses, codes and members, as a caller meets them, and what the operator sees of requests."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.exposition import scrape, series
from tests.harness import Service, Simulator, serving, wrong


def _problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = answer.json()
    standard = {"code": code, "status": status, "type": f"urn:lastdigits:problem:{code}"}
    assert problem | standard == problem
    assert problem["title"]
    assert answer.headers.get("retry-after") == (str(problem["retry_after"]) if "retry_after" in problem else None)
    return problem


def test_a_phone_is_verified_from_start_to_end(service: Service, simulator: Simulator, phone: str) -> None:
    started = service.start(f"8 ({phone[2:5]}) {phone[5:8]}-{phone[8:]}", purpose="login")
    assert started.status_code == 201, started.text
    body = started.json()
    times = {name: datetime.fromisoformat(body.pop(name)) for name in ("created_at", "expires_at", "resend_at")}
    assert (times["resend_at"] - times["created_at"]).total_seconds() == 30
    assert re.fullmatch(r"vrf_[A-Za-z0-9_-]{44}", body["id"])
    state = {"status": "pending", "phone": phone, "code_length": 4, "attempts_left": 3}
    assert body == state | {"id": body["id"], "expires_in": 300, "resend_in": 30}
    assert simulator.count(phone) == 1
    check = {"id": body["id"], "code": simulator.code(phone), "device": "d" * 256}
    approved = service.post("/verify/check", check)
    assert approved.status_code == 200
    answer = approved.json()
    assert set(answer) == {"id", "status", "phone", "approved_at", "token", "token_expires_in", "device"}
    assert answer | {"id": body["id"], "status": "approved", "phone": phone, "token_expires_in": 600} == answer


def test_a_wrong_code_is_422_and_says_how_many_are_left(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone).json()["id"]
    code = simulator.code(phone)
    for left in (2, 1, 0):
        assert _problem(service.check(verification, wrong(code)), 422, "code_incorrect")["attempts_left"] == left
    _problem(service.check(verification, code), 429, "attempts_exhausted")


@pytest.mark.parametrize("length", [4, 5, 6])
def test_too_few_digits_cost_no_attempt_and_the_whole_number_that_called_counts(
    service: Service, simulator: Simulator, phone: str, length: int
) -> None:
    started = service.start(phone, code_length=length).json()
    assert (started["code_length"], len(simulator.code(phone))) == (length, length)
    for typed in (simulator.code(phone)[1:], "", "abcd"):
        assert _problem(service.check(started["id"], typed), 422, "code_incomplete")["code_length"] == length
    assert service.get(f"/verify/{started['id']}").json()["attempts_left"] == 3
    calling = simulator.calls(phone)[0]["from"]
    assert service.check(started["id"], f"+{calling[:1]} ({calling[1:4]}) {calling[4:]}").status_code == 200


def test_leading_zeros_survive_a_provider_that_sends_numbers(
    service: Service, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, digits="0007", code="number")
    verification = service.start(phone).json()["id"]
    _problem(service.check(verification, "7"), 422, "code_incomplete")
    assert service.check(verification, "0007").status_code == 200


def test_a_call_too_soon_names_the_limit_and_calls_no_one(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone).json()["id"]
    for answer in (service.start(phone), service.post("/verify/resend", {"id": verification, "device": "d" * 256})):
        problem = _problem(answer, 429, "limit_reached")
        assert problem["limit"] == "resend_cooldown"
        assert 28 <= problem["retry_after"] <= 30
    assert simulator.count(phone) == 1


def test_backends_read_the_state_without_the_code_and_an_approved_one_stays_so(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification = service.start(phone, purpose="sign-up").json()["id"]
    body = service.get(f"/verify/{verification}").json()
    assert body | {"status": "pending", "purpose": "sign-up", "calls": 1, "approved_at": None, "test": False} == body
    assert "code" not in body
    assert service.check(verification, simulator.code(phone)).status_code == 200
    body = service.get(f"/verify/{verification}").json()
    assert (body["status"], body["resend_at"], body["resend_in"]) == ("approved", None, None)
    assert body["approved_at"]
    _problem(service.post(f"/verify/{verification}/cancel"), 409, "already_used")
    _problem(service.post("/verify/resend", {"id": verification}), 409, "already_used")


def test_a_canceled_verification_takes_no_code(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone).json()["id"]
    for _ in range(2):
        canceled = service.post(f"/verify/{verification}/cancel")
        assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    _problem(service.check(verification, simulator.code(phone)), 410, "canceled")
    _problem(service.post("/verify/resend", {"id": verification}), 410, "canceled")


@pytest.mark.parametrize(
    ("phone", "code"),
    [
        ("12345", "phone_invalid"),
        ("+7 495 123-45-67", "phone_not_mobile"),
        ("+7 701 123-45-67", "country_not_allowed"),
        ("+7 999 123-45-67 доб. 12", "phone_extension"),
    ],
)
def test_a_phone_that_is_not_called_says_why_to_its_caller_and_the_operator(
    service: Service, phone: str, code: str
) -> None:
    answer = service.post("/verify/start", {"phone": phone}, headers={"X-Request-Id": code})
    assert _problem(answer, 422, code)["detail"]
    (line,) = [line for line in service.lines() if line.get("request_id") == code]
    setting = "LASTDIGITS_ALLOWED_COUNTRIES" if code == "country_not_allowed" else None
    assert (line["error"], line.get("setting")) == (code, setting)


# Strangers' bodies, through HTTP. Each kind of field and media type: unit/test_bodies.py.
@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"[" * 4000, "application/json", 400, "malformed_json"),
        (b'{"phone": "\xff"}', "application/json", 400, "malformed_json"),
        (b'{"phone": "+7999\\u0000"}', "application/json", 422, "phone_invalid"),
        (b'{"phone": "1", "code_length": ' + b"9" * 400 + b"}", "application/json", 422, "invalid_request"),
        (b'{"phone": "+79991234567"}', "", 415, "unsupported_media_type"),
        (b'{"phone": "' + b"9" * 9000 + b'"}', "application/json", 413, "body_too_large"),
    ],
)
def test_a_bad_body_is_a_clear_refusal(service: Service, body: bytes, media_type: str, status: int, code: str) -> None:
    headers = service.headers() | ({"Content-Type": media_type} if media_type else {})
    _problem(service.http.post("/verify/start", content=body, headers=headers), status, code)


def test_a_bad_body_is_never_returned(service: Service) -> None:
    answer = service.post("/verify/check", {"id": "vrf_x", "code": ["secret-4711"], "extra": "secret-4712"})
    assert answer.status_code == 422
    assert "secret" not in answer.text
    assert {error["field"] for error in answer.json()["errors"]} == {"code", "extra"}


def test_one_idempotency_key_holds_over_another_address_and_device(
    service: Service, simulator: Simulator, phone: str
) -> None:
    def start(**body: str) -> httpx.Response:
        headers = {"Idempotency-Key": f"order-{phone[1:]}-0123456789"}
        return service.post("/verify/start", {"phone": phone} | body, headers=headers)

    first, again = start(client_ip="203.0.113.7"), start(client_ip="2001:db8::7", device="d", challenge="c")
    assert (first.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    _problem(start(purpose="other"), 422, "idempotency_key_reused")
    assert simulator.count(phone) == 1


# ---- routes


def test_a_route_that_does_not_exist(service: Service) -> None:
    for path in ("/nowhere", "/verify/start/", "/verify/", "/verify/start/cancel", "/verify/vrf_x/cancel/x", "//"):
        _problem(service.http.get(path), 404, "no_such_route")


READ = (
    "/verify",
    "/verify/vrf_x",
    "/policy",
    "/.well-known/jwks.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
)
ALLOWED = {path: {"POST", "OPTIONS"} for path in ("/verify/start", "/verify/check", "/verify/resend")}
ALLOWED |= {path: {"POST"} for path in ("/verify/redeem", "/verify/vrf_x/cancel")}
ALLOWED |= {path: {"GET", "HEAD"} for path in READ}


@pytest.mark.parametrize("client", [None, "web", "backend"])
@pytest.mark.parametrize("path", ALLOWED)
def test_a_wrong_method_is_405_on_every_route_whatever_the_key(service: Service, path: str, client: str | None) -> None:
    headers = service.headers(client) if client else {}
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} - ALLOWED[path]:
        answer = service.http.request(method, path, headers=headers)
        assert {name.strip() for name in answer.headers["allow"].split(",")} == ALLOWED[path], method
        if method == "HEAD":
            assert (answer.status_code, answer.content) == (405, b"")
        else:
            _problem(answer, 405, "method_not_allowed")


def test_health_and_readiness(service: Service) -> None:
    assert service.http.get("/healthz").json()["status"] == "ok"
    ready = service.http.get("/readyz").json()
    assert (ready["status"], ready["sandbox"]) == ("ready", False)
    assert ready["store"].split()[0] in {"valkey", "redis"}


# ---- what the operator sees of requests


def test_a_log_line_reports_each_step_with_the_requests_id_and_a_masked_phone(
    service: Service, simulator: Simulator, phone: str
) -> None:
    headers = {"X-Request-Id": f"trace-{phone[1:]}"}
    started = service.post("/verify/start", {"phone": phone}, headers=headers)
    service.post("/verify/check", {"id": started.json()["id"], "code": simulator.code(phone)}, headers=headers)
    lines = [line for line in service.lines() if line.get("request_id") == headers["X-Request-Id"]]
    steps = [("call", "placed"), ("start", "placed"), ("check", "approved")]
    assert [(line["event"], line["outcome"]) for line in lines] == steps
    assert {line["phone"] for line in lines} == {f"{phone[:5]}*****{phone[-2:]}"}
    assert lines[0]["price"] == "0.35"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """A service of one worker, of which the other tests ask nothing, for codes of five digits."""
    with serving(tmp_path_factory.mktemp("quiet"), simulator.send_url, CODE_LENGTH="5", WORKERS="1") as service:
        yield service


def test_fewer_digits_than_the_policy_are_refused(quiet: Service, simulator: Simulator, phone: str) -> None:
    assert _problem(quiet.start(phone, code_length=4), 422, "code_length_too_short")["min_code_length"] == 5
    assert simulator.count(phone) == 0
    assert quiet.start(phone).json()["code_length"] == 5


def _counted(service: Service, route: str, method: str, status: int, code: str = "") -> float:
    labels = {"route": route, "method": method, "status": str(status), "code": code}
    return scrape(service.url).get(series("lastdigits_http_requests_total", **labels), 0)


def _requests(service: Service) -> dict[tuple[str, str, int, str], httpx.Request]:
    """One request for each refusal that comes before an operation, by what it is counted as."""
    web, backend = (service.headers(client) for client in ("web", "backend"))
    page, json_type = {"Origin": "https://evil.example"}, {"Content-Type": "application/json"}
    asked, unclosed = {"Access-Control-Request-Method": "POST"}, {"Idempotency-Key": '"unclosed'}
    build = service.http.build_request
    start = "/verify/start"
    return {
        (start, "POST", 401, "key_missing"): build("POST", start, json={}),
        (start, "POST", 401, "key_unknown"): build("POST", start, json={}, headers={"Authorization": "Bearer sk_x"}),
        (start, "POST", 403, "origin_not_allowed"): build("POST", start, json={}, headers=web | page),
        (start, "OPTIONS", 403, "origin_not_allowed"): build("OPTIONS", start, headers=page | asked),
        ("/policy", "GET", 403, "key_not_allowed"): build("GET", "/policy", headers=web),
        ("other", "other", 404, "no_such_route"): build("GET", "/wp-login.php?user=79161234567"),
        (start, "other", 405, "method_not_allowed"): build("GET", start),
        (start, "POST", 400, "malformed_json"): build("POST", start, content=b"{", headers=backend | json_type),
        (start, "POST", 413, "body_too_large"): build("POST", start, content=b"0" * 9000, headers=backend | json_type),
        (start, "POST", 415, "unsupported_media_type"): build("POST", start, content=b"{}", headers=backend),
        (start, "POST", 422, "invalid_request"): build("POST", start, json={"x": 1}, headers=backend),
        (start, "POST", 400, "idempotency_key_invalid"): build("POST", start, json={}, headers=backend | unclosed),
    }


def test_every_refusal_is_counted_by_route_status_and_code_and_leaves_a_line(quiet: Service) -> None:
    for nth, (counted, request) in enumerate(_requests(quiet).items()):
        route, _, status, code = counted
        request.headers["X-Request-Id"] = name = f"refused-{nth}"
        before = _counted(quiet, *counted)
        answer = quiet.http.send(request)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert _counted(quiet, *counted) == before + 1, counted
        (line,) = [each for each in quiet.lines() if (each.get("request_id"), each["event"]) == (name, "refused")]
        assert (line["code"], line["route"], line.get("detail")) == (code, route, answer.json().get("detail"))
        assert "9161234567" not in json.dumps(line)
