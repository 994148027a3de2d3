"""The hosted page over HTTP: what it is opened with, what it refuses, and that its own origin opens nothing else."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from app.api.clients import Kind, new_key
from app.telemetry.metrics import REQUESTS
from tests.exposition import scrape, series
from tests.harness import Service, Simulator, serving

VERIFIED = "https://shop.example/verified"
CART = "https://shop.example/v?step=2&next=/cart"


def _open(service: Service, **given: str) -> httpx.Response:
    query = {"client_key": service.keys["hosted"], "return_url": VERIFIED} | given
    return service.http.get("/verify", params={name: value for name, value in query.items() if value})


def _policy(answer: httpx.Response) -> dict[str, str]:
    parts = (part.partition(" ") for part in answer.headers["content-security-policy"].split("; "))
    return {name: value for name, _, value in parts}


def test_it_shows_the_widget_of_the_client(service: Service) -> None:
    answer = _open(service, state="s 1&<\"'>", purpose="login", lang="ru")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    html = answer.text
    assert '<html lang="ru">' in html
    assert f'client-key="{service.keys["hosted"]}" countries="RU" lang="ru" name="token" purpose="login">' in html
    assert f'<form id="return" method="post" action="{VERIFIED}" data-mode="post">' in html
    state = re.search(r'<input type="hidden" name="state" value="([^"]*)">', html)
    assert state
    assert unescape(state[1]) == "s 1&<\"'>"
    assert "<b>shop.example</b> просит подтвердить телефон" in html
    plain = _open(service, state="", purpose="").text
    assert "<input" not in plain
    assert "purpose" not in plain


def test_a_reload_goes_on_with_the_same_verification_and_anything_else_begins_another(service: Service) -> None:
    def flow(**given: str) -> str:
        found = re.search(r'<phone-verify id="([^"]+)"', _open(service, **given).text)
        assert found
        return found[1]

    opened = [flow(), flow(state="1"), flow(purpose="login"), flow(return_url=CART)]
    assert len(set(opened)) == len(opened)
    assert flow(state="1", lang="ru") == opened[1]


def test_the_widgets_words_are_loaded_with_it(service: Service) -> None:
    link = re.search(r'<link rel="preload" as="fetch" crossorigin href="([^"]+)">', _open(service, lang="kk").text)
    assert link
    assert "immutable" in service.http.get(link[1]).headers["cache-control"], "the version is the file's"
    assert 'preload" as' not in _open(service, lang="en").text


def test_nothing_of_it_is_kept_framed_or_handed_on(service: Service) -> None:
    for answer in (_open(service), _open(service, return_url="https://evil.example/")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        policy = _policy(answer)
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["default-src"] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "*" not in answer.headers["content-security-policy"]


def test_only_what_the_page_names_runs_and_each_answer_names_it_anew(service: Service) -> None:
    first, second = _open(service), _open(service)
    nonce = _policy(first)["script-src"]
    assert re.fullmatch(r"'nonce-[A-Za-z0-9_-]{22}'", nonce)
    assert nonce == _policy(first)["style-src"]
    assert nonce != _policy(second)["script-src"]
    tags = re.findall(r"<(?:script|link rel=\"(?:stylesheet|modulepreload)\")[^>]*>", first.text)
    assert len(tags) == 3
    assert all(f'nonce="{nonce[7:-1]}"' in tag for tag in tags)


def test_the_form_goes_to_the_return_url_only(service: Service) -> None:
    assert _policy(_open(service))["form-action"] == VERIFIED
    # A policy's source has no query; the address itself has.
    cart = _open(service, return_url=CART)
    assert _policy(cart)["form-action"] == "https://shop.example/v"
    assert 'action="https://shop.example/v?step=2&amp;next=/cart"' in cart.text
    assert _policy(_open(service, return_url="https://evil.example/"))["form-action"] == "'none'"


@pytest.mark.parametrize(
    "url",
    [
        *("https://shop.example/verified/", "https://shop.example/Verified", "https://SHOP.example/verified"),
        *("https://shop.example:443/verified", "http://shop.example/verified", "https://shop.example/x/../verified"),
        *("https://shop.example/verified?", "https://shop.example/%76erified", "https://shop.example/verified%20"),
        *("https://shop.example/v?next=/cart&step=2", "https://shop.example/v", "https://www.shop.example/verified"),
        *("https://shop.example.evil.example/verified", "https://evil.example/?https://shop.example/verified"),
        "http://localhost:5000/verified",
    ],
)
def test_an_address_that_is_not_listed_to_the_letter_is_refused(service: Service, url: str) -> None:
    answer = _open(service, return_url=url)
    assert answer.status_code == 403
    _assert_plain(answer, 'Add exactly this return_url to return_urls of client "hosted" in the clients file.')


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "/verified",
            "javascript:alert(1)",
            "https://user@shop.example/verified",
            f" {VERIFIED}",
            f"{VERIFIED}\n",
        ),
        *("https://shop.example\\@evil.example/verified", 'https://shop.example/"><script>alert(1)</script>'),
        *(f"{VERIFIED}#token=x", "https%3A%2F%2Fshop.example%2Fverified"),
    ],
)
def test_what_is_no_address_is_refused(service: Service, url: str) -> None:
    answer = _open(service, return_url=url)
    assert answer.status_code == 422
    _assert_plain(answer, "return_url: write the whole address of a page")


@pytest.mark.parametrize(
    ("given", "status", "fix"),
    [
        ({"client_key": ""}, 401, "Open this page with client_key, a public key"),
        ({"client_key": "pk_nobody"}, 401, "No client has this client_key."),
        ({"client_key": "sk_nobody"}, 403, "client_key is a secret key"),
        ({"client_key": "{backend}"}, 403, "Replace it by a new one"),
        ({"client_key": "{web}"}, 403, 'return_urls of client "web"'),
        ({"client_key": "{app}"}, 403, 'return_urls of client "app"'),
        ({"return_mode": "redirect"}, 422, "return_mode: "),
        ({"state": "a" * 513}, 422, "state: "),
        ({"state": "two\nlines"}, 422, "state: "),
        ({"state": "я"}, 422, "state: "),
        ({"purpose": "a b"}, 422, "purpose: "),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(service: Service, given: dict[str, str], status: int, fix: str) -> None:
    answer = _open(service, **{name: value.format(**service.keys) for name, value in given.items()})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) is (status == 401)
    _assert_plain(answer, fix)
    assert service.keys["backend"] not in answer.text + service.log.read_text()


def _assert_plain(answer: httpx.Response, fix: str) -> None:
    """It says what to do, links nowhere, runs nothing, and repeats nothing of what it was opened with."""
    html = answer.text
    assert fix in unescape(html)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r"<(?:a|form|script|iframe|button|meta http-equiv)\b", html) == []
    assert re.findall(r'href="([^"]+)"', html) == ["data:,", "/hosted/page.css"]
    assert "evil" not in html


@pytest.mark.parametrize(
    ("given", "accepted", "language", "refused"),
    [
        ("kk", "ru", "kk", "Сілтеме жұмыс істемейді"),
        ("", "de-DE,ru-RU;q=0.8,en;q=0.5", "ru", "Ссылка не работает"),
        ("xx", "kk-KZ", "kk", "Сілтеме жұмыс істемейді"),
        ("", "de", "en", "This link does not work"),
        ("", "", "en", "This link does not work"),
    ],
)
def test_the_language_is_the_one_asked_for_then_the_browsers(
    service: Service, given: str, accepted: str, language: str, refused: str
) -> None:
    query = {"client_key": service.keys["hosted"], "return_url": VERIFIED, "lang": given}
    shown = service.http.get("/verify", params=query, headers={"Accept-Language": accepted}).text
    assert f'<html lang="{language}">' in shown
    problem = service.http.get("/verify", params={"lang": given}, headers={"Accept-Language": accepted}).text
    assert f"<h1>{refused}</h1>" in problem


def test_head_works_and_other_methods_are_named(service: Service) -> None:
    query = urlencode({"client_key": service.keys["hosted"], "return_url": VERIFIED})
    head = service.http.head(f"/verify?{query}")
    assert (head.status_code, head.content) == (200, b"")
    refused = service.http.post(f"/verify?{query}")
    assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


def test_what_is_shown_is_counted(service: Service) -> None:
    shown = series(REQUESTS, route="/verify", method="GET", status="200")
    before = scrape(service.url)[shown]
    _open(service)
    assert scrape(service.url)[shown] == before + 1


def test_what_is_refused_is_counted_and_logged_without_what_strangers_wrote(service: Service) -> None:
    label = {"route": "/verify", "method": "GET", "status": "403", "code": "return_url_not_allowed"}
    before = scrape(service.url)[series(REQUESTS, **label)]
    _open(service, return_url="https://evil.example/from-a-stranger")
    assert scrape(service.url)[series(REQUESTS, **label)] == before + 1
    lines = [line for line in service.lines() if line.get("code") == "return_url_not_allowed"]
    assert any('client "hosted"' in line["detail"] and line["level"] == "warning" for line in lines)
    assert "from-a-stranger" not in service.log.read_text()


# ---- the page's own origin


def _start(service: Service, client: str, phone: str, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.post("/verify/start", {"phone": phone}, client, headers=sent)


def test_the_page_itself_may_use_the_key(service: Service, phone: str) -> None:
    own = service.url
    assert _start(service, "hosted", phone, Origin=own, Sec_Fetch_Site="same-origin").status_code == 201
    # A browser that does not say where a request comes from, and a proxy that changes Host: admitted, and limited.
    proxied = {"Origin": "https://verify.example.com", "Sec_Fetch_Site": "same-origin", "Host": "10.0.0.5:8000"}
    for page in ({"Origin": own}, proxied):
        assert _start(service, "hosted", phone, **page).json()["code"] == "limit_reached"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "{own}", "Sec_Fetch_Site": "same-site"},
        {"Origin": "{own}.evil.example"},
        {"Origin": "{own}", "Host": "verify.example.com"},
        {},
    ],
)
def test_no_other_page_may(service: Service, phone: str, headers: dict[str, str]) -> None:
    sent = {name: value.format(own=service.url) for name, value in headers.items()}
    answer = _start(service, "hosted", phone, **sent)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers


def test_a_client_without_return_urls_is_not_admitted_from_the_services_origin(service: Service, phone: str) -> None:
    for client in ("web", "app"):
        answer = _start(service, client, phone, Origin=service.url, Sec_Fetch_Site="same-origin")
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")


# ---- in a sandbox


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """A sandbox with a clients file: the other settings of production are not there."""
    keys = {"hosted": new_key(Kind.PUBLIC), "web": new_key(Kind.PUBLIC), "backend": new_key(Kind.SECRET)}
    more: Any = dict.fromkeys(("PROVIDER_URL", "PROVIDER_API_KEY"), "") | {"ALLOWED_COUNTRIES": "BY,KZ,RU"}
    directory = tmp_path_factory.mktemp("sandbox")
    with serving(directory, "", keys, SANDBOX="true", SIMULATOR_PORT="0", WORKERS="1", **more) as service:
        yield service


@pytest.mark.parametrize(
    ("url", "status"),
    [
        *[
            (url, 200)
            for url in ("http://localhost:5000/verified", "http://127.0.0.1/v", "https://[::1]:8443/", VERIFIED)
        ],
        *[
            (url, 403)
            for url in ("http://shop.example/verified", "http://localhost.evil.example/", "https://evil.example/")
        ],
    ],
)
def test_a_sandbox_returns_to_this_machine_without_an_entry_and_nowhere_else(
    sandbox: Service, url: str, status: int
) -> None:
    assert _open(sandbox, return_url=url).status_code == status


def test_the_country_of_national_spellings_stands_before_the_others(sandbox: Service) -> None:
    assert ' countries="RU BY KZ" ' in _open(sandbox).text


def test_its_pages_may_use_every_public_key(sandbox: Service) -> None:
    page = {"Origin": sandbox.url, "Sec_Fetch_Site": "same-origin"}
    assert _start(sandbox, "web", "1", **page).json()["code"] == "phone_invalid", "no call is needed: the key was taken"
    page["Sec_Fetch_Site"] = "cross-site"
    assert _start(sandbox, "web", "1", **page).json()["code"] == "origin_not_allowed"
