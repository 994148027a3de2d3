"""The files of the widget as they are served, and what the sandbox's pages give away: nothing secret, and nothing outside the sandbox."""

import base64
import gzip
import hashlib

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.web import DemoContext, mount_web

MAX_WIDGET = 15 * 1024
SECRET = "sk_of_the_sandbox"


def client_of(sandbox: DemoContext | None) -> TestClient:
    app = FastAPI(docs_url=None)
    mount_web(app, sandbox=sandbox)
    return TestClient(app)


@pytest.fixture
def live() -> TestClient:
    return client_of(None)


@pytest.fixture
def demo() -> TestClient:
    # No simulator is there: what asks it gets no answer.
    return client_of(DemoContext("http://127.0.0.1:9", "pk_1", SECRET))


def test_the_widget_is_small(live: TestClient) -> None:
    answer = live.get("/widget/phone-verify.js", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) <= MAX_WIDGET
    assert len(gzip.compress(answer.content)) <= MAX_WIDGET


def test_pages_of_other_origins_may_load_it(live: TestClient) -> None:
    for name in ("phone-verify.js", "lastdigits.js", "challenge.js", "countries.json", "lang/ru.json"):
        answer = live.get(f"/widget/{name}")
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"].split(";")[0] in {"text/javascript", "application/json"}


def test_a_named_version_is_kept_and_any_other_is_asked_for_again(live: TestClient) -> None:
    plain = live.get("/widget/phone-verify.js", headers={"Accept-Encoding": "identity"})
    assert plain.headers["Cache-Control"] == "public, no-cache"
    version = plain.headers["ETag"].strip('"')
    assert "immutable" in live.get(f"/widget/phone-verify.js?v={version}").headers["Cache-Control"]
    assert "immutable" not in live.get("/widget/phone-verify.js?v=0").headers["Cache-Control"]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_what_the_browser_has_is_not_sent_again(live: TestClient, encoding: str) -> None:
    accepted = {"Accept-Encoding": encoding}
    etag = live.get("/widget/phone-verify.js", headers=accepted).headers["ETag"]
    again = live.get("/widget/phone-verify.js", headers=accepted | {"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Vary"] == "Accept-Encoding"


def test_head_works_and_other_methods_are_named(live: TestClient) -> None:
    head = live.head("/widget/phone-verify.js")
    assert (head.status_code, head.content) == (200, b"")
    refused = live.post("/widget/phone-verify.js")
    assert refused.status_code == 405
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path", ["/widget/", "/widget/no.js", "/widget/../demo/app.js", "/widget/%2e%2e/__init__.py", "/widget//etc/passwd"]
)
def test_nothing_else_is_served(live: TestClient, path: str) -> None:
    assert live.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/demo/context", "/demo/calls", "/demo/policy", "/demo/app.js"])
def test_outside_the_sandbox_there_is_no_demo(live: TestClient, path: str) -> None:
    assert live.get(path).status_code == 404


def test_the_demo_names_the_hash_that_browsers_check(demo: TestClient) -> None:
    content = demo.get("/widget/phone-verify.js").content
    expected = "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
    assert demo.get("/demo/context").json()["integrity"] == expected


def test_the_demo_never_gives_the_secret_key_away(demo: TestClient) -> None:
    for path in ("/", "/demo/context", "/demo/calls", "/demo/policy", "/demo/app.js", "/docs"):
        answer = demo.get(path)
        assert SECRET not in answer.text + str(answer.headers)
    assert SECRET not in repr(DemoContext("http://127.0.0.1:9", "pk_1", SECRET))


def test_the_demo_has_a_strict_policy(demo: TestClient) -> None:
    policy = demo.get("/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"name": 1}', b'{"name": "delete everything"}', b"\xff"])
def test_only_named_scenarios_reach_the_simulator(demo: TestClient, body: bytes) -> None:
    answer = demo.put("/demo/scenario", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 404


def test_a_form_of_another_site_chooses_no_scenario(demo: TestClient) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded"):
        answer = demo.put("/demo/scenario", content=b'{"name": "busy"}', headers={"Content-Type": media_type})
        assert answer.status_code == 404


def test_what_the_hosted_page_brings_is_shown_as_text(demo: TestClient) -> None:
    answer = demo.post("/demo/returned", data={"state": "<script>alert(1)</script>$fields", "error": "canceled"})
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$fields" in answer.text
    assert "<script>alert" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_simulator_that_is_gone_is_said(demo: TestClient) -> None:
    assert demo.get("/demo/calls").status_code == 502
    answer = demo.put("/demo/scenario", json={"name": "busy"})
    assert answer.status_code == 502
