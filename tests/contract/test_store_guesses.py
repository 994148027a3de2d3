"""The guess budget, in every store: whatever is guessed, in whatever order, the sum stays under the bound, and six digits stay open to the owner."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.store.keys import keys_of, phone_key
from app.store.redis_store import RedisStore
from app.verification.client import Client
from app.verification.guess_budget import GuessBudget
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import AlreadyUsed, Approval, CodeIncorrect, Limit, LimitReached, Verification
from app.verification.ports import RequestContext, Reserved
from app.verification.rates import parse_rates
from tests.contract.conftest import POLICY, coalescer_of, connected
from tests.harness import fresh_phone, make_older, slices_of

ASK = RequestContext(Client("web", "web"))
SLICE = 7200
OFTEN = parse_rates("100/day")
BUSY = replace(POLICY, cooldowns=(0,), calls_per_phone=OFTEN, guesses=GuessBudget.of(0.002, 3, OFTEN))
"""Many calls a day: a budget of 2,000 millionths, 600 of them for six digits alone."""


@pytest.fixture
def store(server: Any) -> RedisStore:
    return RedisStore(coalescer_of(server), BUSY)


async def _begun(
    store: RedisStore, codec: IdCodec, phone: str, least: int = 4, code: str = "012345"
) -> VerificationRef:
    """Start a verification; the handle with as many digits as the budget wanted, its code the first ones of `code`."""
    first = codec.new(phone, least)
    refs = [first, *(first.longer(digits) for digits in range(least + 1, 7))]
    call = await store.start(refs, ASK, None, None)
    assert isinstance(call, Reserved), call
    ref = refs[call.digits]
    settled = await store.settle(ref, ASK, call, ref.digest(code[: ref.code_length]), None)
    assert isinstance(settled, Verification)
    assert settled.code_length == ref.code_length
    return ref


async def _wrong(store: RedisStore, ref: VerificationRef) -> Any:
    return await store.check(ref, ASK, ref.digest("9" * ref.code_length))


async def _right(store: RedisStore, ref: VerificationRef, code: str = "012345") -> Any:
    return await store.check(ref, ASK, ref.digest(code[: ref.code_length]))


async def _spent(server: Any, ref: VerificationRef) -> int:
    stored = await server.hget(phone_key(ref.tag), "g") or b""
    return sum(slices_of(stored).values())


async def _pass(server: Any, ref: VerificationRef, slices: int) -> None:
    """As if so many slices of two hours had passed for this phone."""
    key = phone_key(ref.tag)
    if stored := await server.hget(key, "g"):
        newest = int.from_bytes(stored[4:10], "big") - slices
        await server.hset(key, "g", stored[:4] + newest.to_bytes(6, "big") + stored[10:])
    await make_older(server, ref, slices * SLICE)


async def test_a_strangers_guesses_make_codes_longer_and_the_owner_still_verifies(
    server: Any, store: RedisStore, codec: IdCodec
) -> None:
    phone = fresh_phone()
    lengths, owner = [], 0
    for n in range(100):
        ref = await _begun(store, codec, phone)
        lengths.append(ref.code_length)
        if n % 10 == 9:
            assert isinstance(await _right(store, ref), Approval)
            owner += 1
            continue
        answers = [await _wrong(store, ref) for _ in range(3)]
        assert all(isinstance(answer, CodeIncorrect) for answer in answers), "each had room when it was begun"
    assert owner == 10, "the owner verifies on each of ten tries"
    assert lengths[0] == 4
    assert lengths == sorted(lengths), "longer and longer"
    assert lengths[-1] == 6
    assert await _spent(server, ref) <= BUSY.guesses.bound


async def test_a_guess_at_two_codes_costs_both(server: Any, store: RedisStore, codec: IdCodec) -> None:
    ref = await _begun(store, codec, fresh_phone())
    await _wrong(store, ref)
    assert await _spent(server, ref) == 100
    call = await store.resend(ref, ASK)
    assert isinstance(call, Reserved)
    await store.settle(ref, ASK, call, ref.digest("4567"), None)
    await _wrong(store, ref)
    assert await _spent(server, ref) == 300
    again = await store.resend(ref, ASK)
    assert isinstance(again, Reserved)
    await store.settle(ref, ASK, again, ref.digest("4567"), None)
    await _wrong(store, ref)
    assert await _spent(server, ref) == 400, "the same digits twice are one code"


async def test_an_approval_gives_back_what_its_own_verification_cost_and_no_more(
    server: Any, store: RedisStore, codec: IdCodec
) -> None:
    phone = fresh_phone()
    other = await _begun(store, codec, phone)
    await _wrong(store, other)
    ref = await _begun(store, codec, phone)
    await _wrong(store, ref)
    await _wrong(store, ref)
    assert await _spent(server, ref) == 300
    assert isinstance(await _right(store, ref), Approval)
    assert await _spent(server, ref) == 100
    assert isinstance(await _right(store, ref), Approval)
    assert await _spent(server, ref) == 100, "told again, it gives nothing back again"
    assert isinstance(await _wrong(store, ref), AlreadyUsed)
    assert await _spent(server, ref) == 200, "a wrong code within the grace time costs as well"


async def test_at_the_end_of_its_room_no_guess_is_compared_right_or_wrong(
    server: Any, store: RedisStore, codec: IdCodec
) -> None:
    phone = fresh_phone()
    refs = [await _begun(store, codec, phone) for _ in range(6)]
    assert {ref.code_length for ref in refs} == {4}
    for ref in refs[:4]:
        for _ in range(3):
            await _wrong(store, ref)
    await _wrong(store, refs[4])
    await _wrong(store, refs[4])
    assert await _spent(server, ref) == 1400, "all that is not the reserve"
    for denied in (await _right(store, refs[5]), await _wrong(store, refs[5])):
        assert isinstance(denied, LimitReached)
        assert denied.limit is Limit.GUESS_BUDGET
        assert 86_400 <= denied.retry_after <= 86_400 + SLICE
    assert await _spent(server, ref) == 1400
    six = await _begun(store, codec, phone)
    assert six.code_length == 6
    assert isinstance(await _right(store, six), Approval)


async def test_a_hundred_guesses_at_once_cost_what_was_compared(server: Any, store: RedisStore, codec: IdCodec) -> None:
    phone = fresh_phone()
    refs = [await _begun(store, codec, phone) for _ in range(6)]
    answers = await asyncio.gather(*(_wrong(store, ref) for ref in refs for _ in range(20)))
    compared = sum(isinstance(answer, CodeIncorrect) for answer in answers)
    assert compared * 100 == await _spent(server, refs[0]) == 1400


async def test_a_test_number_costs_nothing(server: Any, store: RedisStore, codec: IdCodec) -> None:
    ref = codec.new(fresh_phone(), 4, test=True)
    call = await store.start([ref], ASK, None, None)
    assert isinstance(call, Reserved)
    await store.settle(ref, ASK, call, ref.digest("0000"), None)
    await _wrong(store, ref)
    assert await _spent(server, ref) == 0


async def test_the_budget_outlives_calls_and_a_rotation_of_the_pepper(
    server: Any, store: RedisStore, codec: IdCodec
) -> None:
    ref = await _begun(store, codec, fresh_phone())
    await _wrong(store, ref)
    assert 86_400_000 + SLICE * 1000 - 5000 < await server.pttl(phone_key(ref.tag)) <= 86_400_000 + SLICE * 1000
    await _begun(store, codec, ref.phone)
    assert await server.pttl(phone_key(ref.tag)) > 86_400_000, "a later call does not shorten it"
    rotating = IdCodec(b"the next pepper 0123456789 0123456789", b"pepper of the contract tests 0123456789")
    moved = rotating.new(ref.phone, 4)
    await server.hdel(phone_key(ref.tag), "f")
    assert isinstance(await store.start([moved], ASK, None, rotating.before(moved)), Reserved)
    assert await _spent(server, moved) == 100


# ---- against a plain model that remembers every guess


@dataclass
class Guess:
    at: int  # in slices
    cost: int
    verification: int


@dataclass
class Model:
    """What an observer with a perfect memory knows."""

    now: int = 0
    guesses: list[Guess] = field(default_factory=list)

    def today(self) -> int:
        """What guesses of the last 24 hours have cost."""
        return sum(guess.cost for guess in self.guesses if guess.at > self.now - 12)

    def most(self) -> int:
        """The most that guesses which count have cost in any 24 hours."""
        starts = {guess.at for guess in self.guesses} or {0}
        return max(sum(guess.cost for guess in self.guesses if start <= guess.at < start + 12) for start in starts)


STEP = st.one_of(
    st.tuples(st.just("start"), st.integers(4, 6)),
    st.tuples(st.just("wrong"), st.integers(0, 5)),
    st.tuples(st.just("wrong"), st.integers(0, 5)),
    st.tuples(st.just("right"), st.integers(0, 5)),
    st.tuples(st.just("resend"), st.integers(0, 5)),
    st.tuples(st.just("pass"), st.integers(1, 13)),
)


@pytest.mark.parametrize("url", ["embedded_url", "redis_url"])
def test_no_order_of_guesses_exceeds_the_bound_in_any_day(
    url: str, request: pytest.FixtureRequest, codec: IdCodec
) -> None:
    address = request.getfixturevalue(url)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEP, min_size=20, max_size=90))
    def holds(steps: list[tuple[str, int]]) -> None:
        asyncio.run(_play(address, codec, steps))

    holds()


async def _play(url: str, codec: IdCodec, steps: list[tuple[str, int]]) -> None:
    async with connected(url) as server:
        store, model, phone = RedisStore(coalescer_of(server), BUSY), Model(), fresh_phone()
        live: list[tuple[int, VerificationRef, list[str]]] = []
        for number, (step, value) in enumerate(steps):
            if step == "start":
                code = f"{number:06d}"
                live.append((number, await _begun(store, codec, phone, value, code), [code]))
            elif step == "pass":
                if live:
                    await _pass(server, live[-1][1], value)
                model.now += value if live else 0
                live.clear()
            elif live:
                await _guess(store, model, live[value % len(live)], step)
            assert model.most() <= BUSY.guesses.bound
            if live:
                assert model.today() <= await _counted(server, live[-1][1]), "rounded up, never down"


async def _counted(server: Any, ref: VerificationRef) -> int:
    """What the store takes the guesses of the last 24 hours to have cost."""
    stored = await server.hget(phone_key(ref.tag), "g")
    if not stored:
        return 0
    seconds, _ = await server.time()
    shift = max(0, seconds // SLICE - int.from_bytes(stored[4:10], "big"))
    return sum(cost for behind, cost in slices_of(stored).items() if behind + shift < 13)


async def _guess(store: RedisStore, model: Model, begun: tuple[int, VerificationRef, list[str]], step: str) -> None:
    number, ref, codes = begun
    if step == "resend":
        call = await store.resend(ref, ASK)
        if isinstance(call, Reserved):
            codes.append(f"{call.at % 1_000_000:06d}")
            await store.settle(ref, ASK, call, ref.digest(codes[-1][: ref.code_length]), None)
        return
    answer = await (_wrong(store, ref) if step == "wrong" else _right(store, ref, codes[-1]))
    if isinstance(answer, CodeIncorrect) or (isinstance(answer, AlreadyUsed) and step == "wrong"):
        counting = len({code[: ref.code_length] for code in codes[-2:]}) if isinstance(answer, CodeIncorrect) else 0
        model.guesses.append(Guess(model.now, counting * 10 ** (6 - ref.code_length), number))
    elif isinstance(answer, Approval):
        model.guesses = [guess for guess in model.guesses if guess.verification != number]
    elif isinstance(answer, LimitReached):
        assert ref.code_length < 6, "six digits are always open"


async def test_what_an_approval_gives_back_from_two_slices_makes_nothing_older(
    server: Any, store: RedisStore, codec: IdCodec
) -> None:
    phone = fresh_phone()
    old = await _begun(store, codec, phone)
    await _wrong(store, old)
    ref = await _begun(store, codec, phone)
    await _wrong(store, ref)
    key = phone_key(ref.tag)
    stored = await server.hget(key, "g")
    newest = int.from_bytes(stored[4:10], "big") - 1
    await server.hset(key, "g", stored[:4] + newest.to_bytes(6, "big") + stored[10:])
    await _wrong(store, ref)
    assert isinstance(await _right(store, ref), Approval)
    stored = await server.hget(key, "g")
    assert slices_of(stored) == {0: 100}, "the other verification's guess counts on, as one that was made now"
    assert await server.exists(*keys_of(old)) == 2
