"""The servers that every store must behave the same on, and a deployment on one of them whose clock a test sets."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis

from app.store import redis_store
from app.store.connection import connect
from app.store.embedded import embedded_server
from app.store.health import Watch
from app.store.keys import Names
from app.store.pipelines import Pipelines
from app.store.redis_store import RedisStore
from app.store.scripts import Script, load_script
from app.verification.challenge import When
from app.verification.client import Client, Lane, networks_of
from app.verification.guess_budget import GuessBudget
from app.verification.ids import IdCodec, VerificationRef
from app.verification.limits import Rate, Spending, parse_rates
from app.verification.model import Approval, Refusal, Verification
from app.verification.phone import PhoneRules
from app.verification.policy import Guard, Policy
from app.verification.ports import RequestContext, Reserved
from tests.harness import fresh_phone

POLICY = Policy(
    phones=PhoneRules("RU", frozenset({"RU"})),
    code_length=4,
    ttl=300,
    max_attempts=3,
    cooldowns=(30, 60, 300),
    calls_per_phone=parse_rates("5/hour, 10/day"),
    calls_per_ip=parse_rates("3/hour"),
    calls_total=parse_rates("100000/second"),
    public_share=0.5,
    guesses=GuessBudget.of(0.001, 3, parse_rates("5/hour, 10/day"), 0.5),
    spending=Spending(3500, (Rate(4_000_000_000, 3600), Rate(4_000_000_000, 86400))),
    challenge=When.NEVER,
    guard=Guard(0, 1, 1, 0.5, 0),
    test_numbers={},
    approval_repeat_window=60,
    call_deadline=30,
)
PEPPER = b"pepper of the contract tests 0123456789"
TIMEOUT = 5.0
CODE = "012345"
"""The code of each call, as far as it has digits, unless a test says another."""
BACKEND = RequestContext(Client("backend", "backend"))
OTHER = RequestContext(Client("other", "other"))
WEB = Client("web", "web", public=True)

_addresses = count(secrets.randbelow(2**23))


def fresh_address() -> str:
    """An address in a /24 that no other test uses."""
    number = next(_addresses) % 2**23
    return f"{11 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.7"


def stranger(address: str | None = None, **fields: Any) -> RequestContext:
    """A request of the public lane, from an address of its own unless one is given."""
    return RequestContext(WEB, Lane.PUBLIC, networks_of(address or fresh_address()), **fields)


def device(address: str | None = None) -> RequestContext:
    """A request of the trusted lane with a public key."""
    return RequestContext(WEB, Lane.TRUSTED, networks_of(address or fresh_address()))


def placed(answers: Iterable[Any]) -> int:
    """How many calls were reserved."""
    return sum(isinstance(answer, Reserved) for answer in answers)


# ---- servers


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Under both loops whatever speaks to a network by itself: their transports differ in how they end."""
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    both = "mobilgroup" in item.path.name or "pipelines" in item.path.name
    return loops if both else {"asyncio": loops["asyncio"]}


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("embedded")
    with embedded_server(path):
        yield f"embedded://{path}"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The address of the server of this run: the embedded Valkey, or by `make test-redis` a Redis."""
    return os.environ.get("TEST_REDIS_URL") or str(request.getfixturevalue("embedded_url"))


@pytest.fixture
async def server(url: str) -> AsyncIterator["Redis"]:
    """A client of it."""
    async with connect(url, TIMEOUT) as client:
        assert isinstance(client, Redis)
        yield client


# ---- a deployment

_CLOCK = "local now = time[1] * 1000 + math.floor(time[2] / 1000)"
_SHIFTED = f"{_CLOCK} + redis.call('INCR', 'shift:' .. string.match(KEYS[1], '^[^:]*:'))"
_TRAVEL = """
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. '*')) do
  local left = redis.call('PTTL', key)
  assert(left >= 0, key .. ' has no TTL')
  if left > tonumber(ARGV[1]) then redis.call('PEXPIRE', key, left - ARGV[1]) else redis.call('DEL', key) end
end
redis.call('INCRBY', 'shift:' .. KEYS[1], ARGV[1])
"""


def _shifted(name: str) -> Script:
    """A script on a clock that `World.travel` sets."""
    text = load_script(name).text.replace(" flags=no-writes", "")  # the clock below is a write
    assert _CLOCK in text
    return Script(text.replace(_CLOCK, _SHIFTED))


class World:
    """A deployment with keys of its own. Its scripts run on the server's clock, or as much later as the test has traveled; no two in one millisecond."""

    def __init__(self, server: Any, monkeypatch: pytest.MonkeyPatch, pipelines: Pipelines) -> None:
        self.server, self.prefix = server, f"{{t{secrets.token_hex(5)}}}:"
        self.codec, self.policy = IdCodec(PEPPER), POLICY
        self._pipelines = pipelines
        monkeypatch.setattr(redis_store, "load_script", _shifted)
        self.rule()

    def rule(self, *, codec: IdCodec | None = None, timeout: float = TIMEOUT, **changes: Any) -> RedisStore:
        """From now on other rules are in force."""
        self.policy, self.codec = replace(self.policy, **changes), codec or self.codec
        watch = Watch(self.server, self.prefix)
        self.store = RedisStore(self._pipelines, watch, self.codec, self.policy, self.prefix, timeout)
        self.names = Names(self.prefix, self.codec.pepper, self.policy)
        return self.store

    async def travel(self, seconds: float) -> None:
        """As if so much time had passed, or the server's clock had been set back."""
        if seconds >= 0:
            await self.server.eval(_TRAVEL, 1, self.prefix, round(seconds * 1000))
        else:
            await self.server.incrby(f"shift:{self.prefix}", round(seconds * 1000))

    async def reserve(
        self, phone: str | None = None, context: RequestContext = BACKEND, digits: int = 4, purpose: str | None = None
    ) -> tuple[VerificationRef, Any]:
        """Ask for a phone's first call."""
        ref = self.codec.new(phone or fresh_phone())
        return ref, await self.store.reserve(ref, context, digits, purpose)

    async def reserved(self, phone: str | None = None, context: RequestContext = BACKEND) -> Any:
        """The answer alone, of those who look at nothing else."""
        return (await self.reserve(phone, context))[1]

    async def race(self, made: Callable[[], RequestContext], count: int = 100) -> list[Any]:
        """The answers to starts at once, each for another phone."""
        return await asyncio.gather(*(self.reserved(context=made()) for _ in range(count)))

    async def place(
        self, phone: str | None = None, context: RequestContext = BACKEND, digits: int = 4, **settled: Any
    ) -> VerificationRef:
        """A verification whose call was placed."""
        ref, call = await self.reserve(phone, context, digits)
        assert isinstance(call, Reserved), call
        await self.settle(ref, call, context, **settled)
        return ref

    async def settle(
        self,
        ref: VerificationRef,
        call: Reserved,
        context: RequestContext = BACKEND,
        *,
        code: str = CODE,
        price: Any = None,
    ) -> Verification:
        """Report a call as placed, with the first digits of `code`."""
        settled = await self.store.settle(ref, context, call, ref.digest(code[: call.code_length]), price)
        assert isinstance(settled, Verification), settled
        return settled

    async def reserve_resend(self, ref: VerificationRef, context: RequestContext = BACKEND) -> Reserved:
        """Another call of a verification."""
        call = await self.store.reserve_resend(ref, context)
        assert isinstance(call, Reserved), call
        return call

    async def resend(self, ref: VerificationRef, context: RequestContext = BACKEND, **settled: Any) -> Verification:
        """Another call of a verification, placed."""
        return await self.settle(ref, await self.reserve_resend(ref, context), context, **settled)

    async def end(
        self, ref: VerificationRef, call: Any, refusal: Refusal | None, context: RequestContext = BACKEND
    ) -> int:
        """Report a call as refused, or as one of unknown outcome."""
        if refusal:
            return await self.store.cancel_reservation(ref, context, call, refusal)
        return await self.store.commit_unknown(ref, context, call)

    async def check(self, ref: VerificationRef, digits: str, context: RequestContext = BACKEND) -> Any:
        return await self.store.check(ref, context.client, digits)

    async def length(self, ref: VerificationRef) -> int:
        """How many digits its code has."""
        return int(await self.server.hget(self.names.verification(ref)["verification"], "code_length"))

    async def right(self, ref: VerificationRef, context: RequestContext = BACKEND) -> Any:
        """Check the right code."""
        return await self.check(ref, CODE[: await self.length(ref)], context)

    async def approve(self, ref: VerificationRef, context: RequestContext = BACKEND) -> Approval:
        """Check the right code, and have it approved."""
        answer = await self.right(ref, context)
        assert isinstance(answer, Approval), answer
        return answer

    async def wrong(self, ref: VerificationRef, context: RequestContext = BACKEND) -> Any:
        """Check a wrong code."""
        return await self.check(ref, "999999", context)

    async def status(self, ref: VerificationRef, context: RequestContext = BACKEND) -> Any:
        found = await self.store.read(ref, context.client)
        return found.status if isinstance(found, Verification) else found

    async def counted(self, *parts: str) -> dict[str, int]:
        """What a counter holds by name, in all its slices."""
        total: dict[str, int] = {}
        for field, value in (await self.server.hgetall(self.names.key(*parts))).items():
            name, _, slice_ = field.decode().partition(":")
            if slice_:
                total[name] = total.get(name, 0) + int(value)
        return total

    async def guessed(self, ref: VerificationRef) -> dict[str, int]:
        """What guesses against a phone have cost, by lane."""
        return await self.counted(self.names.verification(ref)["guesses"].removeprefix(self.prefix))

    async def keys(self) -> dict[str, int]:
        """All keys of the deployment, and how many milliseconds they live."""
        found = sorted(await self.server.keys(f"{self.prefix}*"))
        return {key.decode(): await self.server.pttl(key) for key in found}

    async def contents(self) -> dict[str, bytes]:
        """All keys, and what each holds."""
        return {key: await self.server.dump(key) for key in await self.keys()}

    @asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Meanwhile the server has no memory left."""
        await self.server.config_set("maxmemory", "1")
        try:
            yield
        finally:
            await self.server.config_set("maxmemory", "0")


@asynccontextmanager
async def deployed(server: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A deployment on a server."""
    async with aclosing(Pipelines(server, TIMEOUT)) as pipelines:
        yield World(server, monkeypatch, pipelines)


@pytest.fixture
async def world(server: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with deployed(server, monkeypatch) as world:
        yield world


OFTEN = parse_rates("100/day")


@pytest.fixture
def busy(world: World) -> World:
    """Many calls a day: a guess budget of 2,000 millionths, 1,000 of them public; 600 and 300 are for six digits alone."""
    world.rule(
        cooldowns=(0,),
        calls_per_phone=OFTEN,
        calls_per_ip=parse_rates("1000/hour"),
        guesses=GuessBudget.of(0.002, 3, OFTEN, 0.5),
    )
    return world
