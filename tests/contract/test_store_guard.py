"""What comes of calls and codes, in every store: destinations close and open again, the alarm is raised, one address has half of a phone's calls."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.store.redis_store import RedisStore
from app.verification.call import Refusal
from app.verification.client import Client
from app.verification.guard import Guard, destination_of
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import (
    Approval,
    CodeIncorrect,
    DestinationSuspended,
    Limit,
    LimitReached,
    Scope,
    Verification,
)
from app.verification.ports import RequestContext, Reserved
from app.verification.rates import parse_rates
from tests.contract.conftest import POLICY, coalescer_of
from tests.harness import fresh_phone, make_older

_ranges = itertools.count(secrets.randbelow(1000))
ASK = RequestContext(Client("web", "web"))


class Town:
    """A range of numbers that only this test calls, and its country: a floor of 6 calls to the range, a fifth of calls to be confirmed beyond it."""

    def __init__(self, server: Any, codec: IdCodec, **rules: Any) -> None:
        self.server = server
        self._codec = codec
        self._numbers = iter(range(10_000))
        self.move()
        rules = {"share": 0.2, "per_country": 1_000_000, "per_range": 6, "spray": 0} | rules
        self.store = RedisStore(coalescer_of(server), replace(POLICY, guard=Guard.of(**rules)))

    def move(self) -> None:
        """To a range that nobody else calls."""
        self.range = f"+7926{next(_ranges) % 1000:03d}"

    def ref(self) -> VerificationRef:
        return self._codec.new(f"{self.range}{next(self._numbers):04d}", 4)

    async def call(self) -> tuple[VerificationRef, Any]:
        ref = self.ref()
        return ref, await self.store.start([ref], ASK, None, None)

    async def placed(self, count: int) -> list[VerificationRef]:
        """So many calls, each with its code."""
        refs = []
        for _ in range(count):
            ref, call = await self.call()
            assert isinstance(call, Reserved), call
            assert isinstance(await self.store.settle(ref, ASK, call, ref.digest("0123"), None), Verification)
            refs.append(ref)
        return refs

    async def approve(self, refs: list[VerificationRef]) -> None:
        for ref in refs:
            assert isinstance(await self.store.check(ref, ASK, ref.digest("0123")), Approval)

    async def over(self) -> None:
        """As if its pause were over."""
        await self.server.hset(self.key, "u", 1)

    @property
    def key(self) -> str:
        return f"ld:d:{self.range}"


@pytest.fixture
async def town(server: Any, codec: IdCodec) -> AsyncIterator[Town]:
    town = Town(server, codec)
    await server.delete(town.key)
    yield town
    await server.delete(town.key)


async def test_a_range_whose_calls_nobody_confirms_closes_at_its_floor(town: Town) -> None:
    await town.placed(6)
    _, first = await town.call()
    _, second = await town.call()
    assert first == DestinationSuspended(Scope.RANGE, town.range, 900, True)
    assert isinstance(second, DestinationSuspended)
    assert (second.just_now, second.retry_after <= 900) == (False, True)
    assert (await town.server.zscore("ld:closed", town.range)) > 0
    assert await town.server.pttl(town.key) > 0
    elsewhere = town._codec.new(f"+7917{fresh_phone()[-7:]}", 4)
    await town.server.delete(f"ld:d:{destination_of(elsewhere.phone).range}")
    assert isinstance(await town.store.start([elsewhere], ASK, None, None), Reserved), "other ranges go on"


async def test_a_hundred_calls_at_once_are_the_floor(town: Town) -> None:
    answers = await asyncio.gather(*(town.call() for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for _, answer in answers) == 6


async def test_each_approval_pays_for_five_calls(town: Town) -> None:
    refs = await town.placed(6)
    await town.approve(refs[:2])
    await town.placed(10)
    assert isinstance((await town.call())[1], DestinationSuspended)


async def test_honest_calls_never_close_a_range(town: Town) -> None:
    for _ in range(20):
        refs = await town.placed(4)
        await town.approve(refs[:1])


async def test_answers_that_were_only_late_open_it_again(town: Town) -> None:
    refs = await town.placed(6)
    assert isinstance((await town.call())[1], DestinationSuspended)
    await town.approve(refs[:1])
    assert await town.server.zscore("ld:closed", town.range) is None
    await town.placed(5)
    assert isinstance((await town.call())[1], DestinationSuspended)


async def test_probes_that_are_confirmed_open_it_with_clean_counts(town: Town) -> None:
    await town.placed(6)
    await town.call()
    await town.over()
    probes = await town.placed(5)
    _, sixth = await town.call()
    assert isinstance(sixth, DestinationSuspended)
    assert not sixth.just_now, "what became of the probes is still waited for"
    await town.approve(probes[:2])
    assert isinstance((await town.call())[1], DestinationSuspended), "two of five are too few"
    await town.approve(probes[2:3])
    await town.placed(6)
    assert isinstance((await town.call())[1], DestinationSuspended), "and then the floor counts as at first"


async def test_probes_that_nobody_confirms_close_it_for_twice_as_long(town: Town) -> None:
    await town.placed(6)
    waits = []
    for _ in range(5):
        _, closed = await town.call()
        assert isinstance(closed, DestinationSuspended)
        waits.append(closed.retry_after)
        await town.over()
        await town.placed(5)
        await town.server.hset(town.key, "l", 1)
    assert waits == [900, 1800, 3600, 7200, 7200]


@pytest.mark.parametrize("refused", [True, False])
async def test_calls_that_the_provider_does_not_place_count_for_nothing(town: Town, *, refused: bool) -> None:
    for _ in range(20):
        ref, call = await town.call()
        assert isinstance(call, Reserved), "an outage of the provider is no fraud"
        if refused:
            await town.store.release(ref, ASK, call, Refusal.UNREACHABLE)
        else:
            await town.store.keep(ref, ASK, call)


async def test_a_probe_of_unknown_fate_is_used_up_and_a_refused_one_is_not(town: Town) -> None:
    await town.placed(6)
    await town.call()
    await town.over()
    for _ in range(5):
        ref, call = await town.call()
        assert isinstance(call, Reserved)
        await town.store.release(ref, ASK, call, Refusal.BUSY)
    for _ in range(5):
        ref, call = await town.call()
        assert isinstance(call, Reserved)
        await town.store.keep(ref, ASK, call)
    assert isinstance((await town.call())[1], DestinationSuspended)


async def test_a_country_closes_as_a_range_does(server: Any, codec: IdCodec) -> None:
    town = Town(server, codec, per_country=8, per_range=6)
    await server.delete("ld:d:RU", town.key)
    await town.placed(4)
    town.move()
    await server.delete(town.key)
    await town.placed(4)
    closed = (await town.call())[1]
    assert closed == DestinationSuspended(Scope.COUNTRY, "RU", 900, True)
    await server.delete("ld:d:RU", town.key)


async def test_test_numbers_are_not_watched(server: Any, codec: IdCodec) -> None:
    town = Town(server, codec, per_range=1)
    for _ in range(3):
        ref = codec.new(f"{town.range}0000", 4, test=True)
        assert isinstance(await town.store.start([ref], ASK, None, None), Reserved)
    assert not await server.exists(town.key)


async def test_one_guess_at_each_of_many_raises_the_alarm_once(server: Any, codec: IdCodec) -> None:
    await server.delete("ld:w")
    town = Town(server, codec, share=0, spray=5)
    refs = await town.placed(12)
    answers = [await town.store.check(ref, ASK, ref.digest("9999")) for ref in refs[:8]]
    assert [answer.alarm for answer in answers if isinstance(answer, CodeIncorrect)] == [False] * 5 + [
        True,
        False,
        False,
    ]
    again = await town.store.check(refs[0], ASK, refs[0].digest("8888"))
    assert isinstance(again, CodeIncorrect), "a second guess at the same one is another matter"
    assert 0 < await server.pttl("ld:w") <= 14_700_000
    await server.delete("ld:w")


async def test_a_wrong_code_after_the_approval_is_no_sign_of_spraying(server: Any, codec: IdCodec) -> None:
    await server.delete("ld:w")
    town = Town(server, codec, share=0, spray=1)
    refs = await town.placed(4)
    await town.approve(refs)
    for ref in refs:
        await town.store.check(ref, ASK, ref.digest("9999"))
    assert await server.hget("ld:w", "u") is None
    await server.delete("ld:w")


async def test_people_who_mistype_and_then_are_right_raise_no_alarm(server: Any, codec: IdCodec) -> None:
    await server.delete("ld:w")
    town = Town(server, codec, share=0, spray=5)
    for number, ref in enumerate(await town.placed(40)):
        if number % 3 == 0:
            mistyped = await town.store.check(ref, ASK, ref.digest("9999"))
            assert isinstance(mistyped, CodeIncorrect)
            assert not mistyped.alarm
        await town.approve([ref])
    await server.delete("ld:w")


async def test_one_address_has_half_of_a_phones_calls(server: Any, store: RedisStore, codec: IdCodec) -> None:
    phone = fresh_phone()
    stranger = RequestContext(ASK.client, codec.address(fresh_phone()))
    for number in range(3):
        ref = codec.new(phone, 4)
        answer = await store.start([ref], stranger, None, None)
        if number < 2:
            assert isinstance(answer, Reserved), "two of five an hour are half, rounded down"
            settled = await store.settle(ref, stranger, answer, ref.digest("0123"), None)
            assert isinstance(settled, Verification)
            if number == 1:
                assert settled.times.resend_at is None, "and whoever asks is told when it is their turn again"
            await make_older(server, ref, 400)
    assert isinstance(answer, LimitReached)
    assert (answer.limit, answer.place) == (Limit.CALLS_PER_PHONE_AND_IP, 0)
    assert 2700 < answer.retry_after < 3600
    owner = RequestContext(ASK.client, codec.address(fresh_phone()))
    assert isinstance(await store.start([codec.new(phone, 4)], owner, None, None), Reserved)


async def test_all_calls_together_have_a_limit(server: Any, codec: IdCodec) -> None:
    await server.delete("ld:n")
    store = RedisStore(coalescer_of(server), replace(POLICY, calls_total=parse_rates("7/day")))
    answers = await asyncio.gather(*(store.start([codec.new(fresh_phone(), 4)], ASK, None, None) for _ in range(20)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 7
    assert {answer.limit for answer in answers if isinstance(answer, LimitReached)} == {Limit.CALLS_TOTAL}
    await server.delete("ld:n")


async def test_a_client_that_is_left_out_neither_closes_a_range_nor_finds_it_closed(town: Town) -> None:
    trusted = RequestContext(Client("known", "known", guarded=False))
    for _ in range(9):
        ref = town.ref()
        call = await town.store.start([ref], trusted, None, None)
        assert isinstance(call, Reserved)
        await town.store.release(ref, trusted, call, Refusal.OTHER)
    await town.placed(6)
    assert isinstance((await town.call())[1], DestinationSuspended)
    ref = town.ref()
    call = await town.store.start([ref], trusted, None, None)
    assert isinstance(call, Reserved)
    await town.store.settle(ref, trusted, call, ref.digest("0123"), None)
    assert isinstance(await town.store.check(ref, trusted, ref.digest("0123")), Approval)
    assert isinstance((await town.call())[1], DestinationSuspended), "and its approvals pay for nobody's calls"
