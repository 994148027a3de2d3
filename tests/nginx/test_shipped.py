"""deploy/nginx.conf as it is shipped; only its addresses, certificate and log are the test's."""

from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from tests.harness import Simulator
from tests.nginx.server import Site

pytestmark = pytest.mark.nginx


def test_a_phone_is_verified_through_it(shipped: Site, simulator: Simulator, phone: str, address: str) -> None:
    started = shipped.ask("POST", "/verify/start", address, body={"phone": phone})
    assert started.status_code == 201, started.text
    assert started.headers["strict-transport-security"]
    body = {"id": started.json()["id"], "code": simulator.code(phone)}
    checked = shipped.ask("POST", "/verify/check", address, body=body)
    assert (checked.status_code, checked.json()["phone"]) == (200, phone)
    resent = shipped.ask("POST", "/verify/resend", body={"id": body["id"]})
    assert (resent.status_code, resent.json()["code"]) == (409, "already_used")
    logs = "".join((shipped.directory / name).read_text("utf-8") for name in ("access.log", "error.log"))
    assert "/verify/check" in logs
    assert phone[1:] not in logs
    assert body["id"] not in logs


@pytest.mark.parametrize("path", ["/verify/start", "/verify/check", "/verify/resend"])
def test_a_browser_asks_first_and_may(shipped: Site, path: str) -> None:
    asking = [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "POST")]
    answer = shipped.ask("OPTIONS", path, headers=asking)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "https://shop.example")


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/jwks.json",
        "/widget/phone-verify.js",
        "/widget/lang/ru.json",
        "/hosted/page.js",
        "/hosted/page.css",
    ],
)
def test_everybody_reaches_the_public_keys_the_widget_and_the_files_of_the_hosted_page(
    shipped: Site, path: str
) -> None:
    answer = shipped.ask("GET", path)
    assert answer.status_code == 200
    assert answer.content


def test_the_hosted_page_verifies_through_it(shipped: Site, phone: str, address: str) -> None:
    query = urlencode({"client_key": shipped.service.keys["hosted"], "return_url": "https://shop.example/verified"})
    page = shipped.ask("GET", f"/verify?{query}")
    assert page.status_code == 200
    assert page.headers["x-frame-options"] == "DENY"
    # nginx hands Host on: also a browser that says nothing but its Origin is of the same one.
    started = shipped.ask(
        "POST",
        "/verify/start",
        address,
        client="hosted",
        body={"phone": phone},
        headers=[("Origin", "https://127.0.0.1")],
    )
    assert started.status_code == 201, started.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/verify/vrf_x"),
        ("POST", "/verify/vrf_x/cancel"),
        ("POST", "/verify/redeem"),
        ("POST", "/verify/start/"),
        ("GET", "/policy"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/.well-known/jwks.json/"),
        ("GET", "/.well-known/"),
        ("GET", "/verify/"),
        ("GET", "/hosted/"),
        ("GET", "/demo/app.js"),
        ("GET", "/"),
    ],
)
def test_nothing_else_passes(shipped: Site, method: str, path: str) -> None:
    answer = shipped.ask(method, path, client="backend")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html"), "nginx's own answer"


def test_a_path_is_handed_on_as_it_came(shipped: Site) -> None:
    """nginx reads it as /verify/start; the service knows no such route."""
    assert shipped.ask("POST", "/verify//start", client="backend").json()["code"] == "no_such_route"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_tls_a_client_is_sent_to_https_with_its_method(shipped: Site, method: str) -> None:
    plain = f"http://127.0.0.1:{(urlsplit(shipped.url).port or 0) + 1}/verify/start"
    answer = httpx.request(method, plain, headers={"Host": "verify.example.com"})
    assert (answer.status_code, answer.headers["location"]) == (308, "https://verify.example.com/verify/start")


def test_a_flood_from_one_address_is_turned_away_and_no_other_is(shipped: Site, address: str) -> None:
    with shipped.client(address) as http:
        answers = [http.get("/.well-known/jwks.json").status_code for _ in range(400)]
    assert set(answers) == {200, 429}
    assert answers.index(429) >= 100, "a page's users behind one address are no flood"
    other = f"127.1.1.{address.rpartition('.')[2]}"
    assert shipped.ask("GET", "/.well-known/jwks.json", other).status_code == 200
