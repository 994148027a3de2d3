"""CORS: a page reads answers only of its own client's key, and only if that client names its origin."""

from collections.abc import Iterator

import pytest

from app.api.clients import Kind, clients_entry, new_key
from app.api.origins import LOCALHOST_ORIGINS
from tests.harness import Service, Simulator, serving, wrong

SHOP, EVIL = "https://shop.example", "https://evil.example"
PATHS = ["/verify/start", "/verify/check", "/verify/resend"]


def _preflight(service: Service, path: str, origin: str, headers: str = "authorization") -> tuple[int, dict[str, str]]:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    answer = service.http.options(path, headers=asked)
    return answer.status_code, dict(answer.headers)


@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_of_a_named_origin_is_granted_what_requests_need(service: Service, path: str) -> None:
    status, headers = _preflight(service, path, SHOP)
    assert status == 204
    assert headers["access-control-allow-origin"] == SHOP
    assert headers["access-control-allow-methods"] == "POST"
    assert int(headers["access-control-max-age"]) >= 3600
    vary = headers["vary"].lower()
    assert all(name in vary for name in ("origin", "access-control-request-method", "access-control-request-headers"))
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(
    "wanted",
    [
        "authorization,content-type,idempotency-key,x-request-id",
        "authorization,content-type,traceparent,tracestate,baggage",
        "authorization, content-type, sentry-trace, x-requested-with",
        "x-datadog-origin,x-datadog-sampling-priority,newrelic,x_underscored",
    ],
)
def test_a_page_may_send_any_header(service: Service, wanted: str) -> None:
    _, headers = _preflight(service, "/verify/start", SHOP, wanted)
    assert headers["access-control-allow-headers"] == wanted


@pytest.mark.parametrize("wanted", ["", "a" * 2000, "x: y", "\xe9", "x;y"])
def test_a_list_of_headers_that_is_none_is_not_repeated(service: Service, wanted: str) -> None:
    asked = {b"Origin": SHOP.encode(), b"Access-Control-Request-Method": b"POST"}
    asked[b"Access-Control-Request-Headers"] = wanted.encode("latin-1")
    answer = service.http.options("/verify/start", headers=asked)
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert set(allowed) == {"authorization", "content-type", "idempotency-key", "x-request-id"}


@pytest.mark.parametrize("origin", [EVIL, "null", "https://shop.example.evil.example", "http://shop.example", "*", "é"])
def test_a_preflight_of_any_other_origin_is_refused(service: Service, origin: str) -> None:
    headers = {"Origin": origin.encode("latin-1"), "Access-Control-Request-Method": b"POST"}
    answer = service.http.options("/verify/start", headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert "origin" in answer.headers["vary"].lower()
    assert ("the origin (invalid): add it" if origin == "é" else f"the origin {origin}: add it") in answer.json()[
        "detail"
    ]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/verify/redeem", "/verify/vrf_x", "/verify/vrf_x/cancel", "/healthz", "/openapi.json"]
)
def test_what_pages_do_not_reach_grants_no_preflight(service: Service, path: str) -> None:
    status, headers = _preflight(service, path, SHOP)
    assert status == (404 if path == "/nowhere" else 405)
    assert "access-control-allow-origin" not in headers


def test_every_answer_to_a_page_can_be_read_by_it_and_varies_by_origin(
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


def test_a_request_from_another_origin_says_what_to_configure(service: Service, phone: str) -> None:
    answer = service.post("/verify/start", {"phone": phone}, "web", headers={"Origin": EVIL})
    assert (
        answer.json()["detail"]
        == f"This key's client does not list the origin {EVIL}: add it to `origins` in the clients file."
    )
    assert "native = true" in service.post("/verify/start", {"phone": phone}, "web").json()["detail"]


def test_a_plain_options_request_is_no_preflight(service: Service) -> None:
    answer = service.http.options("/verify/start")
    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """A service whose page's key may be used from localhost, from local files, and from an origin of other letters."""
    directory = tmp_path_factory.mktemp("local")
    keys = {"web": new_key(Kind.PUBLIC), "backend": new_key(Kind.SECRET)}
    origins = (*LOCALHOST_ORIGINS, "null", "file://", "https://пример.рф")
    entries = clients_entry("web", Kind.PUBLIC, keys["web"], origins, audience="backend")
    (directory / "local.toml").write_text(entries + clients_entry("backend", Kind.SECRET, keys["backend"]), "utf-8")
    with serving(
        directory, simulator.send_url, keys, CLIENTS_FILE=str(directory / "local.toml"), WORKERS="1"
    ) as service:
        yield service


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:5173",
        "https://localhost",
        "http://127.0.0.1:8080",
        "http://[::1]:3000",
        "null",
        "file://",
        "https://xn--e1afmkfd.xn--p1ai",
    ],
)
def test_pages_of_ones_own_machine_may_be_allowed(local: Service, origin: str) -> None:
    status, headers = _preflight(local, "/verify/start", origin)
    assert (status, headers["access-control-allow-origin"]) == (204, origin)
    answer = local.post("/verify/start", {"phone": "1"}, "web", headers={"Origin": origin})
    assert (answer.json()["code"], answer.headers["access-control-allow-origin"]) == ("phone_invalid", origin)


@pytest.mark.parametrize("origin", ["http://localhost.evil.example:5173", "http://evil.example", "file:///x"])
def test_no_other_page_is_one_of_ones_own_machine(local: Service, origin: str) -> None:
    assert _preflight(local, "/verify/start", origin)[0] == 403
    assert local.post("/verify/start", {"phone": "1"}, "web", headers={"Origin": origin}).status_code == 403


def test_an_origin_that_anyone_may_send_is_warned_of_at_the_start(local: Service) -> None:
    warnings = [line["detail"] for line in local.lines() if line["event"] == "clients"]
    assert len(warnings) == 2
    assert "'null'" in warnings[1]
