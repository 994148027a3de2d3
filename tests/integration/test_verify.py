"""The main job through HTTP: the contract's statuses, codes and members, as a caller meets them."""

import json
import re
from collections.abc import Callable, Iterator
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
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"urn:lastdigits:problem:{code}"
    assert problem["title"]
    if "retry_after" in problem:
        assert answer.headers["retry-after"] == str(problem["retry_after"])
    return problem


def test_a_phone_is_verified_from_start_to_end(service: Service, simulator: Simulator, phone: str) -> None:
    started = service.start(f"8 ({phone[2:5]}) {phone[5:8]}-{phone[8:]}", purpose="login")
    assert started.status_code == 201, started.text
    body = started.json()
    assert set(body) == {
        *("id", "status", "phone", "code_length", "attempts_left"),
        *("created_at", "expires_at", "expires_in", "resend_at", "resend_in"),
    }
    assert re.fullmatch(r"vrf_[A-Za-z0-9_-]{44}", body["id"])
    assert (body["status"], body["phone"], body["code_length"], body["attempts_left"]) == ("pending", phone, 4, 3)
    assert (body["expires_in"], body["resend_in"]) == (300, 30)
    created, resend = (datetime.fromisoformat(body[name]) for name in ("created_at", "resend_at"))
    assert (resend - created).total_seconds() == 30
    assert body["created_at"].endswith("Z")

    assert simulator.count(phone) == 1
    approved = service.check(body["id"], simulator.code(phone))
    assert approved.status_code == 200
    assert set(approved.json()) == {"id", "status", "phone", "approved_at", "token", "token_expires_in", "device"}
    assert (approved.json()["id"], approved.json()["status"]) == (body["id"], "approved")
    assert (approved.json()["phone"], approved.json()["token_expires_in"]) == (phone, 600)


def test_a_wrong_code_is_422_and_says_how_many_are_left(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone).json()["id"]
    code = simulator.code(phone)
    for left in (2, 1, 0):
        assert _problem(service.check(verification, wrong(code)), 422, "code_incorrect")["attempts_left"] == left
    _problem(service.check(verification, code), 429, "attempts_exhausted")


def test_the_whole_number_that_called_counts_as_its_last_digits(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification = service.start(phone).json()["id"]
    calling = simulator.calls(phone)[0]["from"]
    assert service.check(verification, f"+{calling[:1]} ({calling[1:4]}) {calling[4:]}").status_code == 200


def test_too_few_digits_cost_no_attempt(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone).json()["id"]
    code = simulator.code(phone)
    for typed in (code[1:], "", "abcd"):
        assert _problem(service.check(verification, typed), 422, "code_incomplete")["code_length"] == 4
    assert service.get(f"/verify/{verification}").json()["attempts_left"] == 3
    assert service.check(verification, code).status_code == 200


@pytest.mark.parametrize("length", [5, 6])
def test_more_digits_may_be_asked_for(service: Service, simulator: Simulator, phone: str, length: int) -> None:
    started = service.start(phone, code_length=length)
    assert started.json()["code_length"] == length
    code = simulator.code(phone)
    assert len(code) == length
    _problem(service.check(started.json()["id"], code[1:]), 422, "code_incomplete")
    assert service.check(started.json()["id"], code).status_code == 200


def test_leading_zeros_survive_a_provider_that_sends_numbers(
    service: Service, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, digits="0007", code="number")
    verification = service.start(phone).json()["id"]
    _problem(service.check(verification, "7"), 422, "code_incomplete")
    assert service.check(verification, "0007").status_code == 200


def test_a_second_start_too_soon_names_the_limit_and_calls_no_one(
    service: Service, simulator: Simulator, phone: str
) -> None:
    service.start(phone)
    problem = _problem(service.start(phone), 429, "limit_reached")
    assert problem["limit"] == "resend_cooldown"
    assert 28 <= problem["retry_after"] <= 30
    assert simulator.count(phone) == 1


def test_a_resend_too_soon_names_the_limit(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone).json()["id"]
    assert (
        _problem(service.post("/verify/resend", {"id": verification}), 429, "limit_reached")["limit"]
        == "resend_cooldown"
    )
    assert simulator.count(phone) == 1


def test_backends_read_the_state_without_the_code(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone, purpose="sign-up").json()["id"]
    state = service.get(f"/verify/{verification}")
    assert state.status_code == 200
    body = state.json()
    assert (body["status"], body["purpose"], body["calls"], body["approved_at"]) == ("pending", "sign-up", 1, None)
    assert "code" not in body
    service.check(verification, simulator.code(phone))
    body = service.get(f"/verify/{verification}").json()
    assert (body["status"], body["resend_at"]) == ("approved", None)
    assert body["approved_at"]


def test_a_canceled_verification_takes_no_code(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone).json()["id"]
    for _ in range(2):
        canceled = service.post(f"/verify/{verification}/cancel")
        assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    _problem(service.check(verification, simulator.code(phone)), 410, "canceled")
    _problem(service.post("/verify/resend", {"id": verification}), 410, "canceled")


def test_an_approved_verification_cant_be_canceled_or_used_for_a_wrong_code(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification = service.start(phone).json()["id"]
    code = simulator.code(phone)
    assert service.check(verification, code).status_code == 200
    _problem(service.post(f"/verify/{verification}/cancel"), 409, "already_used")
    _problem(service.check(verification, wrong(code)), 409, "already_used")
    _problem(service.post("/verify/resend", {"id": verification}), 409, "already_used")


@pytest.mark.parametrize(
    ("phone", "code"),
    [
        ("12345", "phone_invalid"),
        ("+7 495 123-45-67", "phone_not_mobile"),
        ("+7 701 123-45-67", "country_not_allowed"),
        ("+7 999 123-45-67 доб. 12", "phone_extension"),
    ],
)
def test_a_phone_that_is_not_called_says_why(service: Service, phone: str, code: str) -> None:
    assert _problem(service.start(phone), 422, code)["detail"]


def test_a_country_that_is_not_called_is_logged_with_the_setting(service: Service) -> None:
    headers = {"X-Request-Id": "not-allowed"}
    service.post("/verify/start", {"phone": "+7 701 123-45-67"}, headers=headers)
    (line,) = [line for line in service.lines() if line.get("request_id") == "not-allowed"]
    assert (line["error"], line["setting"]) == ("country_not_allowed", "LASTDIGITS_ALLOWED_COUNTRIES")


def test_fewer_digits_than_the_policy_are_refused(quiet: Service, simulator: Simulator, phone: str) -> None:
    assert _problem(quiet.start(phone, code_length=4), 422, "code_length_too_short")["min_code_length"] == 5
    assert simulator.count(phone) == 0
    assert quiet.start(phone).json()["code_length"] == 5


BAD_BODIES: list[tuple[bytes, str, int, str]] = [
    (b"", "application/json", 400, "malformed_json"),
    (b"{", "application/json", 400, "malformed_json"),
    (b"\xff\xfe", "application/json", 400, "malformed_json"),
    (b'{"phone": "\xff"}', "application/json", 400, "malformed_json"),
    (b"[" * 4000, "application/json", 400, "malformed_json"),
    (b'{"phone":' * 800, "application/json", 400, "malformed_json"),
    (b'{"phone": "\\ud800"}', "application/json", 400, "malformed_json"),
    (b"[]", "application/json", 422, "invalid_request"),
    (b"null", "application/json", 422, "invalid_request"),
    (b"{}", "application/json", 422, "invalid_request"),
    (b'{"phone": 79991234567}', "application/json", 422, "invalid_request"),
    (b'{"phone": null}', "application/json", 422, "invalid_request"),
    (b'{"phone": ["+79991234567"]}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+7999\\u0000"}', "application/json", 422, "phone_invalid"),
    (b'{"phone": "' + b"9" * 65 + b'"}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "code_length": ' + b"9" * 400 + b"}", "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "code_length": "4"}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "code_length": 4.5}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "code_length": 3}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "code_length": 7}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "code": "0000"}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "max_attempts": 99}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "ttl": 9999}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "purpose": "a b"}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567", "client_ip": "nowhere"}', "application/json", 422, "invalid_request"),
    (b'{"phone": "+79991234567"}', "text/plain", 415, "unsupported_media_type"),
    (b'{"phone": "+79991234567"}', "", 415, "unsupported_media_type"),
    (b"phone=%2B79991234567", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    (b'{"phone": "' + b"9" * 9000 + b'"}', "application/json", 413, "body_too_large"),
]


@pytest.mark.parametrize(("body", "media_type", "status", "code"), BAD_BODIES, ids=lambda value: str(value)[:30])
def test_a_bad_body_is_a_clear_refusal(service: Service, body: bytes, media_type: str, status: int, code: str) -> None:
    headers = service.headers() | ({"Content-Type": media_type} if media_type else {})
    _problem(service.http.post("/verify/start", content=body, headers=headers), status, code)


def test_a_bad_body_is_never_returned(service: Service) -> None:
    answer = service.post("/verify/check", {"id": "vrf_x", "code": ["secret-4711"], "extra": "secret-4712"})
    assert answer.status_code == 422
    assert "secret" not in answer.text
    assert {error["field"] for error in answer.json()["errors"]} == {"code", "extra"}


def test_a_device_token_is_taken_on_start_check_and_resend(service: Service, simulator: Simulator, phone: str) -> None:
    device = {"device": "d" * 256}
    started = service.start(phone, **device)
    assert started.status_code == 201
    verification = started.json()["id"]
    _problem(service.post("/verify/resend", {"id": verification, **device}), 429, "limit_reached")
    approved = service.post("/verify/check", {"id": verification, "code": simulator.code(phone), **device})
    assert isinstance(approved.json()["device"], str)


def test_one_idempotency_key_holds_over_another_address_and_device(
    service: Service, simulator: Simulator, phone: str
) -> None:
    key = {"Idempotency-Key": f"order-{phone[1:]}-0123456789"}
    first = service.post("/verify/start", {"phone": phone, "client_ip": "203.0.113.7"}, headers=key)
    assert first.status_code == 201
    again = service.post(
        "/verify/start", {"phone": phone, "client_ip": "2001:db8::7", "device": "d", "challenge": "c"}, headers=key
    )
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
    other = service.post("/verify/start", {"phone": phone, "purpose": "other"}, headers=key)
    _problem(other, 422, "idempotency_key_reused")
    assert simulator.count(phone) == 1


def test_a_large_body_without_a_length_is_cut_off(service: Service) -> None:
    def chunks() -> Any:
        yield b'{"phone": "'
        for _ in range(20):
            yield b"9" * 1000

    headers = service.headers() | {"Content-Type": "application/json"}
    _problem(service.http.post("/verify/start", content=chunks(), headers=headers), 413, "body_too_large")


def test_a_route_that_does_not_exist(service: Service) -> None:
    for path in ("/nowhere", "/verify/start/", "/verify/", "/verify/start/cancel", "/verify/vrf_x/cancel/x", "//"):
        _problem(service.http.get(path), 404, "no_such_route")


ALLOWED = {
    "/verify": {"GET", "HEAD"},
    "/verify/start": {"POST", "OPTIONS"},
    "/verify/check": {"POST", "OPTIONS"},
    "/verify/resend": {"POST", "OPTIONS"},
    "/verify/redeem": {"POST"},
    "/verify/vrf_x": {"GET", "HEAD"},
    "/verify/vrf_x/cancel": {"POST"},
    "/policy": {"GET", "HEAD"},
    "/.well-known/jwks.json": {"GET", "HEAD"},
    "/healthz": {"GET", "HEAD"},
    "/readyz": {"GET", "HEAD"},
    "/metrics": {"GET", "HEAD"},
    "/openapi.json": {"GET", "HEAD"},
}


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


@pytest.mark.parametrize("path", [path for path, methods in ALLOWED.items() if "HEAD" in methods])
def test_head_answers_as_get_does_without_the_body_and_the_connection_goes_on(service: Service, path: str) -> None:
    with httpx.Client(base_url=service.url, headers=service.headers(), timeout=2) as http:
        for _ in range(3):
            head, got = http.head(path), http.get(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-type"] == got.headers["content-type"]
            if path not in {"/metrics", "/policy"}:  # what these answer changes
                assert head.headers["content-length"] == got.headers["content-length"]


def test_every_answer_names_its_request_and_takes_the_callers_name_for_it(service: Service) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", service.http.get("/healthz").headers["x-request-id"])
    named = service.http.get("/healthz", headers={"X-Request-Id": "order-4711"})
    assert named.headers["x-request-id"] == "order-4711"
    for forged in ("a b", "x" * 65, "new\tline"):
        assert service.http.get("/healthz", headers={"X-Request-Id": forged}).headers["x-request-id"] != forged


def test_health_and_readiness(service: Service) -> None:
    assert service.http.get("/healthz").json()["status"] == "ok"
    ready = service.http.get("/readyz").json()
    assert (ready["status"], ready["sandbox"]) == ("ready", False)
    assert ready["store"].split()[0] in {"valkey", "redis"}


def test_a_log_line_reports_each_step_with_the_requests_id_and_a_masked_phone(
    service: Service, simulator: Simulator, phones: Callable[[], str]
) -> None:
    phone = phones()
    headers = {"X-Request-Id": f"trace-{phone[1:]}"}
    started = service.post("/verify/start", {"phone": phone}, headers=headers)
    service.post("/verify/check", {"id": started.json()["id"], "code": simulator.code(phone)}, headers=headers)
    lines = [line for line in service.lines() if line.get("request_id") == headers["X-Request-Id"]]
    assert [(line["event"], line["outcome"]) for line in lines] == [
        ("call", "placed"),
        ("start", "placed"),
        ("check", "approved"),
    ]
    assert {line["phone"] for line in lines} == {f"{phone[:5]}*****{phone[-2:]}"}
    assert lines[0]["price"] == "0.35"


# ---- what the operator sees of requests


def _counted(service: Service, route: str, method: str, status: int, code: str = "") -> float:
    labels = {"route": route, "method": method, "status": str(status), "code": code}
    return scrape(service.url).get(series("lastdigits_http_requests_total", **labels), 0)


def _refusals(service: Service, name: str) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line.get("request_id") == name and line["event"] == "refused"]


def _requests(service: Service) -> dict[tuple[str, str, int, str], httpx.Request]:
    """One request for each refusal that comes before an operation, by what it is counted as."""
    web, backend = (service.headers(client) for client in ("web", "backend"))
    page, json_type = {"Origin": "https://evil.example"}, {"Content-Type": "application/json"}
    asked = {"Access-Control-Request-Method": "POST"}
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
        (start, "POST", 400, "idempotency_key_invalid"): build(
            "POST", start, json={}, headers=backend | {"Idempotency-Key": '"unclosed'}
        ),
    }


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """A service of one worker, of which the other tests ask nothing, for codes of five digits."""
    with serving(tmp_path_factory.mktemp("quiet"), simulator.send_url, CODE_LENGTH="5", WORKERS="1") as service:
        yield service


def test_every_refusal_is_counted_by_route_status_and_code_and_leaves_a_line(quiet: Service) -> None:
    for nth, (counted, request) in enumerate(_requests(quiet).items()):
        route, _, status, code = counted
        request.headers["X-Request-Id"] = name = f"refused-{nth}"
        before = _counted(quiet, *counted)
        answer = quiet.http.send(request)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert _counted(quiet, *counted) == before + 1, counted
        (line,) = _refusals(quiet, name)
        assert (line["code"], line["route"]) == (code, route)
        if "detail" in answer.json():
            assert line["detail"] == answer.json()["detail"]
        assert "9161234567" not in json.dumps(line)


def test_what_is_answered_is_counted_too(service: Service, simulator: Simulator, phone: str) -> None:
    counts = [
        ("/verify/start", "POST", 201, ""),
        ("/verify/check", "POST", 422, "code_incorrect"),
        ("/verify/check", "POST", 200, ""),
        ("/verify/{verification_id}", "GET", 200, ""),
        ("/verify/{verification_id}", "HEAD", 404, "verification_not_found"),
        ("/verify/start", "OPTIONS", 204, ""),
        ("/openapi.json", "GET", 200, ""),
    ]
    before = [_counted(service, *count) for count in counts]
    verification = service.start(phone).json()["id"]
    code = simulator.code(phone)
    service.check(verification, wrong(code))
    service.check(verification, code)
    service.get(f"/verify/{verification}")
    service.http.head("/verify/vrf_x", headers=service.headers())
    service.http.options(
        "/verify/start", headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    )
    service.http.get("/openapi.json")
    assert [_counted(service, *count) for count in counts] == [count + 1 for count in before]


def test_a_flood_of_refusals_fills_no_disk(quiet: Service) -> None:
    before = _counted(quiet, "/verify/start", "other", 405, "method_not_allowed")
    for _ in range(200):
        assert quiet.http.delete("/verify/start").status_code == 405
    lines = [line for line in quiet.lines() if line.get("code") == "method_not_allowed"]
    assert len(lines) <= 20, "ten in ten seconds, and 200 requests take no longer than twenty"
    assert _counted(quiet, "/verify/start", "other", 405, "method_not_allowed") == before + 200
