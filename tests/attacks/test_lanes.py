"""The two lanes through HTTP, with two workers and the defaults: what strangers can't reach, and by what they can't get into the other lane."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

import httpx

from app.verification.ids import DEVICE_LIFETIME, IdCodec
from tests.attacks.page import SHOP, Page
from tests.attacks.strangers import address_of_its_own, level_of, phone_in
from tests.harness import PEPPER

# ---- what a device token opens, and what opens nothing


def test_a_device_that_was_approved_before_is_called_when_strangers_have_used_up_their_share(page: Page) -> None:
    phone = phone_in()
    device = page.approved(phone)["device"]
    page.later(30 * 3600)
    page.use_up(phone)
    begun = page.start(phone, device=device)
    assert begun.status_code == 201, begun.text
    assert page.check(begun.json()["id"], page.simulator.code(phone)).status_code == 200


FORGED: dict[str, Callable[[IdCodec, str], str]] = {
    "of another phone": lambda codec, _: codec.device("+79161234567", "web"),
    "of another client": lambda codec, phone: codec.device(phone, "app"),
    "too old": lambda codec, phone: codec.device(phone, "web", time.time() - DEVICE_LIFETIME - 60),
    "of another pepper": lambda _, phone: IdCodec(secrets.token_bytes(32)).device(phone, "web"),
    "cut short": lambda codec, phone: codec.device(phone, "web")[:-2],
    "changed": lambda codec, phone: codec.device(phone, "web")[:-3] + "AAA",
    "an id": lambda codec, phone: codec.new(phone).id,
    "an id that is called a device": lambda codec, phone: "dev_" + codec.new(phone).id.removeprefix("vrf_"),
}


def test_a_device_token_that_is_not_this_phones_and_pages_is_no_way_into_the_trusted_lane(page: Page) -> None:
    phone, codec = phone_in(), IdCodec(PEPPER.encode())
    page.use_up(phone)
    for name, forge in FORGED.items():
        answer = page.start(phone, device=forge(codec, phone))
        assert (answer.status_code, answer.json().get("limit")) == (429, "calls_per_phone"), name
    page.later(60)
    assert page.start(phone, device=codec.device(phone, "web")).status_code == 201, "a true one is one"


def test_a_stolen_device_token_opens_its_own_phone_and_nothing_else(page: Page) -> None:
    owner, victim = phone_in(), phone_in()
    stolen = page.approved(owner)["device"]
    page.use_up(victim)
    assert page.start(victim, device=stolen).status_code == 429
    assert page.service.post("/verify/redeem", {"token": stolen}).status_code == 422
    assert page.check(stolen, "0000").status_code == 404


def test_a_resend_stays_in_the_lane_of_its_start_whatever_it_brings(page: Page) -> None:
    phone, codec = phone_in(), IdCodec(PEPPER.encode())
    begun = page.start(phone).json()["id"]
    page.later(30)
    assert page.resend(begun).status_code == 200
    page.later(60)
    answer = page.resend(begun, device=codec.device(phone, "web"))
    assert (answer.status_code, answer.json().get("limit")) == (429, "calls_per_phone")


def test_all_public_clients_share_one_lane(page: Page) -> None:
    phone = phone_in()
    page.use_up(phone)
    answer = page.service.post(
        "/verify/start", {"phone": phone}, "app", headers={"X-Forwarded-For": address_of_its_own()}
    )
    assert (answer.status_code, answer.json().get("limit")) == (429, "calls_per_phone")


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
    begun = page.service.start(phone)
    assert begun.status_code == 201, begun.text
    assert page.service.check(begun.json()["id"], page.simulator.code(phone)).status_code == 200


def test_the_owners_own_cooldowns_grow_as_ever(page: Page) -> None:
    phone = phone_in()
    for pause in (30, 60):
        assert page.service.start(phone).status_code == 201
        assert page.service.start(phone).json()["retry_after"] == pause
        page.later(pause)
    assert page.service.start(phone).status_code == 201


async def test_many_starts_of_one_phone_in_both_lanes_place_one_call(page: Page) -> None:
    phone, codec = phone_in(), IdCodec(PEPPER.encode())
    await asyncio.to_thread(page.simulator.behave, phone, delay=0.2)
    known = {"phone": phone, "device": codec.device(phone, "web")}
    async with page.service.asynchronous("backend") as backend, page.service.asynchronous("web") as web:
        requests: list[Awaitable[httpx.Response]] = []
        for number in range(50):
            headers = SHOP | {"X-Forwarded-For": address_of_its_own()}
            body = known if number % 2 else {"phone": phone}
            requests.append(web.post("/verify/start", json=body, headers=headers))
            requests.append(backend.post("/verify/start", json={"phone": phone}))
        answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers].count(201) == 1
    assert page.simulator.count(phone) == 1


# ---- what the public lane costs, before it is full


def test_a_phone_that_strangers_had_called_for_nothing_costs_them_work_and_its_owner_none(page: Page) -> None:
    phone = phone_in()
    for _ in range(2):
        assert page.start(phone).status_code == 201
        page.later(60)
    page.later(3600)
    assert page.start(phone).status_code == 201
    page.later(3600)
    asked = page.start(phone)
    assert asked.status_code == 428
    assert level_of(asked) >= 3, "of three calls to this phone none led to an approval"
    assert page.service.start(phone).status_code == 201
    page.later(60)
    assert page.start(phone, device=IdCodec(PEPPER.encode()).device(phone, "web")).status_code == 201
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


def test_a_limit_that_the_owners_calls_have_reached_shows_roughly_when_they_were(page: Page) -> None:
    phone = phone_in()
    for _ in range(4):
        begun = page.service.start(phone)
        assert page.service.check(begun.json()["id"], page.simulator.code(phone)).status_code == 200
    page.later(3600 - 287)
    answer = page.start(phone)
    assert (answer.status_code, answer.json()["resend_in"]) == (201, 300)
