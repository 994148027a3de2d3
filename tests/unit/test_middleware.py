"""What leaves a route, whatever it is, becomes an answer with the request's id, a count and a line. The application in process, over a service that fails."""

import json
import re
from importlib.resources import files
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from app.api.address import TrustedProxies
from app.api.clients import Kind, clients_entry, new_key, parse_clients
from app.api.middleware import OTHER, RequestMiddleware, request_series
from app.main import create_app
from app.telemetry.logging import LINES
from app.telemetry.metrics import REQUESTS, Metrics
from app.verification.errors import StoreUnavailable
from app.web.routes import load
from tests.exposition import read, series

SHOP = "https://shop.example"
KEY = new_key(Kind.PUBLIC)
CLIENTS = parse_clients(clients_entry("web", Kind.PUBLIC, KEY, (SHOP,)), "test")
CHECK = {"id": "vrf_x", "code": "1234"}
ETAG = f'"{load(files("app.web") / "static" / "hosted")["page.js"].version}"'
PREFLIGHT = {"Access-Control-Request-Method": "POST"}
STRANGE = PREFLIGHT | {"Origin": "https://strange.example"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1", None, request_series(_app().routes))


def _app() -> Any:
    settings: Any = SimpleNamespace(demo=None)  # the rest is looked at in the lifespan only
    return create_app(settings)


def _serving(metrics: Metrics, error: Exception, *full: bool) -> httpx.AsyncClient:
    """The application over a service whose checks raise, and which is full or not each time that it is asked."""
    app, verifications, asked = _app(), SimpleNamespace(check=AsyncMock(side_effect=error)), iter(full)
    service = SimpleNamespace(
        verifications=verifications,
        clients=CLIENTS,
        proxies=TrustedProxies(),
        warned=set(),
        is_full=lambda: next(asked, False),
        has_hosted_page=lambda _: False,
    )

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app(dict(scope, state={"service": service, "metrics": metrics}), receive, send)

    headers = {"Authorization": f"Bearer {KEY}", "Origin": SHOP, "X-Request-Id": "order-4711"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://test", headers=headers)


def _count(metrics: Metrics, route: str, method: str, status: int, code: str) -> float:
    samples = read(metrics.text("")[0].decode())
    return samples[series(REQUESTS, route=route, method=method, status=str(status), code=code)]


@pytest.mark.parametrize(
    ("error", "status", "code", "member"),
    [
        (StoreUnavailable("redis at 10.0.0.5 is down"), 503, "store_unavailable", "reason"),
        (RuntimeError("code 1234 of +79161234567"), 500, "internal_error", "exc_info"),
    ],
)
async def test_an_exception_is_an_answer_that_a_page_can_read_and_that_hides_why(
    metrics: Metrics, error: Exception, status: int, code: str, member: str
) -> None:
    async with _serving(metrics, error) as http:
        with capture_logs() as lines:
            answer = await http.post("/verify/check", json=CHECK)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["x-request-id"] == "order-4711"
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert str(error) not in answer.text
    (line,) = lines
    assert (line["event"], line["log_level"], line["client"]) == (code, "error", "web")
    assert str(error) in str(line[member])
    assert _count(metrics, "/verify/check", "POST", status, code) == 1


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        *[(form, "store_unavailable") for form in ("Bearer {}", "bearer {}", "BEARER   {}\t")],
        *[(form, "key_missing") for form in ("", "{}", "Bearer", "Bearer ", "Basic {}", "Bearer{}")],
        ("Bearer x {}", "key_unknown"),
    ],
)
async def test_a_key_comes_as_a_bearer_in_any_case(metrics: Metrics, authorization: str, code: str) -> None:
    async with _serving(metrics, StoreUnavailable("it is reached")) as http:
        headers = {"Authorization": authorization.format(KEY)}
        answer = await http.post("/verify/check", json=CHECK, headers=headers)
    assert answer.json()["code"] == code


@pytest.mark.parametrize(("full", "body"), [((True,), b"{"), ((False, True), json.dumps(CHECK).encode())])
async def test_overload_is_judged_after_the_key_and_on_both_sides_of_the_body(
    metrics: Metrics, full: tuple[bool, ...], body: bytes
) -> None:
    async with _serving(metrics, RuntimeError(), *full) as http:
        strange = await http.post("/verify/check", content=body, headers={"Authorization": "Bearer pk_x"})
        answer = await http.post("/verify/check", content=body, headers={"Content-Type": "application/json"})
    assert (strange.status_code, answer.status_code, answer.json()["code"]) == (401, 503, "overloaded")
    assert answer.headers["access-control-allow-origin"] == SHOP, "a page can read it"


@pytest.mark.parametrize("forged", ["", "a b", "x" * 65, "new\tline"])
async def test_an_answer_has_the_callers_name_for_the_request_or_a_new_one(metrics: Metrics, forged: str) -> None:
    async with _serving(metrics, RuntimeError()) as http:
        assert (await http.get("/healthz")).headers["x-request-id"] == "order-4711"
        answer = await http.get("/healthz", headers={"X-Request-Id": forged})
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])


async def test_head_is_get_to_a_route_and_head_to_the_server(metrics: Metrics) -> None:
    async with _serving(metrics, RuntimeError()) as http:
        assert (await http.head("/healthz")).status_code == 200
    assert _count(metrics, "/healthz", "HEAD", 200, "") == 1
    assert _count(metrics, "/healthz", "GET", 200, "") == 0


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/api/verify/start", "/api/verify/start"),
        ("/healthz/", "/healthz/"),
        ("/verify/vrf_vAQ1KyqTjHDtj3Cgw3caoBiOVUzCdEsH9/x", "/verify/…/x"),
        ("/start/+79161234567?code=1234", "/start/+…"),
        ("/v1/phones/+7-916-123-45-67/1234", "/v1/phones/+…/…"),
        ("/123/12345/123", "/123/…/123"),
        (f"/{'x' * 24}/{'x' * 25}/", f"/{'x' * 24}/…/"),
        ("/%E2%98%83%0A%1B[0m", "/………[0m"),
        ("/a" * 3000, "/a" * 50),
    ],
)
async def test_a_path_that_a_caller_made_up_is_no_series_and_its_line_hides_what_it_may_hold(
    metrics: Metrics, path: str, shown: str
) -> None:
    known = set(read(metrics.text("")[0].decode()))
    async with _serving(metrics, RuntimeError()) as http:
        with capture_logs() as lines:
            assert (await http.get(path)).status_code == 404
    assert [(line["code"], line["path"]) for line in lines] == [("no_such_route", shown)]
    assert _count(metrics, OTHER, OTHER, 404, "no_such_route") == 1
    assert set(read(metrics.text("")[0].decode())) == known


@pytest.mark.parametrize(
    ("method", "path", "headers", "route", "counted", "status", "code"),
    [
        ("GET", "/openapi.json", {}, "/openapi.json", "GET", 200, ""),
        ("GET", "/widget/phone-verify.js", {}, "/widget/{file}", "GET", 200, ""),
        ("HEAD", "/hosted/page.js", {}, "/hosted/{file}", "HEAD", 200, ""),
        ("GET", "/hosted/page.js", {"If-None-Match": ETAG}, "/hosted/{file}", "GET", 304, ""),
        ("POST", "/widget/phone-verify.js", {}, "/widget/{file}", OTHER, 405, "method_not_allowed"),
        ("GET", "/widget/of_an_older_version.js", {}, OTHER, OTHER, 404, "no_such_route"),
        ("OPTIONS", "/verify/start", PREFLIGHT, "/verify/start", "OPTIONS", 204, ""),
        ("OPTIONS", "/verify/start", STRANGE, "/verify/start", "OPTIONS", 403, "origin_not_allowed"),
        ("GET", "/verify", {}, "/verify", "GET", 401, "key_missing"),
    ],
)
async def test_files_pages_and_preflights_are_counted_as_documented_routes_are(
    metrics: Metrics, method: str, path: str, headers: dict[str, str], route: str, counted: str, status: int, code: str
) -> None:
    async with _serving(metrics, RuntimeError()) as http:
        assert (await http.request(method, path, headers=headers)).status_code == status
    assert _count(metrics, route, counted, status, code) == 1


@pytest.mark.parametrize(
    ("path", "method", "headers", "level", "code", "shown"),
    [
        ("/verify/check", "POST", {"Authorization": ""}, "warning", "key_missing", "POST"),
        ("/verify/check", "POST", {"Authorization": "Bearer pk_x"}, "warning", "key_unknown", "POST"),
        ("/verify/check", "POST", {"Origin": "https://strange.example"}, "warning", "origin_not_allowed", "POST"),
        ("/verify/redeem", "POST", {}, "warning", "key_not_allowed", "POST"),
        ("/verify/check", "POST", {}, "info", "unsupported_media_type", "POST"),
        ("/verify/check", "PATCH", {}, "info", "method_not_allowed", "PATCH"),
        ("/verify/check", "4711", {}, "info", "method_not_allowed", OTHER),
    ],
)
async def test_a_refusal_is_a_warning_where_the_operator_may_have_set_something_up_wrong(
    metrics: Metrics, path: str, method: str, headers: dict[str, str], level: str, code: str, shown: str
) -> None:
    async with _serving(metrics, RuntimeError()) as http:
        with capture_logs() as lines:
            answer = await http.request(method, path, headers=headers)
    (line,) = lines
    known = {"client": "web"} if code not in {"key_missing", "key_unknown", "method_not_allowed"} else {}
    said = {name: text for name, text in answer.json().items() if name == "detail"}
    expected = {"event": "refused", "log_level": level, "code": code, "route": path, "method": shown}
    assert line == expected | said | known


async def test_a_flood_of_refusals_fills_no_disk(metrics: Metrics) -> None:
    async with _serving(metrics, RuntimeError()) as http:
        with capture_logs() as lines:
            for _ in range(LINES + 10):
                assert (await http.delete("/verify/start")).status_code == 405
    assert len(lines) == LINES
    assert _count(metrics, "/verify/start", OTHER, 405, "method_not_allowed") == LINES + 10


async def test_a_defect_before_any_route_is_counted_as_one(metrics: Metrics) -> None:
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "state": {"metrics": metrics}}
    await RequestMiddleware(AsyncMock(side_effect=RuntimeError()), [])(scope, AsyncMock(), AsyncMock())
    assert _count(metrics, OTHER, OTHER, 500, "internal_error") == 1


async def test_an_answer_that_was_begun_is_not_answered_again(metrics: Metrics) -> None:
    async def breaks_off(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ConnectionError("the caller has gone")

    send = AsyncMock()
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "state": {"metrics": metrics}}
    with capture_logs() as lines:
        await RequestMiddleware(breaks_off, [])(scope, AsyncMock(), send)
    assert [line["log_level"] for line in lines] == ["debug"], "callers go away all the time"
    ((message,), _) = send.await_args_list[0]
    assert send.await_count == 1
    assert message["type"] == "http.response.start"
    assert [name for name, _ in message["headers"]] == [b"x-request-id"]
