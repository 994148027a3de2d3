"""The circuit breaker, and what is admitted to the provider: pure, with a clock that the test moves."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.provider.admission import OVERLOADED_FOR, TRIAL_WAIT, Admission, Breaker, Slot
from app.verification.client import Lane
from app.verification.model import Overloaded, ProviderUnavailable, Refusal
from app.verification.ports import BreakerChanged, BreakerState, CallOutcome, Event, Placed, Refused, Unknown

OPEN, HALF_OPEN, CLOSED = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED
PLACED, UNKNOWN = Placed("0427", None, None), Unknown("no answer")
NO_KEY, NO_MONEY = Refused(Refusal.CREDENTIALS, ""), Refused(Refusal.BALANCE, "")
UNREACHABLE = Refused(Refusal.UNREACHABLE, "")


class World:
    """A breaker, its clock, and what it says."""

    def __init__(self, max_failures: int = 3, pause: float = 10) -> None:
        self.now = 1000.0
        self.said: list[Event] = []
        self.breaker = Breaker(max_failures, pause, self.hear, lambda: self.now)

    def hear(self, event: Event) -> None:
        self.said.append(event)

    def call(self, *outcomes: CallOutcome | None) -> BreakerState:
        """Calls one after the other; returns the state after them."""
        for outcome in outcomes:
            assert self.breaker.wait() == 0
            self.breaker.end(self.breaker.admit(), outcome)
        return self.breaker.state


WORK = [
    PLACED,
    *(Refused(reason, "") for reason in (Refusal.NOT_A_NUMBER, Refusal.NOT_PERMITTED, Refusal.CALLED_TOO_OFTEN)),
]
FAIL = [UNKNOWN, UNREACHABLE]
REFUSE_US = [NO_KEY, NO_MONEY]
SAY_NOTHING = [None, *(Refused(reason, "") for reason in (Refusal.MALFORMED, Refusal.OTHER, Refusal.BUSY))]


def test_every_refusal_has_its_verdict() -> None:
    judged = [outcome.reason for outcome in (*WORK, *FAIL, *REFUSE_US, *SAY_NOTHING) if isinstance(outcome, Refused)]
    assert sorted(judged) == sorted(Refusal)


@pytest.mark.parametrize("failure", FAIL, ids=str)
@pytest.mark.parametrize("success", WORK, ids=str)
def test_it_opens_after_so_many_failures_in_a_row(failure: CallOutcome, success: CallOutcome) -> None:
    world = World()
    assert world.call(failure, failure, success, failure, failure) is CLOSED
    assert world.call(failure) is OPEN
    assert world.breaker.wait() == 10


@pytest.mark.parametrize("refusal", REFUSE_US, ids=str)
def test_a_refusal_of_our_account_opens_it_at_once(refusal: Refused) -> None:
    world = World()
    world.call(refusal)
    assert world.said == [BreakerChanged(OPEN, refusal.reason.value, 10)]


@pytest.mark.parametrize("nothing", SAY_NOTHING, ids=str)
def test_answers_that_one_number_may_get_neither_open_it_nor_count_as_a_success(nothing: CallOutcome | None) -> None:
    world = World()
    assert world.call(*[nothing] * 5) is CLOSED
    assert world.call(UNKNOWN, nothing, UNKNOWN, nothing, UNKNOWN) is OPEN


def test_after_the_pause_one_call_at_a_time_finds_out() -> None:
    world = World()
    world.call(NO_KEY)
    world.now += 9.9
    assert world.breaker.wait() == pytest.approx(0.1)
    world.now += 0.1
    assert world.breaker.wait() == 0
    trial = world.breaker.admit()
    assert (world.breaker.state, world.breaker.wait()) == (HALF_OPEN, TRIAL_WAIT)
    world.breaker.end(trial, PLACED)
    assert (world.breaker.state, world.breaker.wait()) == (CLOSED, 0)


def test_the_pause_doubles_up_to_eight_times_and_a_success_makes_it_short_again() -> None:
    world = World()
    world.call(NO_KEY)
    for pause in (10, 20, 40, 80, 80, 80):
        assert world.breaker.wait() == pause
        world.now += pause
        world.call(UNKNOWN)
    world.now += 80
    world.call(PLACED, NO_KEY)
    assert world.breaker.wait() == 10


@pytest.mark.parametrize("nothing", SAY_NOTHING, ids=str)
def test_a_trial_that_says_nothing_leaves_the_trial_to_the_next_call_and_is_not_reported(
    nothing: CallOutcome | None,
) -> None:
    world = World()
    world.call(NO_KEY)
    world.now += 10
    assert world.call(nothing, nothing, nothing) is HALF_OPEN
    assert len(world.said) == 2, "a stranger whose starts are denied must not fill the log"
    assert world.call(PLACED) is CLOSED


def test_calls_from_before_a_change_say_nothing_of_what_holds_now() -> None:
    world = World()
    early = [world.breaker.admit() for _ in range(10)]
    world.call(NO_KEY)
    for era in early[:5]:
        world.breaker.end(era, PLACED)
    assert world.breaker.state is OPEN
    world.now += 10
    trial = world.breaker.admit()
    for era in early[5:]:
        world.breaker.end(era, UNKNOWN)
    assert (world.breaker.state, world.breaker.wait()) == (HALF_OPEN, TRIAL_WAIT)
    world.breaker.end(trial, PLACED)
    assert world.breaker.state is CLOSED


def test_with_no_failures_set_it_never_opens() -> None:
    world = World(max_failures=0)
    assert world.call(*(UNKNOWN, NO_KEY, UNREACHABLE) * 20) is CLOSED
    assert world.said == []


EVENTS = st.lists(st.one_of(st.just("admit"), st.floats(0, 30), st.sampled_from([PLACED, UNKNOWN, NO_KEY, None])))


@given(EVENTS)
def test_in_any_order_no_call_is_admitted_while_open_and_one_at_a_time_while_half_open(
    events: Iterable[float | str | CallOutcome | None],
) -> None:
    world, under_way = World(), list[int]()
    for event in events:
        if isinstance(event, float):
            world.now += event
        elif event == "admit" and world.breaker.wait() == 0:
            era = world.breaker.admit()
            if world.breaker.state is HALF_OPEN:
                assert era not in under_way, "a trial is under way already"
            under_way.append(era)
        elif event == "admit":
            assert world.breaker.state is not CLOSED
        elif under_way:
            world.breaker.end(under_way.pop(0), event)  # type: ignore[arg-type]  # the strings are dealt with


# ---- what is admitted


class Provider:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.calls = 0
        self.answer: asyncio.Future[CallOutcome] = asyncio.get_running_loop().create_future()

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        self.calls += 1
        return await asyncio.shield(self.answer)


def admitted(admission: Admission, lane: Lane = Lane.TRUSTED) -> Slot:
    slot = admission.admit(lane)
    assert isinstance(slot, Slot), slot
    return slot


async def test_no_more_calls_are_under_way_than_there_is_room_for_and_strangers_have_their_share() -> None:
    provider = Provider()
    admission = Admission(provider, 10, 0.5, (0, 1), lambda _: None)
    public = [admitted(admission, Lane.PUBLIC) for _ in range(5)]
    assert admission.admit(Lane.PUBLIC) == Overloaded(OVERLOADED_FOR)
    trusted = [admitted(admission) for _ in range(5)]
    assert admission.admit(Lane.TRUSTED) == Overloaded(OVERLOADED_FOR)
    calls = [asyncio.ensure_future(slot.place("+79160000000", 4)) for slot in trusted]
    public[0].give_back()
    public[0].give_back()
    admitted(admission)
    assert isinstance(admission.admit(Lane.TRUSTED), Overloaded), "twice is as good as once"
    provider.answer.set_result(PLACED)
    assert await asyncio.gather(*calls) == [PLACED] * 5
    assert [isinstance(admission.admit(Lane.TRUSTED), Slot) for _ in range(6)] == [True] * 5 + [False]


async def test_a_slot_that_is_used_is_free_only_when_its_call_has_ended() -> None:
    admission = Admission(Provider(), 1, 1, (0, 1), lambda _: None)
    slot = admitted(admission)
    call = asyncio.ensure_future(slot.place("+79160000000", 4))
    await asyncio.sleep(0)
    slot.give_back()
    assert isinstance(admission.admit(Lane.TRUSTED), Overloaded)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    admitted(admission)


async def test_an_open_breaker_admits_no_one_asks_no_provider_and_says_when_to_come_again() -> None:
    provider, now = Provider(), [0.0]
    admission = Admission(provider, 10, 0.5, (2, 10), lambda _: None, lambda: now[0])
    provider.answer.set_result(NO_MONEY)
    assert await admitted(admission).place("+79160000000", 4) == NO_MONEY
    now[0] = 0.5
    assert [admission.admit(lane) for lane in Lane] == [ProviderUnavailable(10)] * 2, "rounded up"
    now[0] = 10
    admitted(admission, Lane.PUBLIC)
    assert admission.admit(Lane.TRUSTED) == ProviderUnavailable(TRIAL_WAIT)
    assert provider.calls == 1


async def test_with_a_share_of_nothing_a_stranger_is_admitted_and_denied_by_the_limit_that_says_so() -> None:
    admitted(Admission(Provider(), 10, 0, (0, 1), lambda _: None), Lane.PUBLIC)
