"""Coalesced commands: each answered by itself, none waiting behind a server that hangs, none lost to a neighbour that gave up."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from app.store.coalesce import MOST_WAITING, Coalescer
from app.verification.errors import StoreUnavailable


async def test_each_command_gets_its_own_answer(server: Any) -> None:
    coalescer = Coalescer(server)
    answers = await asyncio.gather(*(coalescer.run("ECHO", str(n)) for n in range(1000)))
    assert answers == [str(n).encode() for n in range(1000)]


async def test_one_that_fails_fails_alone(server: Any) -> None:
    coalescer = Coalescer(server)
    answers = await asyncio.gather(
        coalescer.run("ECHO", "a"), coalescer.run("NOSUCHCOMMAND"), coalescer.run("ECHO", "b"), return_exceptions=True
    )
    assert isinstance(answers[1], ResponseError)
    assert (answers[0], answers[2]) == (b"a", b"b")


async def test_one_that_gives_up_takes_nothing_from_its_neighbours(server: Any) -> None:
    coalescer = Coalescer(server)
    waiting = [asyncio.ensure_future(coalescer.run("ECHO", str(n))) for n in range(10)]
    await asyncio.sleep(0)
    waiting[3].cancel()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [a for n, a in enumerate(answers) if n != 3] == [str(n).encode() for n in range(10) if n != 3]


async def test_what_waited_too_long_is_never_sent(server: Any) -> None:
    coalescer = Coalescer(server, patience=-1)
    with pytest.raises(StoreUnavailable):
        await coalescer.run("SET", "coalesce:never", "1", "PX", "1000")
    assert await server.exists("coalesce:never") == 0


async def test_too_many_are_told_at_once(server: Any) -> None:
    coalescer = Coalescer(server)
    coalescer._waiting.extend([(("PING",), asyncio.get_running_loop().create_future(), 0.0)] * MOST_WAITING)
    with pytest.raises(StoreUnavailable):
        await coalescer.run("PING")
