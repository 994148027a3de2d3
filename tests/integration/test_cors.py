"""CORS: a page reads answers only of its own client's key, and only if that client names its origin."""

import pytest

from tests.harness import Service, Simulator, wrong

SHOP, EVIL = "https://shop.example", "https://evil.example"
PATHS = ["/verify/start", "/verify/check", "/verify/resend"]


def _preflight(service: Service, path: str, origin: str, method: str = "POST") -> tuple[int, dict[str, str]]:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }
    answer = service.http.options(path, headers=headers)
    return answer.status_code, dict(answer.headers)


@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_of_a_named_origin_is_granted_what_requests_need(service: Service, path: str) -> None:
    status, headers = _preflight(service, path, SHOP)
    assert status == 204
    assert headers["access-control-allow-origin"] == SHOP
    assert headers["access-control-allow-methods"] == "POST"
    allowed = {name.strip().lower() for name in headers["access-control-allow-headers"].split(",")}
    assert allowed == {"authorization", "content-type", "idempotency-key", "x-request-id"}
    vary = headers["vary"].lower()
    assert all(name in vary for name in ("origin", "access-control-request-method", "access-control-request-headers"))
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("origin", [EVIL, "null", "https://shop.example.evil.example", "http://shop.example", "*", "é"])
def test_a_preflight_of_any_other_origin_is_refused(service: Service, origin: str) -> None:
    headers = {"Origin": origin.encode("latin-1"), "Access-Control-Request-Method": b"POST"}
    answer = service.http.options("/verify/start", headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    "path", ["/verify/redeem", "/verify/vrf_x", "/verify/vrf_x/cancel", "/healthz", "/openapi.json"]
)
def test_what_pages_do_not_reach_grants_no_preflight(service: Service, path: str) -> None:
    status, headers = _preflight(service, path, SHOP)
    assert status in {404, 405}
    assert "access-control-allow-origin" not in headers


def test_every_answer_to_a_page_can_be_read_by_it_and_tells_caches_why(
    service: Service, simulator: Simulator, phone: str
) -> None:
    page = {"Origin": SHOP}
    started = service.post("/verify/start", {"phone": phone}, "web", headers=page)
    verification = started.json()["id"]
    answers = [
        started,
        service.post("/verify/start", {"phone": phone}, "web", headers=page),
        service.post("/verify/start", {"phone": "1"}, "web", headers=page),
        service.post("/verify/start", {"phone": phone, "client_ip": "203.0.113.7"}, "web", headers=page),
        service.post("/verify/start", {"phone": phone}, "web", headers=page | {"Idempotency-Key": "short"}),
        service.http.post(
            "/verify/start", content=b"{", headers=page | service.headers("web") | {"Content-Type": "application/json"}
        ),
        service.post("/verify/check", {"id": verification, "code": wrong(simulator.code(phone))}, "web", headers=page),
        service.post("/verify/check", {"id": verification, "code": simulator.code(phone)}, "web", headers=page),
        service.post("/verify/resend", {"id": verification}, "web", headers=page),
    ]
    assert {answer.status_code for answer in answers} == {200, 201, 400, 409, 422, 429}
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert {"retry-after", "x-request-id", "idempotency-replayed", "ratelimit", "ratelimit-policy"} == {
            name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")
        }
        assert answer.headers["vary"] == "Origin"


def test_no_other_answer_can_be_read_by_a_page(service: Service, phone: str) -> None:
    answers = [
        service.post("/verify/start", {"phone": phone}, "web", headers={"Origin": EVIL}),
        service.post("/verify/start", {"phone": phone}, "app", headers={"Origin": SHOP}),
        service.post("/verify/start", {"phone": phone}, "backend", headers={"Origin": SHOP}),
        service.http.post("/verify/start", json={"phone": phone}, headers={"Origin": SHOP}),
        service.http.post(
            "/verify/start", json={"phone": phone}, headers={"Origin": SHOP, "Authorization": "Bearer pk_x"}
        ),
        service.post("/verify/start", {"phone": phone}, "web"),
    ]
    assert [answer.status_code for answer in answers] == [403, 403, 201, 401, 401, 403]
    for answer in answers:
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


def test_a_plain_options_request_is_no_preflight(service: Service) -> None:
    answer = service.http.options("/verify/start")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
