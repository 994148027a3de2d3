"""The guess budget, in every store: a call is placed only if all guesses at its code fit; then a right code always counts, and no day exceeds the bound."""

import asyncio
from typing import Any

import pytest

from app.verification.guess_budget import GuessBudget
from app.verification.ids import VerificationRef
from app.verification.model import (
    AlreadyUsed,
    Approval,
    CodeIncorrect,
    Limit,
    LimitReached,
    Refusal,
    Verification,
)
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import BACKEND, OFTEN, World, device, stranger
from tests.harness import fresh_phone

HOUR, DAY = 3600, 86_400


async def length_of(world: World, ref: VerificationRef) -> int:
    return int(await world.server.hget(world.names.verification(ref)["verification"], "code_length"))


async def held(world: World, ref: VerificationRef) -> dict[str, bytes]:
    """The holds in a phone's record, by the verification's name."""
    record = await world.server.hgetall(world.names.verification(ref)["phone"])
    return {name.decode()[5:]: value for name, value in record.items() if name.startswith(b"hold:")}


async def guess_at(world: World, phone: str, context: RequestContext = BACKEND, digits: int = 4) -> VerificationRef:
    """A verification that was guessed at until it was locked."""
    ref = await world.place(phone, context, digits=digits)
    for _ in range(3):
        assert isinstance(await world.wrong(ref, context), CodeIncorrect)
    return ref


@pytest.mark.parametrize("public", [True, False])
async def test_a_strangers_guesses_make_codes_longer_and_the_owner_still_verifies(busy: World, *, public: bool) -> None:
    phone, lengths, owner = fresh_phone(), [], 0
    for n in range(50 if public else 100):
        context = stranger() if public else BACKEND
        ref = await busy.place(phone, context)
        lengths.append(await length_of(busy, ref))
        if n % 10 == 9:
            assert isinstance(await busy.right(ref, context), Approval)
            owner += 1
            continue
        answers = [await busy.wrong(ref, context) for _ in range(3)]
        assert all(isinstance(answer, CodeIncorrect) for answer in answers)
    assert owner == len(lengths) / 10, "the owner verifies on each try"
    assert lengths == sorted(lengths), "longer and longer"
    assert (lengths[0], lengths[-1]) == (4, 6)
    spent = await busy.guessed(ref)
    assert spent["public" if public else "trusted"] <= (1000 if public else 2000)


async def test_what_the_public_lane_guesses_leaves_the_trusted_lane_its_share(busy: World) -> None:
    phone = fresh_phone()
    refs = [await busy.place(phone, stranger()) for _ in range(50)]
    assert [await length_of(busy, ref) for ref in refs[:3]] == [4, 4, 5], "two of 300 fit into 700, held or counted"
    assert isinstance(await busy.reserved(phone, stranger()), LimitReached)
    for ref in refs:
        for _ in range(3):
            await busy.wrong(ref, stranger())
    assert (await busy.guessed(ref))["public"] <= 1000
    owner = [await busy.place(phone, device()) for _ in range(3)]
    assert [await length_of(busy, ref) for ref in owner] == [4, 5, 5]
    for ref in [*owner, *[await busy.place(phone, BACKEND) for _ in range(47)]]:
        context = stranger() if ref in owner else BACKEND
        assert isinstance(await busy.right(ref, context), Approval), "each of the calls that are left"


async def test_a_right_code_is_approved_whatever_others_guessed_meanwhile(busy: World) -> None:
    phone = fresh_phone()
    owner = await busy.place(phone)
    for _ in range(60):
        await guess_at(busy, phone)
    assert isinstance(await busy.right(owner), Approval)


async def test_no_call_is_placed_for_a_code_that_cant_be_checked(world: World) -> None:
    world.rule(cooldowns=(0,), calls_per_phone=OFTEN, guesses=GuessBudget(10, 5, 10, 10, 3))
    phone = fresh_phone()
    await guess_at(world, phone)
    refs = [await world.place(phone) for _ in range(2)]
    assert await world.reserved(phone) == LimitReached(Limit.GUESS_BUDGET, 600), "holds may be free again by then"
    for ref in refs:
        for _ in range(3):
            await world.wrong(ref)
    denied = await world.reserved(phone)
    assert denied.limit is Limit.GUESS_BUDGET
    assert DAY <= denied.retry_after <= DAY + 2 * HOUR
    await world.travel(denied.retry_after)
    await world.place(phone)


async def test_a_guess_at_two_codes_costs_both(busy: World) -> None:
    ref = await busy.place(code="0123")
    await busy.wrong(ref)
    assert await busy.guessed(ref) == {"trusted": 100}
    await busy.resend(ref, code="4567")
    await busy.wrong(ref)
    assert await busy.guessed(ref) == {"trusted": 300}
    await busy.resend(ref, code="4567")
    await busy.wrong(ref)
    assert await busy.guessed(ref) == {"trusted": 400}, "the same digits twice are one code"


async def test_a_resend_whose_two_codes_dont_fit_allows_fewer_attempts(busy: World) -> None:
    phone = fresh_phone()
    ref = await busy.place(phone)
    for _ in range(20):
        await busy.place(phone, digits=5)  # 600 held
    await guess_at(busy, phone)
    assert (await busy.resend(ref, code="4567")).attempts_left == 2, "500 are left, and each guess costs 200"
    assert await busy.wrong(ref) == CodeIncorrect(1)
    assert isinstance(await busy.right(ref), Approval)


async def test_a_resend_is_denied_where_not_one_guess_at_two_codes_fits(busy: World) -> None:
    phone = fresh_phone()
    ref = await busy.place(phone)
    await guess_at(busy, phone)
    for _ in range(24):
        await busy.place(phone, digits=5)
    assert [await busy.wrong(ref), await busy.wrong(ref)] == [CodeIncorrect(2), CodeIncorrect(1)]
    denied = await busy.store.reserve_resend(ref, BACKEND)
    assert isinstance(denied, LimitReached)
    assert denied.limit is Limit.GUESS_BUDGET
    assert isinstance(await busy.right(ref), Approval)


async def test_a_resend_that_never_reports_back_leaves_room_for_what_may_still_be_guessed(busy: World) -> None:
    phone = fresh_phone()
    ref = await busy.place(phone)
    for _ in range(36):
        await busy.place(phone, digits=5)  # 1,080 held: two codes leave room for one guess, the first code has three
    assert isinstance(await busy.store.reserve_resend(ref, BACKEND), Reserved)
    await busy.travel(30)
    assert await length_of(busy, await busy.place(phone, digits=5)) == 6
    assert [await busy.wrong(ref) for _ in range(3)] == [CodeIncorrect(2), CodeIncorrect(1), CodeIncorrect(0)]


@pytest.mark.parametrize("how", ["locked", "canceled", "failed", "unknown", "expired"])
async def test_what_a_verification_held_is_free_when_it_ends(busy: World, how: str) -> None:
    phone = fresh_phone()
    if how in {"failed", "unknown"}:
        ref, call = await busy.reserve(phone)
        end = busy.store.commit_unknown(ref, BACKEND, call)
        await (busy.store.cancel_reservation(ref, BACKEND, call, Refusal.OTHER) if how == "failed" else end)
        end.close()
    elif how == "locked":
        ref = await guess_at(busy, phone)
    else:
        ref = await busy.place(phone)
        await (busy.travel(301) if how == "expired" else busy.store.cancel(ref, BACKEND.client))
    if how != "expired":
        assert await held(busy, ref) == {}
    four = [await length_of(busy, await busy.place(phone)) for _ in range(4)]
    assert four == [4, 4, 4, 5 if how == "locked" else 4], "1,400 millionths are four times 300, and what was counted"


async def test_an_approval_gives_back_what_its_own_verification_cost_and_no_more(busy: World) -> None:
    phone = fresh_phone()
    await busy.wrong(await busy.place(phone))
    ref = await busy.place(phone)
    await busy.wrong(ref)
    await busy.travel(200)
    await busy.wrong(ref)
    assert await busy.guessed(ref) == {"trusted": 300}
    assert isinstance(await busy.right(ref), Approval)
    assert await busy.guessed(ref) == {"trusted": 100}
    assert isinstance(await busy.right(ref), Approval)
    assert await busy.guessed(ref) == {"trusted": 100}, "repeated, it gives nothing back again"
    assert isinstance(await busy.wrong(ref), AlreadyUsed)
    assert await busy.guessed(ref) == {"trusted": 200}, "a wrong code within the repeat window costs as well"


async def test_an_approval_gives_back_from_the_slices_that_it_was_counted_in(busy: World) -> None:
    phone = fresh_phone()
    old = await busy.place(phone)
    await busy.wrong(old)
    state = await busy.store.read(old, BACKEND.client)
    assert isinstance(state, Verification)
    await busy.travel((-100 - state.times.now / 1000) % (2 * HOUR))  # slices are two hours: 100 s before the next one
    other, ref = await busy.place(phone), await busy.place(phone)
    for each in (other, ref):
        await busy.wrong(each)
    await busy.travel(200)
    for each in (other, ref):
        await busy.wrong(each)
    assert isinstance(await busy.right(ref), Approval)
    counter = await busy.server.hgetall(busy.names.verification(ref)["guesses"])
    assert sorted(counter.values()) in ([b"100", b"100", b"100"], [b"100", b"200"]), "what others cost counts on"


async def test_a_hundred_guesses_at_once_cost_what_was_compared(busy: World) -> None:
    phone = fresh_phone()
    refs = [await busy.place(phone) for _ in range(4)]
    answers = await asyncio.gather(*(busy.wrong(ref) for ref in refs for _ in range(25)))
    assert sum(isinstance(answer, CodeIncorrect) for answer in answers) == 12
    assert await busy.guessed(refs[0]) == {"trusted": 1200}


async def test_a_hundred_starts_at_once_hold_no_more_than_there_is(busy: World) -> None:
    phone = fresh_phone()

    async def start(context: RequestContext) -> Any:
        ref, call = await busy.reserve(phone, context)
        while not isinstance(call, Reserved):  # another call is being placed
            ref, call = await busy.reserve(phone, context)
        return await busy.settle(ref, call, context)

    placed = await asyncio.gather(*(start(stranger()) for _ in range(12)), *(start(BACKEND) for _ in range(12)))
    lengths = [found.code_length for found in placed]
    assert len(lengths) == 24
    assert lengths.count(4) == 4, "two of each lane, or three and one"


async def test_a_test_number_costs_nothing(busy: World) -> None:
    ref = busy.codec.new(fresh_phone(), test=True)
    call = await busy.store.reserve(ref, BACKEND, 4, None)
    assert isinstance(call, Reserved)
    await busy.settle(ref, call)
    await busy.wrong(ref)
    assert await busy.guessed(ref) == {}


async def test_what_was_guessed_is_remembered_for_longer_than_a_day_whatever_is_called(busy: World) -> None:
    ref = await busy.place()
    await busy.wrong(ref)
    await busy.place(ref.phone)
    assert DAY * 1000 < (await busy.keys())[busy.names.verification(ref)["guesses"]] <= (DAY + 2 * HOUR) * 1000
    await busy.travel(DAY)
    assert await busy.guessed(ref) == {"trusted": 100}
