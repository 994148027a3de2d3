"""The widget on a shop's page of another origin, with a strict policy: the whole way from a phone to a token, as people go it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.shop import Shop, shop_at
from tests.browser.visit import Open, Visit
from tests.harness import Simulator, fresh_phone, wrong

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("lang", "title", "scheme", "width"),
    [
        ("ru", "Подтвердите телефон", "light", 320),
        ("en", "Confirm your phone", "dark", 320),
        ("en", "Confirm your phone", "light", 1280),
        ("kk", "Телефонды растаңыз", "dark", 1280),
    ],
)
def test_a_person_verifies_a_phone_by_mouse(
    visit: Open, shop: Shop, tools: Path, lang: str, title: str, scheme: Any, width: int
) -> None:
    address = shop.write(lang, attributes='countries="RU KZ"')
    someone = visit(address, viewport={"width": width, "height": 800}, color_scheme=scheme)
    expect(someone.find("h2").first).to_have_text(title)
    assert someone.violations(tools) == []
    phone = fresh_phone()
    someone.find("#phone").click()
    someone.page.keyboard.type(phone.replace("+7", "8"))
    someone.find("button.primary").first.click()
    someone.step("code")
    assert someone.violations(tools) == []
    assert someone.fits()
    someone.find("#code").click()
    someone.page.keyboard.type(wrong(shop.code(phone)))
    someone.find("#codeError").wait_for()
    assert someone.violations(tools) == []
    someone.page.keyboard.type(shop.code(phone))
    someone.step("approved")
    assert someone.violations(tools) == []
    redeemed = shop.service.post("/verify/redeem", {"token": someone.token()})
    assert (redeemed.status_code, redeemed.json()["phone"]) == (200, phone)
    assert shop.simulator.count(phone) == 1


def test_a_person_verifies_a_phone_by_keyboard_alone(visit: Open, shop: Shop) -> None:
    someone, phone = visit(shop.write()), fresh_phone()
    keyboard = someone.page.keyboard
    keyboard.press("Tab")
    keyboard.type(phone)
    keyboard.press("Enter")
    someone.step("code")
    expect(someone.find("#code")).to_be_focused()
    for _ in range(3):
        keyboard.press("Tab")
    expect(someone.find("button:visible", has_text="Another number")).to_be_focused()
    keyboard.press("Enter")
    expect(someone.find("#phone")).to_be_focused()
    keyboard.press("Enter")
    expect(someone.find("#code")).to_be_focused()
    keyboard.type(shop.code(phone))
    someone.step("approved")
    expect(someone.find("h2", has_text="Phone confirmed")).to_be_focused()
    assert shop.simulator.count(phone) == 1


def test_a_double_click_on_everything_is_one_call(visit: Open, shop: Shop) -> None:
    someone, phone = visit(shop.write()), fresh_phone()
    someone.find("#phone").fill(phone)
    someone.find("button.primary").first.dblclick()
    someone.step("code")
    assert shop.simulator.count(phone) == 1
    again = someone.find("button.link").get_by_text("Call again", exact=True)
    again.wait_for()
    again.dblclick()
    expect(someone.find("[role=status]")).to_have_text("The phone was called again")
    assert shop.simulator.count(phone) == 2
    someone.find("#code").evaluate("(field, text) => { field.value = text }", wrong(shop.code(phone)))
    someone.find("button.primary", has_text="Confirm").dblclick()
    expect(someone.find("#codeError")).to_contain_text("1 attempt left")
    someone.approve(shop.code(phone))
    assert len(someone.sent("/verify/check")) == 2


LISTEN = """() => {
    window.seen = [];
    for (const name of ["statechange", "verified", "problem"])
        document.addEventListener(name, ({type, detail}) => seen.push([type, detail.step ?? detail.code ?? detail.phone]));
}"""


@pytest.mark.parametrize(
    ("width", "across", "down"), [(320, 0.1, 0.1), (320, 0.5, 0.9), (1280, 0.1, 0.1), (1280, 0.2, 0.9)]
)
def test_the_second_click_meets_nothing_that_came_in_between(
    visit: Open, shop: Shop, width: int, across: float, down: float
) -> None:
    someone, phone = visit(shop.write("ru"), viewport={"width": width, "height": 800}), fresh_phone()
    someone.page.evaluate(LISTEN)
    someone.find("#phone").fill(phone)
    someone.click_twice(across, down)
    someone.step("code")
    assert someone.page.evaluate("seen") == [["statechange", "calling"], ["statechange", "code"]]
    expect(someone.find("#codeError")).to_be_hidden()
    assert shop.simulator.count(phone) == 1


def test_each_step_is_announced_and_has_its_event(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())
    someone.page.evaluate(LISTEN)
    said = someone.find("[role=status]")
    phone = someone.start()
    expect(said).to_have_text("Type the last 4 digits")
    someone.type_code(wrong(shop.code(phone)))
    expect(said).to_contain_text("Wrong digits")
    expect(said).to_contain_text("2 attempts left")
    someone.type_code(shop.code(phone))
    expect(said).to_have_text("Phone confirmed")
    states = [["statechange", step] for step in ("calling", "code", "approved")]
    seen = [*states[:2], ["problem", "code_incorrect"], states[2], ["verified", phone]]
    assert someone.page.evaluate("seen") == seen


def test_a_reload_while_the_phone_is_called_is_one_call(visit: Open, shop: Shop) -> None:
    someone, phone = visit(shop.write()), fresh_phone()
    shop.simulator.behave(phone, delay=1.5)
    someone.ask(phone)
    someone.step("calling")
    someone.page.wait_for_timeout(300)
    someone.page.reload()
    someone.step("code")
    assert len(someone.keys()) == 1
    someone.approve(shop.code(phone))
    assert shop.simulator.count(phone) == 1


@pytest.mark.parametrize(
    "spelled",
    [
        *("{number}", "Missed call {number}, 12:03", "25.11.2026 14:05 {number} 00:03", "{number} (2)"),
        *("the digits are {code}, it rang at 14:05", "\u202a{number}\u202c"),
    ],
)
def test_the_right_digits_are_found_in_what_is_pasted(visit: Open, shop: Shop, spelled: str) -> None:
    someone = visit(shop.write())
    (call,) = shop.simulator.calls(someone.start())
    number = f"+7 495 {call['from'][4:7]}-{call['from'][7:9]}-{call['from'][9:]}"
    someone.paste(spelled.format(number=number, code=call["code"]))
    someone.step("approved")


def test_nothing_is_sent_of_what_may_be_wrong(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())
    phone, code = someone.start(), someone.find("#code")
    for text in ("1234 or 5678", phone, "no digits", "+7 495 111-22-33 or +7 495 111-44-55"):
        someone.paste(text)
        expect(someone.find("#codeError")).to_contain_text("can't see the digits")
    code.fill("12")
    code.press("Enter")
    expect(someone.find("#codeError")).to_be_visible()
    code.fill("")
    someone.type_code("+7495")
    assert someone.sent("/verify/check") == []
    someone.type_code(f"123{shop.code(phone)}")
    code.press("Enter")
    someone.step("approved")


def test_a_lost_answer_is_asked_for_again_and_is_one_call(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())
    someone.lose_answers("/verify/start", 2)
    phone = someone.start()
    assert len(someone.sent("/verify/start")) == 3
    assert shop.simulator.count(phone) == 1
    someone.lose_answers("/verify/check", 1)
    someone.type_code(shop.code(phone))
    expect(someone.find("#codeError")).to_contain_text("No answer")
    someone.find("#code").press("Enter")
    someone.step("approved")


def test_a_slow_network_is_said(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())

    def hold(route: Any) -> None:
        someone.page.wait_for_timeout(4500)
        route.continue_()

    someone.page.route("**/verify/start", hold)
    phone = someone.ask()
    expect(someone.find(".call .note").first).to_have_text("The connection is slow. Please wait.", timeout=10_000)
    someone.step("code")
    assert shop.simulator.count(phone) == 1


def test_offline_and_back_again(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())
    phone = someone.start()
    someone.page.context.set_offline(True)
    expect(someone.find(".call .note").first).to_have_text("You are offline. Your verification is kept.")
    someone.type_code(shop.code(phone))
    expect(someone.find("#codeError")).to_contain_text("Check the connection")
    someone.page.context.set_offline(False)
    expect(someone.find(".call .note").first).to_be_hidden()
    someone.find("#code").press("Enter")
    someone.step("approved")


def test_locked_and_what_to_do_next(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())
    right = shop.code(someone.start())
    for nth in (1, 2):
        someone.type_code(wrong(right, nth))
        expect(someone.find("#codeError")).to_contain_text(f"{3 - nth} attempt")
        expect(someone.find("#code")).to_have_value("")
    someone.type_code(wrong(right, 3))
    someone.step("ended")
    expect(someone.find("#endedError")).to_contain_text("No attempts left")
    someone.find("button:visible", has_text="Another number").click()
    someone.start()


def test_it_takes_part_in_its_form(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write(attributes="required"))
    page = someone.page
    assert page.evaluate("document.forms.order.checkValidity()") is False
    page.locator("#buy").click()
    assert "/order" not in page.url
    someone.start()
    page.evaluate("document.forms.order.reset()")
    someone.step("phone")
    expect(someone.find("#phone")).to_have_value("")
    someone.approve(shop.code(someone.start()))
    assert page.evaluate("document.forms.order.checkValidity()") is True
    token = someone.token()
    page.locator("#buy").click()
    page.wait_for_url("**/order?phone_token=*")
    assert token in page.url


def test_it_can_be_disabled(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write(attributes="disabled"))
    someone.page.keyboard.press("Tab")
    expect(someone.find("#phone")).not_to_be_focused()
    someone.widget.evaluate("element => element.removeAttribute('disabled')")
    someone.start()


def test_two_on_one_page_do_not_meet_and_a_reload_goes_on_with_both(visit: Open, shop: Shop) -> None:
    first = visit(shop.write(count=2))
    second = Visit(first.page, 1)
    one, other = first.start(), second.start()
    first.page.reload()
    for someone, phone in ((second, other), (first, one)):
        someone.step("code")
        someone.approve(shop.code(phone))
        assert shop.simulator.count(phone) == 1
    assert len(first.sent("/verify/start")) == 2


def test_removed_in_mid_flight(visit: Open, shop: Shop) -> None:
    someone, phone = visit(shop.write()), fresh_phone()
    shop.simulator.behave(phone, delay=1)
    someone.ask(phone)
    someone.step("calling")
    someone.page.wait_for_timeout(200)
    someone.page.evaluate("window.kept = document.querySelector('phone-verify'); kept.remove()")
    someone.page.wait_for_timeout(2500)
    assert len(someone.sent("/verify/start")) == 1
    someone.page.evaluate("document.forms.order.prepend(kept)")
    someone.step("code")
    assert shop.simulator.count(phone) == 1


def test_moved_on_the_page_it_keeps_its_token(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())
    someone.approve(shop.code(someone.start()))
    token = someone.token()
    someone.page.evaluate("document.forms.order.append(document.querySelector('phone-verify'))")
    assert someone.token() == token
    assert someone.page.evaluate("new FormData(document.forms.order).get('phone_token')") == token
    someone.widget.evaluate("element => element.reset()")
    someone.start()


def test_a_challenge_is_solved_with_and_without_a_worker(visit: Open, simulator: Simulator, tmp_path: Path) -> None:
    with shop_at(tmp_path, simulator, CHALLENGE="always") as shop:
        for workers in (True, False):
            someone, started = visit(shop.write(workers=workers)), list[str]()
            someone.page.on("worker", lambda worker: started.append(worker.url))  # noqa: B023  called in the loop
            assert not any("challenge.js" in url for url in someone.asked)
            phone = someone.ask()
            someone.step("code", timeout=60_000)
            assert [bool(body.get("challenge")) for body in someone.sent("/verify/start")] == [False, True]
            assert len(someone.keys()) == 1
            assert simulator.count(phone) == 1
            someone.approve(shop.code(phone))
            if workers:
                assert started
            else:
                someone.errors.clear()  # of the policy that allows no worker


def test_a_device_is_kept_and_a_service_without_it_is_no_obstacle(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())

    def with_device(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | ({"device": "dev_1"} if answer.status == 200 else {}))

    someone.page.route("**/verify/check", with_device)
    phone = someone.start()
    someone.approve(shop.code(phone))
    kept = someone.page.evaluate("Object.entries(localStorage).filter(([name]) => name.includes('devices'))")
    assert [shop.service.url in name and shop.key in name and "dev_1" in value for name, value in kept] == [True]
    someone.widget.evaluate("element => element.reset()")
    someone.page.wait_for_timeout(5500)  # the resend cooldown of the first call to this phone
    someone.start(phone)
    assert someone.sent("/verify/start")[1]["device"] == "dev_1"
    assert shop.simulator.count(phone) == 2


def test_a_page_can_say_it_in_its_own_way(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write())
    someone.widget.evaluate("element => { element.texts = {title: 'Your number, please'} }")
    expect(someone.find("h2").first).to_have_text("Your number, please")
    someone.widget.evaluate("element => { element.lang = 'ru' }")
    expect(someone.find("#intro")).to_contain_text("Отвечать не нужно")
    expect(someone.find("h2").first).to_have_text("Your number, please")
    someone.widget.evaluate("element => element.style.setProperty('--phone-verify-accent', 'rgb(1, 2, 3)')")
    expect(someone.find("button.primary").first).to_have_css("background-color", "rgb(1, 2, 3)")


def test_motion_is_reduced_for_who_asks(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write(), reduced_motion="reduce")
    someone.start()
    durations = someone.find(".card").evaluate(
        "card => card.getAnimations({subtree: true}).map(({effect}) => effect.getComputedTiming().activeDuration)"
    )
    assert all(duration <= 1 for duration in durations)


def test_a_language_is_one_file_and_without_it_the_words_are_english(page: Page, shop: Shop) -> None:
    german = {"title": "Telefon bestätigen", "problems": {"phone_invalid": "Bitte die Nummer prüfen."}}
    cors = {"Access-Control-Allow-Origin": "*"}
    page.route("**/widget/lang/de.json", lambda route: route.fulfill(json=german, headers=cors))
    someone = Visit(page).go(shop.write(attributes='lang="de"'))
    expect(someone.find("h2").first).to_have_text("Telefon bestätigen")
    someone.find("#phone").press("Enter")
    expect(someone.find("#phoneError")).to_have_text("Bitte die Nummer prüfen.")
    expect(someone.find("button.primary").first).to_have_text("Call me")
    someone.go(shop.write(attributes='lang="xx"'))
    expect(someone.find("h2").first).to_have_text("Confirm your phone")


def test_a_country_that_is_not_built_in_is_loaded(visit: Open, shop: Shop) -> None:
    someone = visit(shop.write(attributes='countries="RU DE"'))
    expect(someone.find("select option")).to_have_text(["RU +7", "DE +49"])
    someone.find("#phone").press_sequentially("+491512345678")
    expect(someone.find("select")).to_have_value("DE")
    expect(someone.find("#phone")).to_have_value("1512 345678")
    assert someone.widget.evaluate("element => element.phone") == "+491512345678"


def test_a_page_without_a_key_says_so(page: Page, shop: Shop) -> None:
    someone = Visit(page).go(shop.write())
    someone.widget.evaluate("element => element.removeAttribute('client-key')")
    someone.ask()
    expect(someone.find("#phoneError")).to_contain_text("not set up correctly")
    assert ["client-key" in error for error in someone.errors] == [True]


FETCH = """([url, key, phone]) => {
    const headers = {"Authorization": `Bearer ${key}`, "Content-Type": "application/json"};
    return fetch(url, {method: "POST", headers, body: JSON.stringify({phone})}).then(() => "read", String);
}"""


def test_a_page_of_another_origin_reads_nothing_and_calls_no_one(page: Page, shop: Shop) -> None:
    phone = fresh_phone()
    page.goto(shop.url.replace("localhost", "127.0.0.1"))
    for key in (shop.key, shop.service.keys["app"], shop.service.keys["backend"]):
        assert "Failed to fetch" in page.evaluate(FETCH, [f"{shop.service.url}/verify/start", key, phone])
    assert shop.simulator.count(phone) == 0
