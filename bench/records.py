"""Live verifications, written straight into a store by the service's own scripts: what a bench checks, counts or copies."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from app.settings import load_settings
from app.store.connection import connect
from app.store.health import Watch
from app.store.pipelines import Pipelines
from app.store.redis_store import RedisStore
from app.verification.client import Client, IdempotentRequest, networks_of
from app.verification.ids import IdCodec, VerificationRef
from app.verification.policy import Policy
from app.verification.ports import RequestContext, Reserved

CLIENT = Client("bench", "bench")
PREFIX = "{lastdigits}:"
AT_ONCE = 50
NEVER = 10**6
"""Seconds: no script is too late, so that its arguments can be sent again."""

_numbers = itertools.count()


class Recorder(Pipelines):
    """Keeps the last command, so that it can be sent again as it is."""

    last: tuple[Any, ...] = ()

    async def execute(self, *command: Any, replicated: bool = False) -> tuple[Any, bool]:  # noqa: ANN401  as of the class
        self.last = command
        return await super().execute(*command, replicated=replicated)


@dataclass
class Records:
    """A store, and phones that no one called before, each from an address of its own."""

    redis: Any
    pipelines: Recorder
    store: RedisStore
    codec: IdCodec
    operator: str

    def new(self) -> VerificationRef:
        # Spread over the ranges of one operator.
        return self.codec.new(f"+7{self.operator}{next(_numbers) * 7919 % 10**7:07d}")

    def context(self, ref: VerificationRef, key: str | None = None) -> RequestContext:
        number = int(ref.phone[5:])
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        once = self.codec.idempotency(CLIENT.id, "start", IdempotentRequest(key, b"{}")) if key else None
        return RequestContext(CLIENT, networks=networks_of(address), idempotency=once)

    async def reserve(self, ref: VerificationRef, context: RequestContext) -> Reserved:
        call = await self.store.reserve(ref, context, 4, "login")
        if not isinstance(call, Reserved):
            raise SystemExit(f"a call was not reserved: {call}")
        return call

    async def settle(self, ref: VerificationRef, context: RequestContext, call: Reserved) -> None:
        await self.store.settle(ref, context, call, ref.digest("0123"), 3500)

    async def check(self, ref: VerificationRef, code: str) -> None:
        await self.store.check(ref, CLIENT, code)

    async def start(self, key: str | None = None) -> VerificationRef:
        ref = self.new()
        context = self.context(ref, key)
        await self.settle(ref, context, await self.reserve(ref, context))
        return ref

    async def open(self, count: int) -> list[VerificationRef]:
        """So many live verifications, whose code is 0123."""
        refs: list[VerificationRef] = []
        while len(refs) < count:
            refs += await asyncio.gather(*(self.start() for _ in range(min(AT_ONCE, count - len(refs)))))
        return refs


def tireless() -> Policy:
    """The policy in force, but one verification allows a billion wrong codes."""
    policy = load_settings(None).policy
    return replace(policy, max_attempts=10**9, ttl=600, guesses=replace(policy.guesses, bound=10**15))


@asynccontextmanager
async def opened_store(url: str, policy: Policy | None = None, operator: str = "917") -> AsyncIterator[Records]:
    """A store under the environment's pepper, and under its policy if there is no other; for the phones of one operator."""
    settings = load_settings(None)
    codec = IdCodec(os.environ["LASTDIGITS_PEPPER"].encode())
    async with connect(url, 60) as redis, aclosing(Recorder(redis, 60)) as pipelines:
        store = RedisStore(pipelines, Watch(redis, PREFIX), codec, policy or settings.policy, PREFIX, NEVER)
        yield Records(redis, pipelines, store, codec, operator)
