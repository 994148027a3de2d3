"""The two lanes through HTTP, with two workers and the defaults: what strangers can't reach, and what phones and approvals of their own don't buy them."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx

from app.store.connection import connect
from app.verification.ids import DEVICE_LIFETIME, IdCodec
from tests.attacks.page import SHOP, TEST_NUMBER, Page, address_of_its_own, level_of, phone_in
from tests.harness import PEPPER, names_of, wrong

CODEC = IdCodec(PEPPER.encode())

# ---- what a device token opens, and what opens nothing

FORGED: dict[str, Callable[[str], str]] = {
    "of another phone": lambda _: CODEC.device("+79161234567", "web"),
    "of another client": lambda phone: CODEC.device(phone, "app"),
    "too old": lambda phone: CODEC.device(phone, "web", time.time() - DEVICE_LIFETIME - 60),
    "of another pepper": lambda phone: IdCodec(secrets.token_bytes(32)).device(phone, "web"),
    "cut short": lambda phone: CODEC.device(phone, "web")[:-2],
    "changed": lambda phone: CODEC.device(phone, "web")[:-3] + "AAA",
    "an id": lambda phone: CODEC.new(phone).id,
    "an id that is called a device": lambda phone: "dev_" + CODEC.new(phone).id.removeprefix("vrf_"),
}


def test_a_device_token_that_is_not_this_phones_and_pages_is_no_way_into_the_trusted_lane(page: Page) -> None:
    phone = phone_in()
    page.use_up(phone)
    for name, forge in FORGED.items():
        answer = page.start(phone, device=forge(phone))
        assert (answer.status_code, answer.json().get("limit")) == (429, "calls_per_phone"), name
    another = page.service.start(phone, "app", {"X-Forwarded-For": address_of_its_own()})
    assert another.json().get("limit") == "calls_per_phone", "all public clients share the lane"
    page.later(60)
    assert page.start(phone, device=CODEC.device(phone, "web")).status_code == 201, "a true one is one"


def test_a_stolen_device_token_opens_its_own_phone_and_nothing_else(page: Page) -> None:
    owner, victim = phone_in(), phone_in()
    stolen = page.approved(owner)["device"]
    page.use_up(victim)
    assert page.start(victim, device=stolen).status_code == 429
    assert page.service.post("/verify/redeem", {"token": stolen}).status_code == 422
    assert page.check(stolen, "0000").status_code == 404


# ---- what strangers' calls do to the owner's


def test_a_strangers_call_holds_the_owner_up_for_the_first_cooldown_whatever_was_called_before(page: Page) -> None:
    phone = phone_in()
    assert page.start(phone).status_code == 201
    page.later(30)
    assert page.start(phone).status_code == 201
    assert page.start(phone).json()["retry_after"] > 60, "of strangers the cooldown grows"
    waits = page.service.start(phone)
    assert (waits.status_code, waits.json()["limit"]) == (429, "resend_cooldown")
    assert waits.json()["retry_after"] <= 30
    page.later(waits.json()["retry_after"])
    assert page.service.check(*page.service.begin(page.simulator, phone)).status_code == 200


def test_many_starts_of_one_phone_in_both_lanes_place_one_call(page: Page) -> None:
    phone = phone_in()
    page.simulator.behave(phone, delay=0.2)
    known = {"phone": phone, "device": CODEC.device(phone, "web")}
    bodies = [known if number % 4 == 0 else {"phone": phone} for number in range(100)]
    web, backend = page.service.headers("web") | SHOP, page.service.headers("backend")
    headers = [backend if number % 2 else web | {"X-Forwarded-For": address_of_its_own()} for number in range(100)]
    answers = page.service.at_once("/verify/start", bodies, headers=headers)
    assert [answer.status_code for answer in answers].count(201) == 1
    assert page.simulator.count(phone) == 1
    strangers = [answer.json() for answer in answers[2::4] if answer.status_code != 201]
    assert {answer["retry_after"] % 30 for answer in strangers} == {0}, "they see only roughly when it was called"


# ---- what the public lane costs, before it is full


def test_a_phone_that_strangers_had_called_for_nothing_costs_them_work_and_its_owner_none(page: Page) -> None:
    phone = phone_in()
    for pause in (60, 3660, 3600):
        assert page.start(phone).status_code == 201
        page.later(pause)
    asked = page.start(phone)
    assert asked.status_code == 428
    assert level_of(asked) >= 3, "of three calls to this phone none led to an approval"
    assert page.service.start(phone).status_code == 201
    page.later(60)
    assert page.start(phone, device=CODEC.device(phone, "web")).status_code == 201
    page.later(60)
    assert page.start(phone_in()).status_code == 201, "another phone costs nothing yet"


# ---- what answers show a stranger of the owner's calls


def test_a_stranger_sees_only_roughly_when_the_owner_was_called(page: Page) -> None:
    phone = phone_in()
    begun = page.start(phone).json()["id"]
    page.later(30)
    assert page.service.start(phone).status_code == 201
    page.later(7)
    for answer in (page.resend(begun), page.start(phone)):
        assert (answer.status_code, answer.json()["limit"]) == (429, "resend_cooldown")
        assert answer.json()["retry_after"] == 60, "and not 53"


# ---- approvals, and verifications that are begun to be thrown away


def _left(answer: httpx.Response) -> int:
    """Calls that its address has left, by the answer's headers."""
    found = re.search(r'"calls_per_ip";r=(\d+)', answer.headers["ratelimit"])
    assert found, answer.headers
    return int(found[1])


def test_an_approval_gives_its_address_back_its_own_call_and_no_victims(page: Page) -> None:
    address, own = address_of_its_own(), phone_in()
    assert _left(page.start(phone_in(), address)) == 19
    begun = page.start(own, address)
    assert _left(begun) == 18
    for _ in range(2):
        assert page.check(begun.json()["id"], page.simulator.code(own)).status_code == 200
    assert _left(page.start(phone_in(), address)) == 18, (
        "two calls led to nothing, and two approvals are no more than one"
    )


def test_a_resend_from_another_address_counts_there_and_its_approval_gives_back_there(page: Page) -> None:
    one, two, own = address_of_its_own(), address_of_its_own(), phone_in()
    # `later` moves counters by whole slices of five minutes: a call in the first half minute of one would leave its slice without them.
    time.sleep(max(0, 31 - time.time() % 300))
    begun = page.start(own, one).json()["id"]
    page.later(30)
    assert _left(page.resend(begun, two)) == 19
    assert _left(page.start(phone_in(), two)) == 18
    assert page.check(begun, page.simulator.code(own)).status_code == 200
    assert [_left(page.start(phone_in(), address)) for address in (two, one)] == [18, 19]


def test_a_test_numbers_approvals_count_nowhere(page: Page) -> None:
    """Its code is known to reviewers: else it would lift the conversion of the lane for nothing."""

    async def counted() -> dict[str, Any]:
        names = names_of(page.service)
        async with connect(page.service.settings["REDIS_URL"], 5) as client:
            keys = [names.key("lane"), names.key("sprayed"), names.key("money", "3600"), names.key("calls", "1")]
            return {key: await client.hgetall(key) for key in keys if await client.exists(key)}

    for _ in range(5):
        begun = page.start(TEST_NUMBER).json()["id"]
        assert [page.check(begun, code).status_code for code in ("1111", "0000")] == [422, 200]
    assert asyncio.run(counted()) == {}


def test_a_backends_cancel_and_start_places_no_more_calls_than_a_phone_may_get(page: Page) -> None:
    phone = phone_in()
    for _ in range(12):
        begun = page.service.start(phone)
        if begun.status_code == 201:
            assert page.service.post(f"/verify/{begun.json()['id']}/cancel").status_code == 200
        page.later(300)
    assert page.simulator.count(phone) == 5


def test_after_the_approval_wrong_codes_are_counted_and_bounded_and_the_right_one_is_the_same_approval(
    page: Page,
) -> None:
    begun, code = page.service.begin(page.simulator, phone_in())
    first = page.service.check(begun, code)
    assert page.service.check(begun, wrong(code)).status_code == 409
    assert page.service.check(begun, code).content == first.content
    assert [page.service.check(begun, wrong(code, nth)).status_code for nth in (2, 3)] == [409] * 2
    assert page.service.check(begun, code).json()["code"] == "already_used", "three wrong codes end the repeat window"
