"""The widget on a shop's page of another origin, with a strict policy: the whole way from a phone to a token, as people go it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.accessibility import violations
from tests.browser.shop import Shop, Visit, is_answer
from tests.harness import fresh_phone, wrong

pytestmark = pytest.mark.browser

TITLES = {"en": "Confirm your phone", "ru": "Подтвердите телефон", "kk": "Телефонды растаңыз"}


@pytest.mark.parametrize(
    ("lang", "scheme", "width"),
    [
        ("ru", "light", 320),
        ("ru", "dark", 1280),
        ("en", "dark", 320),
        ("en", "light", 1280),
        ("kk", "light", 320),
        ("kk", "dark", 1280),
    ],
)
def test_a_person_verifies_a_phone_by_mouse(
    chromium: Browser, shop: Shop, tools: Path, lang: str, scheme: Any, width: int
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    visit = Visit.of(context.new_page(), shop.write(lang, attributes='countries="RU KZ"'))
    expect(visit.find("h2").first).to_have_text(TITLES[lang])
    assert violations(visit.page, tools) == []
    phone = fresh_phone()
    visit.find("#phone").click()
    visit.page.keyboard.type(phone.replace("+7", "8"))
    visit.find("button.primary").first.click()
    visit.step("code")
    assert violations(visit.page, tools) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.find("#code").click()
    visit.page.keyboard.type(wrong(shop.code(phone)))
    visit.find("#codeError").wait_for()
    assert violations(visit.page, tools) == []
    visit.page.keyboard.type(shop.code(phone))
    visit.step("approved")
    assert violations(visit.page, tools) == []
    redeemed = shop.service.post("/verify/redeem", {"token": visit.token()})
    assert (redeemed.status_code, redeemed.json()["phone"]) == (200, phone)
    assert shop.simulator.count(phone) == 1
    assert visit.errors == []
    context.close()


def test_a_person_verifies_a_phone_by_keyboard_alone(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = fresh_phone()
    page.keyboard.press("Tab")
    page.keyboard.type(phone)
    page.keyboard.press("Enter")
    visit.step("code")
    expect(visit.find("#code")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(visit.find("button:visible", has_text="Another number")).to_be_focused()
    page.keyboard.press("Enter")
    expect(visit.find("#phone")).to_be_focused()
    page.keyboard.press("Enter")
    expect(visit.find("#code")).to_be_focused()
    page.keyboard.type(shop.code(phone))
    visit.step("approved")
    expect(visit.find("h2", has_text="Phone confirmed")).to_be_focused()
    assert shop.simulator.count(phone) == 1
    assert visit.errors == []


def test_each_step_is_announced(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    said = visit.find("[role=status]")
    phone = visit.start()
    expect(said).to_have_text("Type the last 4 digits")
    visit.type_code(wrong(shop.code(phone)))
    expect(said).to_contain_text("Wrong digits")
    expect(said).to_contain_text("2 attempts left")
    visit.type_code(shop.code(phone))
    expect(said).to_have_text("Phone confirmed")


def test_a_double_click_on_everything_is_one_call(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = fresh_phone()
    visit.enter(phone)
    visit.find("button.primary").first.dblclick()
    visit.step("code")
    assert shop.simulator.count(phone) == 1
    again = visit.find("button.link").get_by_text("Call again", exact=True)
    again.wait_for()
    again.dblclick()
    expect(visit.find("[role=status]")).to_have_text("The phone was called again")
    assert shop.simulator.count(phone) == 2
    visit.find("#code").evaluate("(field, text) => { field.value = text }", wrong(shop.code(phone)))
    visit.find("button.primary", has_text="Confirm").dblclick()
    expect(visit.find("#codeError")).to_contain_text("1 attempt left")
    visit.type_code(shop.code(phone))
    visit.step("approved")
    assert len(visit.sent("/verify/check")) == 2
    assert visit.errors == []


@pytest.mark.parametrize(
    ("width", "across", "down"), [(320, 0.1, 0.1), (320, 0.5, 0.9), (1280, 0.1, 0.1), (1280, 0.2, 0.9)]
)
def test_the_second_click_meets_nothing_that_came_in_between(
    chromium: Browser, shop: Shop, width: int, across: float, down: float
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800})
    visit = Visit.of(context.new_page(), shop.write("ru"))
    visit.page.evaluate(
        """() => {
            window.steps = [];
            document.addEventListener("statechange", ({detail}) => steps.push(detail.step));
        }"""
    )
    phone = fresh_phone()
    visit.enter(phone)
    box = visit.find("button.primary").first.bounding_box()
    assert box
    visit.page.mouse.dblclick(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
    visit.step("code")
    assert visit.page.evaluate("steps") == ["calling", "code"]
    expect(visit.find("#codeError")).to_be_hidden()
    assert shop.simulator.count(phone) == 1
    context.close()


def test_a_reload_in_the_middle_goes_on_with_the_same_verification(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = visit.start()
    page.reload()
    visit.step("code")
    assert len(visit.sent("/verify/start")) == 1
    visit.type_code(shop.code(phone))
    visit.step("approved")
    assert shop.simulator.count(phone) == 1


def test_a_reload_while_the_phone_is_called_is_one_call(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = fresh_phone()
    shop.simulator.behave(phone, delay=1.5)
    visit.enter(phone)
    visit.find("#phone").press("Enter")
    visit.step("calling")
    page.wait_for_timeout(300)
    page.reload()
    visit.step("code")
    keys = {headers["idempotency-key"] for path, _, headers in visit.requests if path == "/verify/start"}
    assert len(keys) == 1
    visit.type_code(shop.code(phone))
    visit.step("approved")
    assert shop.simulator.count(phone) == 1


@pytest.mark.parametrize(
    "spelled",
    [
        "{number}",
        "Missed call {number}, 12:03",
        "25.11.2026 14:05 {number} 00:03",
        "{number} (2)",
        "the digits are {code}, it rang at 14:05",
        "\u202a{number}\u202c",
    ],
)
def test_the_right_digits_are_found_in_what_is_pasted(page: Page, shop: Shop, spelled: str) -> None:
    visit = Visit.of(page, shop.write())
    phone = visit.start()
    call = shop.simulator.calls(phone)[0]
    visit.paste(
        spelled.format(number=f"+7 495 {call['from'][4:7]}-{call['from'][7:9]}-{call['from'][9:]}", code=call["code"])
    )
    visit.step("approved")
    assert visit.errors == []


def test_nothing_is_sent_of_what_may_be_wrong(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = visit.start()
    for text in ("1234 or 5678", phone, "no digits", "+7 495 111-22-33 or +7 495 111-44-55"):
        visit.paste(text)
        expect(visit.find("#codeError")).to_contain_text("can't see the digits")
    visit.find("#code").fill("12")
    visit.find("#code").press("Enter")
    expect(visit.find("#codeError")).to_be_visible()
    visit.find("#code").fill("")
    visit.find("#code").press_sequentially("+7495")
    assert visit.sent("/verify/check") == []
    visit.type_code(f"123{shop.code(phone)}")
    visit.find("#code").press("Enter")
    visit.step("approved")


def test_a_lost_answer_is_asked_for_again_and_is_one_call(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    visit.lose_answers("/verify/start", 2)
    phone = visit.start()
    assert len(visit.sent("/verify/start")) == 3
    assert shop.simulator.count(phone) == 1
    visit.lose_answers("/verify/check", 1)
    visit.type_code(shop.code(phone))
    expect(visit.find("#codeError")).to_contain_text("No answer")
    visit.find("#code").press("Enter")
    visit.step("approved")
    assert visit.errors == []


def test_a_slow_network_is_said(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = fresh_phone()

    def hold(route: Any) -> None:
        page.wait_for_timeout(4500)
        route.continue_()

    page.route("**/verify/start", hold)
    visit.enter(phone)
    visit.find("#phone").press("Enter")
    expect(visit.find(".call .note").first).to_have_text("The connection is slow. Please wait.", timeout=10_000)
    visit.step("code")
    assert shop.simulator.count(phone) == 1


def test_offline_and_back_again(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = visit.start()
    page.context.set_offline(True)
    expect(visit.find(".call .note").first).to_have_text("You are offline. Your verification is kept.")
    visit.type_code(shop.code(phone))
    expect(visit.find("#codeError")).to_contain_text("Check the connection")
    page.context.set_offline(False)
    expect(visit.find(".call .note").first).to_be_hidden()
    visit.find("#code").press("Enter")
    visit.step("approved")


def test_locked_and_what_to_do_next(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = visit.start()
    right = shop.code(phone)
    for nth in (1, 2):
        with page.expect_response(is_answer("/verify/check")):
            visit.type_code(wrong(right, nth))
        expect(visit.find("#codeError")).to_contain_text(f"{3 - nth} attempt")
        expect(visit.find("#code")).to_have_value("")
    visit.type_code(wrong(right, 3))
    visit.step("ended")
    expect(visit.find("#endedError")).to_contain_text("No attempts left")
    visit.find("button:visible", has_text="Another number").click()
    visit.start()
    assert visit.errors == []


def test_it_takes_part_in_its_form(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write(attributes="required"))
    assert page.evaluate("document.forms.order.checkValidity()") is False
    page.locator("#buy").click()
    assert "/order" not in page.url
    phone = visit.start()
    visit.type_code(shop.code(phone))
    visit.step("approved")
    assert page.evaluate("document.forms.order.checkValidity()") is True
    token = visit.token()
    page.locator("#buy").click()
    page.wait_for_url("**/order?phone_token=*")
    assert token in page.url


def test_a_disabled_fieldset_disables_it(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    page.evaluate("document.querySelector('phone-verify').setAttribute('disabled', '')")
    page.keyboard.press("Tab")
    expect(visit.find("#phone")).not_to_be_focused()
    page.evaluate("document.querySelector('phone-verify').removeAttribute('disabled')")
    visit.start()


def test_its_form_resets_it(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    visit.start()
    page.evaluate("document.forms.order.reset()")
    visit.step("phone")
    expect(visit.find("#phone")).to_have_value("")


def test_its_events_say_what_happens(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    page.evaluate(
        """() => {
            window.seen = [];
            for (const name of ["statechange", "verified", "problem"])
                document.addEventListener(name, ({type, detail}) => seen.push([type, detail.step ?? detail.code ?? detail.phone]));
        }"""
    )
    phone = visit.start()
    visit.type_code(wrong(shop.code(phone)))
    visit.find("#codeError").wait_for()
    visit.type_code(shop.code(phone))
    visit.step("approved")
    assert page.evaluate("seen") == [
        ["statechange", "calling"],
        ["statechange", "code"],
        ["problem", "code_incorrect"],
        ["statechange", "approved"],
        ["verified", phone],
    ]


def test_two_on_one_page_do_not_meet(page: Page, shop: Shop) -> None:
    first = Visit.of(page, shop.write(count=2))
    second = Visit(page, 1)
    one, other = first.start(), second.start()
    page.reload()
    first.step("code")
    second.step("code")
    second.type_code(shop.code(other))
    second.step("approved")
    first.type_code(shop.code(one))
    first.step("approved")
    assert (shop.simulator.count(one), shop.simulator.count(other)) == (1, 1)
    assert first.errors == []


def test_removed_in_mid_flight(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    phone = fresh_phone()
    shop.simulator.behave(phone, delay=1)
    visit.enter(phone)
    visit.find("#phone").press("Enter")
    visit.step("calling")
    page.wait_for_timeout(200)
    page.evaluate("window.kept = document.querySelector('phone-verify'); kept.remove()")
    page.wait_for_timeout(2500)
    assert len(visit.sent("/verify/start")) == 1
    page.evaluate("document.forms.order.prepend(kept)")
    visit.step("code")
    assert shop.simulator.count(phone) == 1
    assert visit.errors == []


@pytest.mark.parametrize("workers", [True, False])
def test_a_challenge_is_solved_with_and_without_a_worker(page: Page, challenging_shop: Shop, workers: bool) -> None:
    visit = Visit.of(page, challenging_shop.write(workers=workers))
    started: list[str] = []
    page.on("worker", lambda worker: started.append(worker.url))
    loaded: list[str] = []
    page.context.on("request", lambda request: loaded.append(request.url))
    phone = fresh_phone()
    assert not any("challenge.js" in url for url in loaded)
    visit.enter(phone)
    visit.find("#phone").press("Enter")
    visit.find(".card[data-step=code]").wait_for(timeout=60_000)
    assert [bool(body.get("challenge")) for body in visit.sent("/verify/start")] == [False, True]
    assert len({headers["idempotency-key"] for path, _, headers in visit.requests if path == "/verify/start"}) == 1
    assert challenging_shop.simulator.count(phone) == 1
    if workers:
        assert started
        assert visit.errors == []
    visit.type_code(challenging_shop.code(phone))
    visit.step("approved")


def test_a_device_is_kept_and_a_service_without_it_is_no_obstacle(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())

    def with_device(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(
            response=answer, json={**answer.json(), "device": "dev_1"} if answer.status == 200 else answer.json()
        )

    page.route("**/verify/check", with_device)
    phone = visit.start()
    visit.type_code(shop.code(phone))
    visit.step("approved")
    kept = page.evaluate("Object.entries(localStorage).filter(([name]) => name.includes('devices'))")
    assert [shop.service.url in name and shop.key in name and "dev_1" in value for name, value in kept] == [True]
    visit.widget.evaluate("element => element.reset()")
    page.wait_for_timeout(5500)  # the resend cooldown of the first call to this phone
    visit.start(phone)
    assert visit.sent("/verify/start")[1]["device"] == "dev_1"
    assert shop.simulator.count(phone) == 2


def test_a_page_can_say_it_in_its_own_way(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    page.evaluate("document.querySelector('phone-verify').texts = {title: 'Your number, please'}")
    expect(visit.find("h2").first).to_have_text("Your number, please")
    page.evaluate("document.querySelector('phone-verify').lang = 'ru'")
    expect(visit.find("#intro")).to_contain_text("Отвечать не нужно")
    expect(visit.find("h2").first).to_have_text("Your number, please")
    page.evaluate("document.querySelector('phone-verify').style.setProperty('--phone-verify-accent', 'rgb(1, 2, 3)')")
    expect(visit.find("button.primary").first).to_have_css("background-color", "rgb(1, 2, 3)")


def test_motion_is_reduced_for_who_asks(chromium: Browser, shop: Shop) -> None:
    context = chromium.new_context(reduced_motion="reduce")
    visit = Visit.of(context.new_page(), shop.write())
    visit.start()
    durations = visit.find(".card").evaluate(
        "card => card.getAnimations({subtree: true}).map(({effect}) => effect.getComputedTiming().activeDuration)"
    )
    assert all(duration <= 1 for duration in durations)
    context.close()


def test_a_language_is_one_file(page: Page, shop: Shop) -> None:
    german = {"title": "Telefon bestätigen", "problems": {"phone_invalid": "Bitte die Nummer prüfen."}}
    cors = {"Access-Control-Allow-Origin": "*"}
    page.route("**/widget/lang/de.json", lambda route: route.fulfill(json=german, headers=cors))
    visit = Visit.of(page, shop.write(attributes='lang="de"'))
    expect(visit.find("h2").first).to_have_text("Telefon bestätigen")
    visit.find("#phone").press("Enter")
    expect(visit.find("#phoneError")).to_have_text("Bitte die Nummer prüfen.")
    expect(visit.find("button.primary").first).to_have_text("Call me")


def test_a_country_that_is_not_built_in_is_loaded(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write(attributes='countries="RU DE"'))
    expect(visit.find("select option")).to_have_text(["RU +7", "DE +49"])
    visit.find("#phone").press_sequentially("+491512345678")
    expect(visit.find("select")).to_have_value("DE")
    expect(visit.find("#phone")).to_have_value("1512 345678")
    assert visit.widget.evaluate("element => element.phone") == "+491512345678"
    assert visit.errors == []


def test_a_language_without_a_file_is_english(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write(attributes='lang="xx"'))
    expect(visit.find("h2").first).to_have_text("Confirm your phone")


def test_a_page_without_a_key_says_so(page: Page, shop: Shop) -> None:
    visit = Visit.of(page, shop.write())
    page.evaluate("document.querySelector('phone-verify').removeAttribute('client-key')")
    visit.enter(fresh_phone())
    visit.find("#phone").press("Enter")
    expect(visit.find("#phoneError")).to_contain_text("not set up correctly")
    assert ["client-key" in error for error in visit.errors] == [True]
