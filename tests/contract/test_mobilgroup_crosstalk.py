"""Many calls at once to a provider that misbehaves in every way: nobody gets another person's code, no number is sent twice."""

import asyncio
import contextlib
import json
from collections import Counter
from random import Random

import pytest

from app.telephony.credentials import HeaderKey
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.verification.call import Placed
from tests.contract.raw_provider import read_request

CALLS = 200
LIMITS = Limits(connect_timeout=1, read_timeout=0.2, pool_size=8, pool_timeout=5)


Answer = tuple[bytes, float]
"""Bytes, and the seconds before them."""


def misbehaviour(whole: bytes, body: bytes, random: Random) -> tuple[list[Answer], bool]:
    """What is sent, and whether the connection is kept.

    No stray answer comes so late that the next request has gone out already: HTTP/1.1 has no way to tell such a one.
    """
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
async def test_nobody_gets_another_persons_code_and_no_number_is_sent_twice(seed: int) -> None:
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
