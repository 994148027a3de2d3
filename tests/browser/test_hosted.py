"""The hosted page in Chromium: from its address to the token at a site of another origin, as people go it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.accessibility import violations
from tests.browser.returning import Site, site_at
from tests.browser.sandbox import Sandbox, sandbox_at
from tests.browser.shop import Visit
from tests.harness import fresh_phone, wrong

pytestmark = pytest.mark.browser

ASKS = {"en": "asks you to confirm", "ru": "просит подтвердить", "kk": "растауды сұрайды"}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox_at(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def site() -> Iterator[Site]:
    with site_at() as running:
        yield running


def _address(sandbox: Sandbox, site: Site, **given: str) -> str:
    keys = sandbox.simulator.get(f"{sandbox.url}/demo/context").json()
    query = {"client_key": keys["public_key"], "return_url": f"{site.url}/verified?from=phone"} | given
    return f"{sandbox.url}/verify?{urlencode(query)}"


def _redeemed(sandbox: Sandbox, token: str) -> dict[str, Any]:
    """What the token says, by a backend's request."""
    answer = sandbox.simulator.post(
        f"{sandbox.url}/verify/redeem", json={"token": token}, headers={"Authorization": f"Bearer {sandbox.secret_key}"}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("lang", "scheme", "width"),
    [("ru", "light", 320), ("en", "dark", 320), ("kk", "light", 320), ("ru", "dark", 1280), ("en", "light", 1280)],
)
def test_a_person_verifies_by_mouse_and_the_site_gets_the_token(
    chromium: Browser, sandbox: Sandbox, site: Site, tools: Path, lang: str, scheme: Any, width: int
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, locale="de-DE")
    state = "s-1 &\"'<>=+%2F"
    visit = Visit.of(context.new_page(), _address(sandbox, site, lang=lang, purpose="login", state=state))
    expect(visit.page.locator("h1")).to_contain_text(ASKS[lang])
    expect(visit.page.locator("h1 b")).to_have_text(site.url.removeprefix("http://"))
    assert violations(visit.page, tools) == []
    phone = fresh_phone()
    visit.find("#phone").click()
    visit.page.keyboard.type(phone.replace("+7", "8"))
    visit.find("button.primary").first.click()
    visit.step("code")
    assert violations(visit.page, tools) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.find("#code").click()
    visit.page.keyboard.type(wrong(sandbox.code(phone)))
    visit.find("#codeError").wait_for()
    visit.page.keyboard.type(sandbox.code(phone))
    visit.page.wait_for_url(f"{site.url}/verified?from=phone")
    ((path, fields, headers),) = site.posted
    assert (path, fields["state"], set(fields)) == ("/verified?from=phone", state, {"token", "state"})
    told = _redeemed(sandbox, fields["token"])
    assert (told["phone"], told["purpose"], told["test"]) == (phone, "login", True)
    assert "referer" not in headers
    assert headers["origin"] == "null"
    assert site.asked == []
    assert visit.errors == []
    context.close()


def test_a_person_verifies_by_keyboard_alone(page: Page, sandbox: Sandbox, site: Site) -> None:
    visit = Visit.of(page, _address(sandbox, site))
    phone = fresh_phone()
    page.keyboard.press("Tab")
    page.keyboard.type(phone)
    page.keyboard.press("Enter")
    visit.step("code")
    expect(visit.find("#code")).to_be_focused()
    page.keyboard.type(sandbox.code(phone))
    page.wait_for_url(f"{site.url}/verified?from=phone")
    ((_, fields, _),) = site.posted
    assert set(fields) == {"token"}
    assert _redeemed(sandbox, fields["token"])["phone"] == phone
    assert visit.errors == []


def test_the_token_comes_in_the_fragment_where_that_is_asked_for(page: Page, sandbox: Sandbox, site: Site) -> None:
    visit = Visit.of(page, _address(sandbox, site, return_mode="fragment", state="a b&c=d"))
    phone = visit.start()
    visit.type_code(sandbox.code(phone))
    page.wait_for_url(f"{site.url}/verified?from=phone#*")
    fragment = parse_qs(urlsplit(page.url).fragment)
    assert fragment["state"] == ["a b&c=d"]
    assert _redeemed(sandbox, fragment["token"][0])["phone"] == phone
    assert (site.posted, site.asked) == ([], ["/verified?from=phone"])
    assert page.evaluate("document.referrer") == ""
    assert visit.errors == []


@pytest.mark.parametrize("mode", ["post", "fragment"])
def test_a_person_may_go_back_without(page: Page, sandbox: Sandbox, site: Site, mode: str) -> None:
    visit = Visit.of(page, _address(sandbox, site, return_mode=mode, state="s"))
    visit.start()
    page.get_by_role("button", name="Cancel and go back").click()
    page.wait_for_url(f"{site.url}/verified?from=phone{'#*' if mode == 'fragment' else ''}")
    if mode == "post":
        assert [fields for _, fields, _ in site.posted] == [{"error": "canceled", "state": "s"}]
    else:
        assert parse_qs(urlsplit(page.url).fragment) == {"error": ["canceled"], "state": ["s"]}
    assert visit.errors == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_double_click_is_one_call_and_cancels_nothing(
    chromium: Browser, sandbox: Sandbox, site: Site, width: int
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800})
    visit = Visit.of(context.new_page(), _address(sandbox, site, lang="ru"))
    phone = fresh_phone()
    visit.enter(phone)
    box = visit.find("button.primary").first.bounding_box()
    assert box
    # Where the button for going back is, once the card is lower: as a person hits it who clicks twice.
    visit.page.locator("#cancel").evaluate(
        """(cancel, {x, y}) => document.querySelector("phone-verify").addEventListener("statechange", () => {
            Object.assign(cancel.style, {position: "fixed", left: `${x}px`, top: `${y}px`, zIndex: 9});
        }, {once: true})""",
        {"x": box["x"], "y": box["y"]},
    )
    visit.page.mouse.dblclick(box["x"] + 20, box["y"] + 20)
    visit.step("code")
    assert (site.posted, site.asked) == ([], [])
    assert sandbox.count(phone) == 1
    context.close()


def test_a_reload_in_the_middle_goes_on_with_the_same_verification(page: Page, sandbox: Sandbox, site: Site) -> None:
    visit = Visit.of(page, _address(sandbox, site, state="one"))
    phone = visit.start()
    page.reload()
    visit.step("code")
    assert len(visit.sent("/verify/start")) == 1
    page.goto(_address(sandbox, site, state="another"))
    visit.step("phone")
    page.go_back()
    visit.step("code")
    visit.type_code(sandbox.code(phone))
    page.wait_for_url(f"{site.url}/verified?from=phone")
    assert [fields["state"] for _, fields, _ in site.posted] == ["one"]
    assert sandbox.count(phone) == 1
    assert visit.errors == []


def test_a_site_that_answers_with_a_redirect_of_its_own_is_followed(page: Page, sandbox: Sandbox, site: Site) -> None:
    site.moves_to = "/welcome"
    visit = Visit.of(page, _address(sandbox, site))
    phone = visit.start()
    visit.type_code(sandbox.code(phone))
    page.wait_for_url(f"{site.url}/welcome")
    assert visit.errors == []


def test_a_challenge_is_solved_under_its_policy(page: Page, site: Site, tmp_path: Path) -> None:
    with sandbox_at(tmp_path, CHALLENGE="always") as sandbox:
        visit = Visit.of(page, _address(sandbox, site))
        phone = fresh_phone()
        visit.enter(phone)
        visit.find("#phone").press("Enter")
        visit.find(".card[data-step=code]").wait_for(timeout=60_000)
        assert [bool(body.get("challenge")) for body in visit.sent("/verify/start")] == [False, True]
        visit.type_code(sandbox.code(phone))
        page.wait_for_url(f"{site.url}/verified?from=phone")
        assert _redeemed(sandbox, site.posted[0][1]["token"])["phone"] == phone
        assert visit.errors == []


def test_its_words_are_asked_for_once(page: Page, sandbox: Sandbox, site: Site) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    visit = Visit.of(page, _address(sandbox, site, lang="kk"))
    expect(visit.find("h2").first).to_have_text("Телефонды растаңыз")
    assert asked.count("/widget/lang/kk.json") == asked.count("/widget/phone-verify.js") == 1
    assert visit.errors == []


@pytest.mark.parametrize("lost", ["**/widget/phone-verify.js", "**/hosted/page.js"])
def test_what_does_not_load_is_said(page: Page, sandbox: Sandbox, site: Site, lost: str) -> None:
    page.route(lost, lambda route: route.abort("connectionreset"))
    page.goto(_address(sandbox, site))
    expect(page.locator(".late")).to_be_hidden()
    expect(page.locator(".late")).to_be_visible(timeout=15_000)
    assert page.evaluate("customElements.get('phone-verify')") is None
    page.get_by_role("button", name="Cancel and go back").click()
    page.wait_for_url(f"{site.url}/verified?from=phone")


def test_a_redirect_to_another_origin_is_stopped_with_the_token_delivered(
    page: Page, sandbox: Sandbox, site: Site
) -> None:
    site.moves_to = site.url.replace("localhost", "127.0.0.1") + "/welcome"
    visit = Visit.of(page, _address(sandbox, site))
    phone = visit.start()
    with page.expect_console_message(lambda message: "form-action" in message.text):
        visit.type_code(sandbox.code(phone))
    assert [fields.keys() for _, fields, _ in site.posted] == [{"token"}]
    assert site.asked == []


def test_a_person_can_send_it_again_where_the_site_shows_nothing(page: Page, sandbox: Sandbox, site: Site) -> None:
    site.empty = True
    visit = Visit.of(page, _address(sandbox, site))
    phone = visit.start()
    visit.type_code(sandbox.code(phone))
    expect(page.locator("#returning")).to_be_visible()
    expect(page.locator("#cancel")).to_be_hidden()
    again = page.get_by_role("button", name="Go on to")
    expect(again).to_be_visible(timeout=10_000)
    site.empty = False
    again.click()
    page.wait_for_url(f"{site.url}/verified?from=phone")
    assert _redeemed(sandbox, site.posted[-1][1]["token"])["phone"] == phone
    assert visit.errors == []


@pytest.mark.parametrize(
    "given", [{"return_url": "https://evil.example/"}, {"return_url": "javascript:alert(1)"}, {"client_key": "pk_x"}]
)
def test_a_link_that_is_refused_says_how_to_fix_it(
    page: Page, sandbox: Sandbox, site: Site, tools: Path, given: dict[str, str]
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).netloc))
    for lang, title in (("en", "This link does not work"), ("ru", "Ссылка не работает")):
        answer = page.goto(_address(sandbox, site, lang=lang, **given))
        assert answer
        assert answer.status in {401, 403, 422}
        expect(page.locator("h1")).to_have_text(title)
        assert page.locator("a, form, button, script, iframe").count() == 0
        assert violations(page, tools) == []
    assert errors == []
    assert set(asked) <= {urlsplit(sandbox.url).netloc, ""}


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
    Visit.of(page, _address(sandbox, site))
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


def test_the_opener_has_no_hold_on_it(page: Page, sandbox: Sandbox, site: Site) -> None:
    page.goto(site.url)
    with page.context.expect_page() as opened:
        page.evaluate("(url) => { window.opened = window.open(url); }", _address(sandbox, site))
    opened.value.locator("phone-verify").wait_for()
    page.wait_for_function("() => opened.closed")
    assert opened.value.evaluate("window.opener") is None
