"""CORS: a page reads answers only of its own client's key, and only if that client names its origin."""

import pytest

from app.api.clients import Kind, clients_entry, new_key
from app.api.origins import LOCALHOST_ORIGINS
from tests.harness import Service, Simulator, serving, wrong

SHOP, EVIL = "https://shop.example", "https://evil.example"
NOT_SHOWN = {"é", "a\tb", f"https://{'a' * 100}.example"}


def _preflight(service: Service, path: str, origin: str, headers: str = "authorization") -> tuple[int, dict[str, str]]:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    sent = [(name.encode(), value.encode("latin-1")) for name, value in asked.items()]
    answer = service.http.options(path, headers=sent)
    return answer.status_code, dict(answer.headers) | (answer.json() if answer.content else {})


@pytest.mark.parametrize("path", ["/verify/start", "/verify/check", "/verify/resend"])
def test_a_preflight_of_a_named_origin_is_granted_what_requests_need(service: Service, path: str) -> None:
    status, headers = _preflight(service, path, SHOP)
    assert status == 204
    assert headers["access-control-allow-origin"] == SHOP
    assert headers["access-control-allow-methods"] == "POST"
    assert (headers["access-control-max-age"], headers["cache-control"]) == ("7200", "no-store")
    vary = headers["vary"].lower()
    assert all(name in vary for name in ("origin", "access-control-request-method", "access-control-request-headers"))
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(
    ("wanted", "repeated"),
    [
        ("authorization,content-type,traceparent,tracestate,baggage", True),
        ("x-datadog-origin,x-datadog-sampling-priority,newrelic,x_underscored", True),
        ("", False),
        ("a" * 2000, False),
        ("\xe9", False),
        ("x;y", False),
    ],
)
def test_a_page_may_send_any_header_and_what_is_none_is_not_repeated(
    service: Service, wanted: str, repeated: bool
) -> None:
    _, headers = _preflight(service, "/verify/start", SHOP, wanted)
    usual = "authorization, content-type, idempotency-key, x-request-id"
    assert headers["access-control-allow-headers"] == (wanted if repeated else usual)


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "https://shop.example.evil.example", "http://shop.example", "*", *sorted(NOT_SHOWN)]
)
def test_a_preflight_of_any_other_origin_is_refused(service: Service, origin: str) -> None:
    status, answer = _preflight(service, "/verify/start", origin)
    assert (status, answer["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer
    assert "origin" in answer["vary"].lower()
    assert f"the origin {'(invalid)' if origin in NOT_SHOWN else origin}: add it" in answer["detail"]


@pytest.mark.parametrize("path", ["/nowhere", "/verify/redeem", "/verify/vrf_x/cancel", "/healthz", "/openapi.json"])
def test_what_pages_do_not_reach_grants_no_preflight(service: Service, path: str) -> None:
    status, headers = _preflight(service, path, SHOP)
    assert status == (404 if path == "/nowhere" else 405)
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("headers", [{}, {"Origin": SHOP}, {"Access-Control-Request-Method": "POST"}])
def test_a_plain_options_request_is_no_preflight(service: Service, headers: dict[str, str]) -> None:
    answer = service.http.options("/verify/start", headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")


def test_every_answer_to_a_page_can_be_read_by_it_and_varies_by_origin(
    service: Service, simulator: Simulator, phone: str
) -> None:
    page, start = {"Origin": SHOP}, "/verify/start"
    started = service.post(start, {"phone": phone}, "web", headers=page)
    begun, code = {"id": started.json()["id"]}, simulator.code(phone)
    broken = page | service.headers("web") | {"Content-Type": "application/json"}
    answers = [
        started,
        service.post(start, {"phone": phone}, "web", headers=page),
        service.post(start, {"phone": phone, "client_ip": "203.0.113.7"}, "web", headers=page),
        service.post(start, {"phone": phone}, "web", headers=page | {"Idempotency-Key": "short"}),
        service.http.post(start, content=b"{", headers=broken),
        service.post("/verify/check", begun | {"code": wrong(code)}, "web", headers=page),
        service.post("/verify/check", begun | {"code": code}, "web", headers=page),
        service.post("/verify/resend", begun, "web", headers=page),
    ]
    assert [answer.status_code for answer in answers] == [201, 429, 422, 400, 400, 422, 200, 409]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert {"retry-after", "x-request-id", "idempotency-replayed", "ratelimit", "ratelimit-policy"} == {
            name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")
        }
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("authorization", "origin", "status", "detail"),
    [
        (
            "web",
            EVIL,
            403,
            f"This key's client does not list the origin {EVIL}: add it to `origins` in the clients file.",
        ),
        ("app", SHOP, 403, f"does not list the origin {SHOP}"),
        ("web", None, 403, "native = true"),
        ("backend", SHOP, 422, ""),
        (None, SHOP, 401, "Bearer"),
        ("pk_x", SHOP, 401, "No client has this key."),
    ],
)
def test_no_other_answer_can_be_read_by_a_page_and_it_says_what_to_configure(
    service: Service, authorization: str | None, origin: str | None, status: int, detail: str
) -> None:
    headers = {"Authorization": f"Bearer {service.keys.get(authorization, authorization)}"} if authorization else {}
    answer = service.http.post(
        "/verify/start", json={"phone": "1"}, headers=headers | ({"Origin": origin} if origin else {})
    )
    assert (answer.status_code, detail in answer.json().get("detail", "")) == (status, True)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


def test_pages_of_ones_own_machine_may_be_allowed_and_what_anyone_may_send_is_warned_of(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator
) -> None:
    directory, key = tmp_path_factory.mktemp("local"), new_key(Kind.PUBLIC)
    origins = (*LOCALHOST_ORIGINS, "null", "https://пример.рф")
    (directory / "local.toml").write_text(clients_entry("web", Kind.PUBLIC, key, origins), "utf-8")
    settings = {"CLIENTS_FILE": str(directory / "local.toml"), "WORKERS": "1"}
    with serving(directory, simulator.send_url, {"web": key}, **settings) as service:
        for origin in ("http://localhost:5173", "http://[::1]:3000", "null", "https://xn--e1afmkfd.xn--p1ai"):
            status, headers = _preflight(service, "/verify/start", origin)
            assert (status, headers["access-control-allow-origin"]) == (204, origin)
            answer = service.post("/verify/start", {"phone": "1"}, "web", headers={"Origin": origin})
            assert (answer.json()["code"], answer.headers["access-control-allow-origin"]) == ("phone_invalid", origin)
        assert _preflight(service, "/verify/start", "http://localhost.evil.example:5173")[0] == 403
        (warning,) = [line["detail"] for line in service.lines() if line["event"] == "clients"]
        assert "'null'" in warning
