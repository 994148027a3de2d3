"""A provider that fails, refuses our account, or hangs: starts are answered at once, cost nothing and call no one, and checks go on."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.verification.ids import IdCodec
from tests.exposition import scrape, series
from tests.harness import PEPPER, Service, Simulator, fresh_phone, serving, wait_out_the_cooldown

PAUSE = 1
ACCOUNT = [("authorisation_failed", "credentials"), ("user_disabled", "credentials"), ("not_enough_money", "balance")]


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """One worker, so that each request meets the same breaker."""
    settings = {
        "PROVIDER_BREAKER_FAILURES": "3",
        "PROVIDER_BREAKER_PAUSE": str(PAUSE),
        "TEST_NUMBERS": "+79990000001=0000",
    }
    with serving(tmp_path_factory.mktemp("breaking"), simulator.send_url, WORKERS="1", **settings) as service:
        yield service


@pytest.fixture
def breaking(one_worker: Service) -> Service:
    """The same, its breaker closed again, no failure counted and the pause at its shortest."""
    assert after_the_pause(one_worker, fresh_phone()).status_code == 201
    return one_worker


def breaker_lines(service: Service) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line["event"].startswith("breaker")]


def assert_breaker(service: Service, state: str) -> None:
    answer = service.http.get("/readyz")
    assert (answer.status_code, answer.json()["breaker"]) == (200, state), "codes of earlier calls can be checked"
    assert scrape(service.url)[series("lastdigits_breakers", state=state)] == 1


def failing(simulator: Simulator, **behaviour: Any) -> str:
    phone = fresh_phone()
    simulator.behave(phone, **behaviour)
    return phone


def is_turned_away(answer: httpx.Response) -> bool:
    if answer.status_code != 503 or answer.json()["code"] != "provider_unavailable":
        return False
    assert set(answer.json()) == {"type", "title", "status", "code", "retry_after"}, "it says no more to anyone"
    assert answer.headers["Retry-After"] == str(answer.json()["retry_after"])
    return True


def after_the_pause(service: Service, phone: str) -> httpx.Response:
    """The answer to the first start that is let through: those before reserve nothing."""
    deadline = time.monotonic() + 20
    while is_turned_away(answer := service.start(phone)):
        assert time.monotonic() < deadline, "it never tries again"
        time.sleep(0.05)
    return answer


def test_failures_in_a_row_open_it_and_one_that_works_closes_it(breaking: Service, simulator: Simulator) -> None:
    earlier, other, before = fresh_phone(), fresh_phone(), len(breaker_lines(breaking))
    verification = breaking.start(earlier).json()["id"]
    for _ in range(3):
        assert breaking.start(failing(simulator, answer="empty")).status_code == 504
    assert is_turned_away(breaking.start(other))
    assert is_turned_away(breaking.post("/verify/resend", {"id": verification}))
    assert_breaker(breaking, "open")
    assert breaking.start("+79990000001").status_code == 201, "a test number needs no provider"
    assert breaking.check(verification, simulator.code(earlier)).status_code == 200
    assert simulator.count(other) == 0
    assert after_the_pause(breaking, other).status_code == 201, "nothing was reserved: no cooldown holds"
    assert simulator.count(other) == 1
    assert_breaker(breaking, "closed")
    events = [line["event"] for line in breaker_lines(breaking)[before:]]
    assert events == ["breaker_open", "breaker_half_open", "breaker_closed"]


@pytest.mark.parametrize(("error_code", "reason"), ACCOUNT)
def test_a_refusal_of_our_account_opens_it_at_once_and_only_the_operator_hears_why(
    breaking: Service, simulator: Simulator, error_code: str, reason: str
) -> None:
    refused = series(
        "lastdigits_operations_total", operation="start", outcome="provider_unavailable", reason="", test="false"
    )
    before = scrape(breaking.url)
    answer = breaking.start(failing(simulator, answer="error", error_code=error_code))
    assert (answer.status_code, answer.json()["code"]) == (503, "call_not_placed")
    assert is_turned_away(breaking.start(fresh_phone()))
    line = breaker_lines(breaking)[-1]
    assert (line["event"], line["level"], line["reason"], line["pause"]) == ("breaker_open", "error", reason, PAUSE)
    after, opened = scrape(breaking.url), series("lastdigits_breaker_opened_total", reason=reason)
    assert (after[opened], after[refused]) == (before[opened] + 1, before[refused] + 1)


async def test_while_the_provider_hangs_each_pause_costs_one_call(breaking: Service, simulator: Simulator) -> None:
    for _ in range(3):
        breaking.start(failing(simulator, answer="empty"))
    phones = [failing(simulator, hang=True) for _ in range(40)]
    deadline = time.monotonic() + 20
    statuses: Counter[int] = Counter()
    async with breaking.asynchronous() as http:
        while 504 not in statuses:
            assert time.monotonic() < deadline
            answers = await asyncio.gather(*(http.post("/verify/start", json={"phone": phone}) for phone in phones))
            statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {503: 39, 504: 1}
    assert sum(simulator.count(phone) for phone in phones) == 1
    assert is_turned_away(breaking.start(fresh_phone())), "the pause is longer now"


def test_a_request_that_was_answered_is_answered_again_while_it_is_open(
    breaking: Service, simulator: Simulator
) -> None:
    phone, key = fresh_phone(), {"Idempotency-Key": "one-and-the-same-request"}
    first = breaking.post("/verify/start", {"phone": phone}, headers=key)
    breaking.start(failing(simulator, answer="error", error_code="not_enough_money"))
    again = breaking.post("/verify/start", {"phone": phone}, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert is_turned_away(breaking.start(fresh_phone()))


async def test_after_an_unknown_call_a_resend_of_the_same_verification_is_the_way_on(
    service: Service, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, answer="empty", times=1)
    unknown = service.start(phone).json()
    assert unknown["code"] == "call_unknown"
    early = service.post("/verify/resend", {"id": unknown["id"]})
    assert (early.status_code, early.json()["limit"]) == (429, "resend_cooldown")
    await wait_out_the_cooldown(service, unknown["id"])
    resent = service.post("/verify/resend", {"id": unknown["id"]})
    assert (resent.status_code, resent.json()["status"]) == (200, "pending")
    assert service.check(unknown["id"], simulator.code(phone)).json()["status"] == "approved"
    assert simulator.count(phone) == 2


# ---- more starts than there is room for


@contextmanager
def crowded(directory: Path, simulator: Simulator) -> Iterator[Service]:
    """A service with room for ten calls, whose provider answers none for longer than the test takes. Killed at the end: nothing is to be waited for."""
    settings = {"PROVIDER_POOL_SIZE": "5", "CHALLENGE": "never", "CALLS_PER_IP": "1000/hour", "CALLS_TOTAL": "1000/day"}
    patient = {"PROVIDER_POOL_TIMEOUT": "30", "PROVIDER_READ_TIMEOUT": "60"}
    with serving(directory, simulator.send_url, WORKERS="1", **settings, **patient) as service:
        try:
            yield service
        finally:
            service.process.kill()


async def crowd(
    http: httpx.AsyncClient, simulator: Simulator, starts: int, shed: int
) -> list[asyncio.Future[httpx.Response]]:
    """So many starts at once, of which so many must be refused while the others wait for the provider."""
    phones = [failing(simulator, hang=True) for _ in range(starts)]
    answers = [asyncio.ensure_future(http.post("/verify/start", json={"phone": phone})) for phone in phones]
    while sum(answer.done() for answer in answers) < shed:  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.02)
    refused = [answer.result() for answer in answers if answer.done()]
    assert Counter((answer.status_code, answer.json()["code"]) for answer in refused) == {(503, "overloaded"): shed}
    assert {answer.headers["Retry-After"] for answer in refused} == {"2"}
    return [answer for answer in answers if not answer.done()]


async def test_starts_beyond_the_room_are_refused_at_once_cost_nothing_and_checks_go_on(
    tmp_path: Path, simulator: Simulator
) -> None:
    with crowded(tmp_path, simulator) as service:
        checked = fresh_phone()
        verification = service.start(checked).json()["id"]
        async with service.asynchronous() as http:
            waiting = await crowd(http, simulator, starts=100, shed=90)
            check = await http.post("/verify/check", json={"id": verification, "code": simulator.code(checked)})
            assert check.status_code == 200
            assert not any(answer.done() for answer in waiting)
            counted = scrape(service.url)
            assert counted[series("lastdigits_calls_used", limit="all", window="day", lane="all")] == 11, (
                "of those let in"
            )
            ended = {"operation": "start", "reason": "", "test": "false"}
            assert counted[series("lastdigits_operations_total", outcome="overloaded", **ended)] == 90
            service.process.kill()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_strangers_leave_a_known_device_room_for_its_resend_too(tmp_path: Path, simulator: Simulator) -> None:
    with crowded(tmp_path, simulator) as service:
        phone = fresh_phone()
        known = {"device": IdCodec(PEPPER.encode()).device(phone, "app")}
        verification, _ = service.begin(simulator, phone, "app", **known)
        await wait_out_the_cooldown(service, verification)
        async with service.asynchronous("app") as http:
            waiting = await crowd(http, simulator, starts=6, shed=1)
            assert (await http.post("/verify/resend", json={"id": verification})).json()["code"] == "overloaded"
            waiting.append(asyncio.ensure_future(http.post("/verify/resend", json={"id": verification} | known)))
            used = series("lastdigits_calls_used", limit="all", window="day", lane="all")
            async with asyncio.timeout(20):
                while scrape(service.url)[used] < 1 + 5 + 1:
                    assert not waiting[-1].done(), "it waits for the provider, as the strangers' do"
                    await asyncio.sleep(0.05)
            service.process.kill()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_strangers_have_their_share_of_the_room_and_backends_the_rest(
    tmp_path: Path, simulator: Simulator
) -> None:
    with crowded(tmp_path, simulator) as service:
        async with service.asynchronous("app") as strangers, service.asynchronous() as backend:
            waiting = await crowd(strangers, simulator, starts=40, shed=35)
            waiting += await crowd(backend, simulator, starts=6, shed=1)
            assert len(waiting) == 10
            service.process.kill()
            await asyncio.gather(*waiting, return_exceptions=True)
