"""Counts in slices (scripts/lib/window.lua), on every store: against a model that keeps each slice as a number and moves all of them every time."""

import math
import random
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import pytest

from app.store.redis_store import RedisStore
from app.verification.ids import IdCodec
from app.verification.ports import RequestContext, Reserved
from tests.contract.test_store_windows import CLIENT
from tests.harness import fresh_phone

MOST = 2**32 - 1
LARGEST_CAP = 4_000_000_000
SLICES = 12
DAY = 86_400
T0 = 1_790_000_000_000

_LIBRARY = "".join(
    files("app.store.scripts").joinpath("lib", f"{part}.lua").read_text("utf-8")
    for part in ("limits", "window", "correction", "guesses")
)
_STEP = (
    _LIBRARY
    + """
local window, now, amount, room = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local stored = redis.call('GET', KEYS[1]) or ''
local part, total = counted(stored, 1, window, now, 0)
local wait = wait_for((counted(stored, 1, window, now, math.max(0, amount))), room, now)
local oldest = until_kept(part, string.byte(part, -SLICE), now)
if ARGV[2] == 'count' then part = counted(stored, 1, window, now, amount) end
if ARGV[2] == 'correct' then part = corrected(stored, 1, window, now, tonumber(ARGV[7]), amount) end
if ARGV[2] == 'forgive' and total > 0 then
  forgive(KEYS[2], stored, now, amount)
  part = redis.call('HGET', KEYS[2], 'g')
  redis.call('DEL', KEYS[2])
end
redis.call('SET', KEYS[1], part, 'PX', 60000)
return {tostring(wait), total, tostring(oldest), struct.unpack('>I5', part, 12), part}
"""
)


@dataclass
class Model:
    """A part: the slices that count, newest first."""

    window: int
    newest: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * (SLICES + 1))

    @property
    def slice(self) -> float:
        return self.window * 1000 / SLICES

    def open(self, now: int) -> None:
        moved = max(0, math.floor(now / self.slice) - self.newest)
        self.newest += moved
        self.counts = ([0] * min(moved, SLICES + 1) + self.counts)[: SLICES + 1]

    def until_kept(self, kept: int, now: int) -> int:
        return math.ceil((self.newest + SLICES + 1 - kept) * self.slice - now)

    def wait(self, amount: int, room: int, now: int) -> int:
        left, kept = sum(self.counts), SLICES + 1
        while kept > 0 and left + amount > room:
            kept -= 1
            left -= self.counts[kept]
        return 0 if kept > SLICES else self.until_kept(kept, now)

    def oldest(self, now: int) -> int:
        return self.until_kept(max((n for n, count in enumerate(self.counts) if count), default=0), now)

    def change(self, place: int, amount: int) -> None:
        if 0 <= place <= SLICES:
            self.counts[place] = min(max(0, self.counts[place] + amount), MOST)

    def correct(self, at: int, amount: int) -> None:
        self.change(self.newest - math.floor(at / self.slice), amount)

    def forgive(self, cost: int) -> None:
        for place in (1, 0):
            back = min(cost, self.counts[place])
            self.counts[place] -= back
            cost -= back


def _slices(part: bytes) -> list[int]:
    counts = [0] * (SLICES + 1)
    for at in range(16, len(part), 5):
        counts[part[at]] = int.from_bytes(part[at + 1 : at + 5], "big")
    return counts


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("window", [1, 60, 3600, DAY])
async def test_counts_are_those_of_the_model_whatever_happens(server: Any, window: int, seed: int) -> None:
    """The clock goes on within a slice, over one, over many, and back; amounts are small, or such that four bytes overflow."""
    chance = random.Random(f"{window} {seed}")
    model, now = Model(window), T0
    keys = (f"test:slices:{fresh_phone()}", f"test:slices:{fresh_phone()}:g")
    script = await server.script_load(_STEP)
    for _ in range(150):
        now += round(chance.choice([0, 0.1, 1, 1, 2, 5, 12, 13, 14, -3]) * model.slice * chance.random() * 2)
        kind = chance.choices(["count", "look", "correct", "forgive"], [5, 1, 2, window == DAY])[0]
        amount = chance.choice([0, 1, 7, 3500, MOST // 2, MOST]) * (chance.choice([1, -1]) if kind == "correct" else 1)
        room = chance.choice([0, 5, 10_000, LARGEST_CAP])
        at = now - round(chance.choice([0, 0.5, 1, 6, 12, 13, 14, -1]) * model.slice)
        model.open(now)
        told = (model.wait(max(0, amount), room, now), sum(model.counts), model.oldest(now))
        if kind == "count":
            model.change(0, amount)
        elif kind == "correct":
            model.correct(at, amount)
        elif kind == "forgive":
            model.forgive(amount)
        wait, total, oldest, after, part = await server.evalsha(
            script, 2, *keys, "", kind, window, now, amount, room, at
        )
        assert (int(wait), total, int(oldest)) == told
        assert (_slices(part), after) == (model.counts, sum(model.counts))
    await server.delete(*keys)


async def test_what_another_window_counted_is_left_out(server: Any) -> None:
    key = f"test:slices:{fresh_phone()}"
    for window, before in ((3600, 0), (3600, 5), (60, 0), (3600, 0)):
        answer = await server.eval(_STEP, 2, key, f"{key}:g", "", "count", window, T0, 5, 100, 0)
        assert answer[1] == before


async def test_a_window_lives_as_long_as_anything_it_counts(server: Any, store: RedisStore, codec: IdCodec) -> None:
    """Its life is told when a slice begins, and holds for whatever is counted in it later."""
    ask = RequestContext(CLIENT, codec.address(fresh_phone()))
    key, hour, slice_ = f"ld:a:{ask.address}", 3_600_000, 300_000

    async def start() -> int:
        assert isinstance(await store.start([codec.new(fresh_phone(), 4)], ask, None, None), Reserved)
        seconds, micros = await server.time()
        lapses = (int.from_bytes((await server.get(key))[4:10], "big") + SLICES + 1) * slice_
        life: int = await server.pttl(key)
        assert life >= lapses - (seconds * 1000 + micros // 1000) - 1
        return life

    assert hour + slice_ - 1000 < await start() <= hour + slice_
    stored = await server.get(key)
    await server.set(key, stored[:4] + (int.from_bytes(stored[4:10], "big") - 2).to_bytes(6, "big") + stored[10:])
    await server.pexpire(key, hour - slice_)
    assert hour + slice_ - 1000 < await start() <= hour + slice_
    assert hour < await start() <= hour + slice_


async def test_a_guess_at_a_phone_whose_record_is_gone_leaves_none_that_stays(
    server: Any, store: RedisStore, codec: IdCodec
) -> None:
    for code in ("9999", "0123"):
        ref = codec.new(fresh_phone(), 4)
        call = await store.start([ref], RequestContext(CLIENT), None, None)
        assert isinstance(call, Reserved)
        await store.settle(ref, RequestContext(CLIENT), call, ref.digest("0123"), None)
        await store.check(ref, RequestContext(CLIENT), ref.digest("8888"))
        phone = f"ld:p:{{{ref.tag}}}"
        await server.delete(phone)
        await store.check(ref, RequestContext(CLIENT), ref.digest(code))
        assert await server.pttl(phone) != -1
