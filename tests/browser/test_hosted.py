"""The hosted page in Chromium: from its address to the token at a site of another origin, as people go it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.visit import Open, Visit, violations
from tests.consumers.loopback import listening
from tests.consumers.page import Sandbox, sandboxed
from tests.harness import fresh_phone, wrong

pytestmark = pytest.mark.browser

ASKS = {"en": "asks you to confirm", "ru": "просит подтвердить", "kk": "растауды сұрайды"}


@dataclass
class Site:
    """The site that the hosted page returns to: another origin, which keeps what it was sent.

    Attributes:
        url: its origin.
        posted: what each POST brought: path, fields, headers.
        asked: the paths of all GETs of pages.
        moves_to: where a POST is answered to by a redirect; None: with a page.
        empty: a POST is answered with nothing to show (204).
    """

    url: str = ""
    posted: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    moves_to: str | None = None
    empty: bool = False


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/favicon.ico":
                found.asked.append(self.path)
            self.show(200)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fields = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
            found.posted.append((self.path, fields, {name.lower(): value for name, value in self.headers.items()}))
            self.show(204 if found.empty else 303 if found.moves_to else 200)

        def show(self, status: int) -> None:
            self.send_response(status)
            if status == 303:
                self.send_header("Location", found.moves_to or "")
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            if status != 204:
                self.wfile.write(b"<!doctype html><html lang=en><title>back</title><main><h1>back</h1></main>")

        def log_message(self, *_: object) -> None:
            pass

    with listening(Pages) as url:
        found.url = url.replace("127.0.0.1", "localhost")
        yield found


def _address(sandbox: Sandbox, site: Site, **given: str) -> str:
    query = {"client_key": sandbox.public_key, "return_url": f"{site.url}/verified?from=phone"} | given
    return f"{sandbox.url}/verify?{urlencode(query)}"


def _verify(visit: Visit, sandbox: Sandbox) -> str:
    """A person verifies a phone, and is handed back; returns the phone."""
    phone = visit.start()
    visit.type_code(sandbox.code(phone))
    return phone


def _redeemed(sandbox: Sandbox, token: str) -> dict[str, Any]:
    """What the token says, by a backend's request."""
    key = {"Authorization": f"Bearer {sandbox.secret_key}"}
    answer = httpx.post(f"{sandbox.url}/verify/redeem", json={"token": token}, headers=key)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("lang", "scheme", "width"), [("ru", "light", 320), ("en", "dark", 320), ("kk", "light", 1280)]
)
def test_a_person_verifies_by_mouse_and_the_site_gets_the_token(
    visit: Open, sandbox: Sandbox, site: Site, tools: Path, lang: str, scheme: Any, width: int
) -> None:
    state = "s-1 &\"'<>=+%2F"
    address = _address(sandbox, site, lang=lang, purpose="login", state=state)
    someone = visit(address, viewport={"width": width, "height": 800}, color_scheme=scheme, locale="de-DE")
    page, phone = someone.page, fresh_phone()
    expect(page.locator("h1")).to_contain_text(ASKS[lang])
    expect(page.locator("h1 b")).to_have_text(site.url.removeprefix("http://"))
    assert someone.violations(tools) == []
    someone.find("#phone").click()
    page.keyboard.type(phone.replace("+7", "8"))
    someone.find("button.primary").first.click()
    someone.step("code")
    assert someone.violations(tools) == []
    assert someone.fits()
    someone.find("#code").click()
    page.keyboard.type(wrong(sandbox.code(phone)))
    someone.find("#codeError").wait_for()
    page.keyboard.type(sandbox.code(phone))
    page.wait_for_url(f"{site.url}/verified?from=phone")
    ((path, fields, headers),) = site.posted
    assert (path, fields["state"], set(fields)) == ("/verified?from=phone", state, {"token", "state"})
    redeemed = _redeemed(sandbox, fields["token"])
    assert (redeemed["phone"], redeemed["purpose"], redeemed["test"]) == (phone, "login", True)
    assert ("referer" in headers, headers["origin"], site.asked) == (False, "null", [])


def test_the_token_comes_in_the_fragment_where_that_is_asked_for(visit: Open, sandbox: Sandbox, site: Site) -> None:
    someone = visit(_address(sandbox, site, return_mode="fragment", state="a b&c=d"))
    phone = _verify(someone, sandbox)
    someone.page.wait_for_url(f"{site.url}/verified?from=phone#*")
    fragment = parse_qs(urlsplit(someone.page.url).fragment)
    assert fragment["state"] == ["a b&c=d"]
    assert _redeemed(sandbox, fragment["token"][0])["phone"] == phone
    assert (site.posted, site.asked) == ([], ["/verified?from=phone"])
    assert someone.page.evaluate("document.referrer") == ""


@pytest.mark.parametrize("mode", ["post", "fragment"])
def test_a_person_may_go_back_without(visit: Open, sandbox: Sandbox, site: Site, mode: str) -> None:
    someone = visit(_address(sandbox, site, return_mode=mode, state="s"))
    someone.start()
    someone.page.get_by_role("button", name="Cancel and go back").click()
    someone.page.wait_for_url(f"{site.url}/verified?from=phone{'#*' if mode == 'fragment' else ''}")
    fragment = parse_qs(urlsplit(someone.page.url).fragment)
    got = site.posted[0][1] if mode == "post" else {name: value for name, [value] in fragment.items()}
    assert got == {"error": "canceled", "state": "s"}


@pytest.mark.parametrize("width", [320, 1280])
def test_a_double_click_is_one_call_and_cancels_nothing(visit: Open, sandbox: Sandbox, site: Site, width: int) -> None:
    someone = visit(_address(sandbox, site, lang="ru"), viewport={"width": width, "height": 800})
    phone = fresh_phone()
    someone.find("#phone").fill(phone)
    box = someone.find("button.primary").first.bounding_box()
    # Where the button for going back is, once the card is lower: as a person hits it who clicks twice.
    someone.page.locator("#cancel").evaluate(
        """(cancel, {x, y}) => document.querySelector("phone-verify").addEventListener("statechange", () => {
            Object.assign(cancel.style, {position: "fixed", left: `${x}px`, top: `${y}px`, zIndex: 9});
        }, {once: true})""",
        box,
    )
    someone.click_twice(0.1, 0.5)
    someone.step("code")
    assert (site.posted, site.asked) == ([], [])
    assert len(sandbox.calls(phone)) == 1


def test_a_reload_in_the_middle_goes_on_with_the_same_verification(visit: Open, sandbox: Sandbox, site: Site) -> None:
    someone = visit(_address(sandbox, site, state="one"))
    phone = someone.start()
    someone.page.reload()
    someone.step("code")
    assert len(someone.sent("/verify/start")) == 1
    someone.page.goto(_address(sandbox, site, state="another"))
    someone.step("phone")
    someone.page.go_back()
    someone.step("code")
    someone.type_code(sandbox.code(phone))
    someone.page.wait_for_url(f"{site.url}/verified?from=phone")
    assert [fields["state"] for _, fields, _ in site.posted] == ["one"]
    assert len(sandbox.calls(phone)) == 1


def test_a_challenge_is_solved_under_its_policy(visit: Open, site: Site, tmp_path: Path) -> None:
    with sandboxed(tmp_path, CHALLENGE="always") as sandbox:
        someone = visit(_address(sandbox, site))
        phone = someone.ask()
        someone.step("code", timeout=60_000)
        assert [bool(body.get("challenge")) for body in someone.sent("/verify/start")] == [False, True]
        someone.type_code(sandbox.code(phone))
        someone.page.wait_for_url(f"{site.url}/verified?from=phone")
        assert _redeemed(sandbox, site.posted[0][1]["token"])["phone"] == phone


def test_its_words_are_asked_for_once(visit: Open, sandbox: Sandbox, site: Site) -> None:
    someone = visit(_address(sandbox, site, lang="kk"))
    expect(someone.find("h2").first).to_have_text("Телефонды растаңыз")
    asked = [urlsplit(url).path for url in someone.asked]
    assert asked.count("/widget/lang/kk.json") == asked.count("/widget/phone-verify.js") == 1


@pytest.mark.parametrize("lost", ["**/widget/phone-verify.js", "**/hosted/page.js"])
def test_what_does_not_load_is_said(page: Page, sandbox: Sandbox, site: Site, lost: str) -> None:
    page.route(lost, lambda route: route.abort("connectionreset"))
    page.goto(_address(sandbox, site))
    expect(page.locator(".late")).to_be_hidden()
    expect(page.locator(".late")).to_be_visible(timeout=15_000)
    page.get_by_role("button", name="Cancel and go back").click()
    page.wait_for_url(f"{site.url}/verified?from=phone")


def test_a_redirect_of_the_sites_own_is_followed_and_one_to_another_origin_is_not(
    visit: Open, sandbox: Sandbox, site: Site
) -> None:
    someone = visit(_address(sandbox, site))
    site.moves_to = "/welcome"
    _verify(someone, sandbox)
    someone.page.wait_for_url(f"{site.url}/welcome")
    site.moves_to = site.url.replace("localhost", "127.0.0.1") + "/welcome"
    someone.go(_address(sandbox, site, state="another"))
    with someone.page.expect_console_message(lambda message: "form-action" in message.text):
        _verify(someone, sandbox)
    assert ["token" in fields for _, fields, _ in site.posted] == [True, True], "it was delivered"
    assert site.asked == ["/welcome"]
    someone.errors.clear()  # of the policy


def test_a_person_can_send_it_again_where_the_site_shows_nothing(visit: Open, sandbox: Sandbox, site: Site) -> None:
    site.empty = True
    someone = visit(_address(sandbox, site))
    phone = _verify(someone, sandbox)
    expect(someone.page.locator("#returning")).to_be_visible()
    expect(someone.page.locator("#cancel")).to_be_hidden()
    again = someone.page.get_by_role("button", name="Go on to")
    expect(again).to_be_visible(timeout=10_000)
    site.empty = False
    again.click()
    someone.page.wait_for_url(f"{site.url}/verified?from=phone")
    assert _redeemed(sandbox, site.posted[-1][1]["token"])["phone"] == phone


def test_a_link_that_is_refused_is_for_everybody_and_asks_no_one(
    page: Page, sandbox: Sandbox, site: Site, tools: Path
) -> None:
    someone = Visit(page)
    for lang, title in (("en", "This link does not work"), ("ru", "Ссылка не работает")):
        page.goto(_address(sandbox, site, lang=lang, return_url="https://evil.example/"))
        expect(page.locator("h1")).to_have_text(title)
        assert violations(page, tools) == []
    assert someone.errors == []
    assert {urlsplit(url).netloc for url in someone.asked} <= {urlsplit(sandbox.url).netloc, ""}


def test_no_page_frames_it(page: Page, sandbox: Sandbox, site: Site) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.goto(site.url)
    address = _address(sandbox, site)
    page.evaluate("(url) => document.body.append(Object.assign(document.createElement('iframe'), {src: url}))", address)
    page.wait_for_function("() => document.querySelector('iframe').contentDocument === null")
    assert "frame-ancestors 'none'" in "".join(errors)
    assert page.frames[1].locator("phone-verify").count() == 0


def test_no_script_of_others_runs_and_no_form_goes_elsewhere(page: Page, sandbox: Sandbox, site: Site) -> None:
    Visit(page).go(_address(sandbox, site))
    blocked = page.evaluate(
        """async () => {
            const blocked = [];
            document.addEventListener("securitypolicyviolation", ({effectiveDirective}) => blocked.push(effectiveDirective));
            import("/widget/lastdigits.js").catch(() => blocked.push("refused import"));
            const form = Object.assign(document.createElement("form"), {action: "https://evil.example/", method: "post"});
            document.body.append(form);
            form.submit();
            try { document.body.innerHTML = "<b>x</b>"; } catch { blocked.push("refused by Trusted Types"); }
            await new Promise((resolve) => setTimeout(resolve, 300));
            return blocked;
        }"""
    )
    assert {"refused import", "script-src-elem", "form-action", "refused by Trusted Types"} <= set(blocked)
    assert page.url.startswith(sandbox.url)
