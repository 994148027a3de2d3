"""The files of the widget as they are served, and what the sandbox's pages give away: nothing secret, and nothing outside the sandbox."""

import base64
import hashlib
import socket

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.web import DemoContext, mount_web

MAX_WIDGET = 15 * 1024
SECRET = "sk_of_the_sandbox"
JSON, WIDGET = "application/json", "/widget/phone-verify.js"
# No simulator is there: what asks it gets no answer.
CONTEXT = DemoContext("http://127.0.0.1:9", "pk_1", SECRET, "pk_2")


def client_of(sandbox: DemoContext | None) -> TestClient:
    app = FastAPI(docs_url=None)
    mount_web(app, sandbox=sandbox)
    return TestClient(app)


@pytest.fixture
def live() -> TestClient:
    return client_of(None)


@pytest.fixture
def demo() -> TestClient:
    return client_of(CONTEXT)


def test_the_widget_is_small(live: TestClient) -> None:
    answer = live.get(WIDGET, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) <= MAX_WIDGET


@pytest.mark.parametrize("name", ["phone-verify.js", "lastdigits.js", "challenge.js", "countries.json", "lang/ru.json"])
def test_pages_of_other_origins_may_load_it(live: TestClient, name: str) -> None:
    answer = live.get(f"/widget/{name}")
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] in {"text/javascript; charset=utf-8", JSON}


def test_files_of_the_hosted_page_are_for_it_alone(live: TestClient) -> None:
    headers = live.get("/hosted/page.js").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_named_version_is_kept_and_what_the_browser_has_is_not_sent_again(live: TestClient, encoding: str) -> None:
    accepted = {"Accept-Encoding": encoding}
    plain = live.get(WIDGET, headers=accepted)
    assert (plain.headers["Cache-Control"], plain.headers["Vary"]) == ("public, no-cache", "Accept-Encoding")
    for known in (plain.headers["ETag"], f'"of-an-older-one", W/{plain.headers["ETag"]}'):
        again = live.get(WIDGET, headers=accepted | {"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["Vary"]) == (304, b"", "Accept-Encoding")
    version = plain.headers["ETag"].strip('"').removesuffix("-gzip")
    year = "public, max-age=31536000, immutable"
    assert live.get(f"{WIDGET}?v={version}").headers["Cache-Control"] == year
    assert "immutable" not in live.get(f"{WIDGET}?v=0").headers["Cache-Control"]


def test_a_compressed_file_has_an_etag_of_its_own(live: TestClient) -> None:
    answers = [live.get(WIDGET, headers={"Accept-Encoding": encoding}) for encoding in ("gzip", "identity")]
    assert answers[0].content == answers[1].content
    assert answers[0].headers["ETag"] != answers[1].headers["ETag"]


def test_head_works_and_other_methods_are_named(live: TestClient) -> None:
    head = live.head(WIDGET)
    assert (head.status_code, head.content) == (200, b"")
    refused = live.post(WIDGET)
    assert (refused.status_code, set(refused.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})


@pytest.mark.parametrize(
    "path",
    [
        *("/widget/", "/widget/no.js", "/widget/../demo/app.js", "/widget/%2e%2e/__init__.py", "/widget//etc/passwd"),
        # Of the sandbox only.
        *("/", "/docs", "/demo/context", "/demo/calls", "/demo/policy", "/demo/app.js"),
    ],
)
def test_nothing_else_is_served(live: TestClient, path: str) -> None:
    assert live.get(path).status_code == 404


def test_the_demo_names_the_hash_that_browsers_check(demo: TestClient) -> None:
    digest = base64.b64encode(hashlib.sha384(demo.get(WIDGET).content).digest()).decode()
    assert demo.get("/demo/context").json()["integrity"] == f"sha384-{digest}"


def test_the_demo_never_gives_the_secret_key_away(demo: TestClient) -> None:
    for path in ("/", "/demo/context", "/demo/calls", "/demo/policy", "/demo/app.js", "/docs"):
        answer = demo.get(path)
        assert SECRET not in answer.text + str(answer.headers)
    assert SECRET not in repr(CONTEXT)


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_the_sandboxs_pages_have_a_strict_policy(demo: TestClient, page: str) -> None:
    headers = demo.get(page).headers
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    parts = (part.partition(" ") for part in headers["Content-Security-Policy"].split("; "))
    policy = {name: value for name, _, value in parts}
    for name in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["style-src"] == ("'self' 'unsafe-inline'" if page == "/docs" else "'self'")
    assert policy.get("require-trusted-types-for") == (None if page == "/docs" else "'script'")


def test_the_secret_key_is_sent_to_no_address_of_a_header_and_to_no_proxy(
    demo: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.setblocking(False)
        host = f"127.0.0.1:{stranger.getsockname()[1]}"
        monkeypatch.setenv("ALL_PROXY", f"http://{host}")
        for path in ("/demo/policy", "/demo/calls"):
            assert demo.get(path, headers={"Host": host, "X-Forwarded-Host": host}).status_code == 502
        with pytest.raises(BlockingIOError):
            stranger.accept()


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        *[(body, JSON) for body in (b"", b"{", b"[]", b'{"name": 1}', b'{"name": "delete everything"}', b"\xff")],
        # As a form of another site could send it.
        (b"[" * 100_000, "application/json"),
        *[(b'{"name": "busy"}', media_type) for media_type in ("text/plain", "application/x-www-form-urlencoded")],
    ],
)
def test_only_named_scenarios_reach_the_simulator(demo: TestClient, body: bytes, media_type: str) -> None:
    assert demo.put("/demo/scenario", content=body, headers={"Content-Type": media_type}).status_code == 404


def test_what_the_hosted_page_brings_is_shown_as_text(demo: TestClient) -> None:
    answer = demo.post("/demo/returned", data={"state": "<script>alert(1)</script>$fields", "error": "canceled"})
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$fields" in answer.text
    assert "<script>alert" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_simulator_that_is_gone_is_said(demo: TestClient) -> None:
    assert demo.get("/demo/calls").status_code == 502
    assert demo.put("/demo/scenario", json={"name": "busy"}).status_code == 502
