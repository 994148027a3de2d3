"""The gate of the HTTP client: whatever a provider does to its connections, no call gets another person's code, and no number is sent twice."""

import asyncio
import contextlib
import json
from collections import Counter
from random import Random

import pytest

from app.provider.credentials import HeaderKey
from app.provider.mobilgroup import Limits, Mobilgroup
from app.verification.ports import CallOutcome, Placed
from tests.contract.raw_provider import OK, Behaviour, RawProvider, answer, read_request, send, whole

CALLS = 200
LIMITS = Limits(connect_timeout=5, read_timeout=0.1, pool_size=8, pool_timeout=5)
STRAY = whole(OK | {"code": "6666"})

TWICE = {
    "in one segment": send(whole(OK) + STRAY, keep=True),
    "a moment later": send(whole(OK), STRAY, keep=True, pause=0.005),
    "begun": send(whole(OK) + STRAY[:20], keep=True),
    "in advance": send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + whole(OK) + STRAY, keep=True),
}


def code_of(outcome: CallOutcome) -> str:
    assert isinstance(outcome, Placed)
    return outcome.code


@pytest.mark.parametrize("twice", TWICE.values(), ids=TWICE)
async def test_a_second_answer_on_a_connection_is_never_the_next_calls_answer(twice: Behaviour) -> None:
    following = answer(OK | {"code": "1111"})
    async with RawProvider(twice, following) as provider, Mobilgroup(provider.url, HeaderKey("key")) as client:
        assert code_of(await client.place("+79161234567", 4)) == "0427"
        await asyncio.sleep(0.01)
        assert code_of(await client.place("+79160000000", 4)) == "1111"
        assert provider.connections == 2


async def test_the_answer_to_a_cancelled_call_is_never_the_next_calls_answer() -> None:
    late = asyncio.Event()

    async def answer_late(writer: asyncio.StreamWriter) -> bool:
        await late.wait()
        writer.write(STRAY)
        return True

    async with RawProvider(answer_late, answer(OK)) as provider, Mobilgroup(provider.url, HeaderKey("key")) as client:
        call = asyncio.create_task(client.place("+79161234567", 4))
        await provider.read(1)
        call.cancel()
        late.set()
        assert code_of(await client.place("+79160000000", 4)) == "0427"


Answer = tuple[bytes, float]
"""Bytes, and the seconds before them."""


def misbehaviour(whole: bytes, body: bytes, random: Random) -> tuple[list[Answer], bool]:
    """What is sent, and whether the connection is kept open."""
    soon = random.random() / 100
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    ways: list[tuple[list[Answer], bool]] = [
        ([], False),
        ([(whole[: random.randrange(len(whole))], soon)], False),
        ([(whole + whole, 0)], True),
        ([(whole, soon), (b"HTTP/1.1 200 OK\r\n", 0)], False),
        ([(whole, 0)], False),
        ([(b"HTTP/1.1 200 OK\r\n\r\n" + body, 0)], False),
        ([(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}", 0)], False),
        ([(whole, LIMITS.read_timeout + 0.05)], True),
        ([(bytes([byte]), 0) for byte in whole], True),
        *[([(hints + whole, soon)], True)] * 6,
    ]
    return random.choice(ways)


class Misbehaving:
    """Answers with the number's own last digits, and now and then does something else besides or instead."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.asked: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, RuntimeError)
        with contextlib.closing(writer), contextlib.suppress(*ended):
            while await self.behave((await read_request(reader)).json["number"], writer):
                pass

    async def behave(self, number: str, writer: asyncio.StreamWriter) -> bool:
        self.asked[number] += 1
        body = json.dumps({"result": "ok", "code": number[-4:]}).encode()
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        answers, kept = misbehaviour(whole, body, self.random)
        for data, seconds in answers:
            await asyncio.sleep(seconds)
            writer.write(data)
        return kept


@pytest.mark.parametrize("seed", range(2))
async def test_under_every_misbehaviour_no_call_gets_another_persons_code_and_no_number_is_sent_twice(
    seed: int,
) -> None:
    provider = Misbehaving(seed)
    random = Random(-seed)
    async with await asyncio.start_server(provider.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with Mobilgroup(url, HeaderKey("key"), LIMITS) as client:
            calls = {number: asyncio.ensure_future(client.place(f"+{number}", 4)) for number in NUMBERS}
            for call in random.sample([*calls.values()], CALLS // 10):
                await asyncio.sleep(random.random() / 100)
                call.cancel()
            outcomes = dict(zip(calls, await asyncio.gather(*calls.values(), return_exceptions=True), strict=True))
    placed = {number: outcome for number, outcome in outcomes.items() if isinstance(outcome, Placed)}
    assert len(placed) > CALLS / 3
    assert {number: outcome.code for number, outcome in placed.items()} == {number: number[-4:] for number in placed}
    assert max(provider.asked.values()) == 1


NUMBERS = [f"7916{index:07d}" for index in range(CALLS)]
