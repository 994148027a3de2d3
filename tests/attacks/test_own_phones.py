"""What strangers try with phones, keys and approvals of their own, through HTTP with two workers and the defaults: nothing gives them more than it costs."""

import asyncio
import re
import secrets
import time
from typing import Any

import httpx

from app.store.connection import connect
from tests.attacks.page import TEST_NUMBER, Page
from tests.attacks.strangers import address_of_its_own, phone_in
from tests.harness import names_of, wrong

RANGE = 50


def _left(answer: httpx.Response) -> int:
    """Calls that its address has left, by the answer's headers."""
    found = re.search(r'"calls_per_ip";r=(\d+)', answer.headers["ratelimit"])
    assert found, answer.headers
    return int(found[1])


# ---- approvals of one's own phones


def test_an_approval_gives_its_address_back_its_own_call_and_no_victims(page: Page) -> None:
    address, own = address_of_its_own(), phone_in()
    assert _left(page.start(phone_in(), address)) == 19
    begun = page.start(own, address)
    assert _left(begun) == 18
    for _ in range(2):
        assert page.check(begun.json()["id"], page.simulator.code(own)).status_code == 200
    assert _left(page.start(phone_in(), address)) == 18, (
        "two calls that led to nothing, and one approval that is no more than one"
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
    assert _left(page.start(phone_in(), two)) == 18
    assert _left(page.start(phone_in(), one)) == 19


def test_approvals_of_ones_own_phones_buy_five_calls_each_before_the_lane_is_dear(page: Page) -> None:
    """20 % must lead to an approval: a stranger with many phones pays for every fifth call with one of these."""
    floor = RANGE // 2
    for _ in range(floor // 5):
        page.approved(phone_in())
    statuses = [page.start(phone_in()).status_code for _ in range(floor)]
    assert statuses == [201] * (floor - floor // 5 + 1) + [428] * (floor // 5 - 1)
    assert page.service.start(phone_in()).status_code == 201


def test_a_test_numbers_approvals_count_nowhere(page: Page) -> None:
    """Its code is known to reviewers: else it would lift the conversion of the lane for nothing."""

    async def counted() -> dict[str, Any]:
        names = names_of(page.service)
        async with connect(page.service.settings["REDIS_URL"], 5) as client:
            keys = [names.key("lane"), names.key("sprayed"), names.key("money", "3600"), names.key("calls", "1")]
            return {key: await client.hgetall(key) for key in keys if await client.exists(key)}

    for _ in range(5):
        begun = page.start(TEST_NUMBER)
        assert page.check(begun.json()["id"], "1111").status_code == 422
        assert page.check(begun.json()["id"], "0000").status_code == 200
    assert asyncio.run(counted()) == {}


# ---- idempotency keys


def test_an_idempotency_key_carries_no_call_from_one_lane_into_the_other(page: Page) -> None:
    phone, key = phone_in(), {"Idempotency-Key": secrets.token_hex(16)}
    device = page.approved(phone)["device"]
    page.later(30 * 3600)
    page.use_up(phone)
    assert page.start(phone, headers=key).status_code == 429, "denied, and so it leaves nothing under its key"
    first = page.start(phone, headers=key, device=device)
    assert first.status_code == 201
    again = page.start(phone, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true"), (
        "without the device it is the same action"
    )
    assert again.content == first.content
    assert page.simulator.count(phone) == 1 + 2 + 1
    assert page.start(phone_in(), headers=key, device=device).json()["code"] == "idempotency_key_reused"


def test_a_key_that_another_user_of_the_page_sends_for_another_phone_shows_nothing(page: Page) -> None:
    key = {"Idempotency-Key": secrets.token_hex(16)}
    begun = page.start(phone_in(), headers=key)
    assert begun.status_code == 201
    stolen = page.start(phone_in(), headers=key)
    assert (stolen.status_code, stolen.json()["code"]) == (422, "idempotency_key_reused")
    assert begun.json()["id"] not in stolen.text


# ---- verifications that are begun to be thrown away


def test_a_backends_cancel_and_start_places_no_more_calls_than_a_phone_may_get(page: Page) -> None:
    phone, placed = phone_in(), 0
    for _ in range(12):
        begun = page.service.start(phone)
        if begun.status_code == 201:
            placed += 1
            assert page.service.post(f"/verify/{begun.json()['id']}/cancel").status_code == 200
        page.later(300)
    assert placed == page.simulator.count(phone) == 5


def test_what_strangers_hold_and_never_check_leaves_the_owner_four_digits(page: Page) -> None:
    """A live verification of strangers holds what its guesses may cost: only of their own share."""
    phone = phone_in()
    lengths = [page.start(phone).json()["code_length"]]
    page.later(30)
    lengths.append(page.start(phone).json()["code_length"])
    page.later(30)
    assert lengths == [4, 5], "the public lane has room for one of four digits"
    assert page.service.start(phone).json()["code_length"] == 4


def test_after_the_approval_wrong_codes_are_counted_and_bounded(page: Page) -> None:
    phone = phone_in()
    begun = page.service.start(phone).json()["id"]
    code = page.simulator.code(phone)
    assert page.service.check(begun, code).status_code == 200
    statuses = [page.service.check(begun, wrong(code, nth)).status_code for nth in range(1, 6)]
    assert statuses == [409] * 5
    assert page.service.check(begun, code).json()["code"] == "already_used", "three wrong codes end the repeat window"
