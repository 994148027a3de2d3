"""The `Store` over Redis or Valkey: one method per operation, one script per method."""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from pydantic_core import from_json, to_json
from redis.exceptions import NoScriptError

from app.store import replies
from app.store.connection import FAILURES, words_of
from app.store.health import Watch
from app.store.keys import Keys, Names
from app.store.pipelines import Pipelines
from app.store.rules import rules_of
from app.store.scripts import SCRIPTS, load_script
from app.verification.challenge import When
from app.verification.client import Client
from app.verification.errors import StoreUnavailable
from app.verification.guess_budget import LENGTHS, GuessBudget
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import (
    Approval,
    CallDenied,
    ChallengeRequired,
    CodeIncomplete,
    CodeIncorrect,
    Ended,
    KeySeen,
    NotFound,
    Redeemed,
    Refusal,
    TokenExpired,
    TokenRedeemed,
    Verification,
)
from app.verification.phone import destination_of
from app.verification.policy import Policy
from app.verification.ports import GuardStatus, RequestContext, Reserved

MAX_LISTED = 100
"""Suspended destinations that a status lists."""

MAX_SEALED = 2048
"""Destinations whose seals are remembered: each check names two."""

PRICE_PAUSE = 0.1
"""Seconds until a call is reserved again whose price is about to be known: calls under way show it, and reserve what money there is."""

ON_TIME = 0.8
"""Part of the timeout in which a script must begin: what begins later than its caller may wait does nothing."""

MAX_UNDER_WAY = 256
"""Scripts that a process has under way at once before it refuses further requests. It works through so many in a tenth of a second."""

REPLICATED = {
    "reserve": {"reserved"},
    "reserve_resend": {"reserved"},
    "check": {"approved", "incorrect"},
    "redeem": {"redeemed"},
}
"""What replicas must have, where that is set, before anyone hears of it: the outcomes, by script. A call is placed after that, an attempt counted before."""

NamedKeys = Callable[[Names], Keys]


class RedisStore:
    """Verifications and limits in Redis. Every failure of the server is `StoreUnavailable`.

    Args:
        pipelines: send commands to the server.
        watch: knows whether the server is safe to rely on.
        codec: makes the digests and seals that the server sees.
        policy: the rules in force.
        prefix: of all keys.
        timeout: seconds that a caller waits.
    """

    def __init__(  # noqa: PLR0913, PLR0917  its parts
        self, pipelines: Pipelines, watch: Watch, codec: IdCodec, policy: Policy, prefix: str, timeout: float
    ) -> None:
        self._pipelines = pipelines
        self._watch = watch
        self._codec = codec
        self._policy = policy
        self._names = Names(prefix, codec.pepper, policy)
        self._previous = Names(prefix, codec.previous, policy) if codec.previous else None
        self._timeout = timeout
        self._sealed = lru_cache(MAX_SEALED)(codec.seal_text)
        self._clock_ahead: float | None = None
        self._under_way = 0
        self._scripts = {name: load_script(name) for name in SCRIPTS}
        self.charge(policy.guesses)

    async def reserve(
        self, ref: VerificationRef, context: RequestContext, code_length: int, purpose: str | None
    ) -> Reserved | ChallengeRequired | CallDenied | KeySeen:
        """See `Store.reserve`."""
        request = self._call(ref, context) | {"code_length": code_length}
        if purpose:
            request["purpose"] = self._codec.seal_text(purpose)
        if self._policy.challenge is not When.NEVER and not ref.test:
            request["challenge"] = self._policy.challenge.value
        solution: Keys = {}
        if context.solved:
            request["solved_level"] = context.solved.level
            solution = {"solution": self._names.key("solution", context.solved.name)}
        reply = await self._reserve("reserve", ref, context, request, solution)
        return (
            replies.challenge(reply)
            or replies.reserved(reply)
            or replies.denied(ref, reply)
            or replies.seen(self._codec, ref, reply)
        )

    async def reserve_resend(
        self, ref: VerificationRef, context: RequestContext
    ) -> Reserved | NotFound | Ended | CallDenied | KeySeen:
        """See `Store.reserve_resend`."""
        reply = await self._reserve("reserve_resend", ref, context, self._call(ref, context), {})
        return (
            replies.reserved(reply)
            or replies.not_pending(reply)
            or replies.denied(ref, reply)
            or replies.seen(self._codec, ref, reply)
        )

    async def recall(self, ref: VerificationRef, context: RequestContext) -> KeySeen | None:
        """See `Store.recall`."""
        reply = await self._run(
            "recall", lambda names: names.verification(ref) | names.request(context), self._who(ref, context)
        )
        return None if reply["outcome"] == "none" else replies.seen(self._codec, ref, reply)

    async def settle(
        self, ref: VerificationRef, context: RequestContext, call: Reserved, code: str, price: int | None
    ) -> Verification | NotFound | Ended:
        """See `Store.settle`."""
        _, limits = self._names.money(ref, context.client)
        cost = self._policy.spending.price if price is None else price
        request = self._who(ref, context) | {"number": call.number, "at": call.at, "code": code, "limits": limits}
        request |= {"reserved_price": call.price, "price": cost}

        def keys(names: Names) -> Keys:
            return (
                names.verification(ref)
                | names.request(context)
                | names.price(ref)
                | names.money(ref, context.client)[0]
            )

        reply = await self._run("settle", keys, request)
        return replies.not_pending(reply) or replies.verification(self._codec, ref, reply)

    async def cancel_reservation(
        self, ref: VerificationRef, context: RequestContext, call: Reserved | None, reason: Refusal
    ) -> int:
        """See `Store.cancel_reservation`."""
        if call is None:
            await asyncio.sleep(self._timeout)
        return await self._end_call(ref, context, call, {"refused": reason.value})

    async def commit_unknown(self, ref: VerificationRef, context: RequestContext, call: Reserved) -> int:
        """See `Store.commit_unknown`."""
        return await self._end_call(ref, context, call, {})

    async def check(
        self, ref: VerificationRef, client: Client, digits: str
    ) -> Approval | CodeIncorrect | CodeIncomplete | NotFound | Ended:
        """See `Store.check`."""
        request = (
            self._own(ref, client)
            | self._sealed_destination(ref)
            | {"digests": ref.digests(digits, LENGTHS), "prefix": self._names.prefix}
        )
        reply = await self._run("check", lambda names: names.verification(ref) | names.destination(ref), request)
        return replies.checked(self._codec, ref, reply)

    async def read(self, ref: VerificationRef, client: Client) -> Verification | NotFound:
        """See `Store.read`."""
        reply = await self._run("read", lambda names: names.verification(ref), self._own(ref, client))
        return NotFound() if reply["outcome"] == "not_found" else replies.verification(self._codec, ref, reply)

    async def cancel(self, ref: VerificationRef, client: Client) -> NotFound | Ended | None:
        """See `Store.cancel`."""
        return replies.not_pending(
            await self._run("cancel", lambda names: names.verification(ref), self._own(ref, client))
        )

    async def redeem(self, ref: VerificationRef, expires_at: int) -> Redeemed | TokenExpired | TokenRedeemed:
        """See `Store.redeem`."""
        reply = await self._run("redeem", lambda names: names.verification(ref), {"expires_at": expires_at})
        if reply["outcome"] == "redeemed":
            return Redeemed(replies.approval(self._codec, ref, reply))
        return TokenRedeemed() if reply["outcome"] == "again" else TokenExpired()

    async def sample(self, codes: Mapping[int, bytes]) -> dict[int, bytes]:
        """See `Store.sample`."""
        added = {str(digits): digests.hex() for digits, digests in codes.items() if digests}
        reply = await self._run(
            "sample",
            lambda names: {f"codes_{digits}": names.key("codes", str(digits)) for digits in LENGTHS},
            {"added": added},
        )
        return {digits: bytes.fromhex(reply["samples"][str(digits)]) for digits in LENGTHS}

    def charge(self, guesses: GuessBudget) -> None:
        """See `Store.charge`."""
        self._rules = to_json(rules_of(self._policy, guesses))

    async def status(self, *clients: Client) -> GuardStatus:
        """See `Store.status`."""
        _, limits = self._names.shared(clients)

        def keys(names: Names) -> Keys:
            return {"suspended": names.key("suspended"), "sprayed": names.key("sprayed")} | names.shared(clients)[0]

        # Names of limits name countries: the server sees none.
        counters = [{"key": limit["key"], "window": limit["window"]} for limit in limits]
        reply = await self._run("status", keys, {"limits": counters, "max_listed": MAX_LISTED})
        return replies.status(self._codec, limits, reply)

    def is_full(self) -> bool:
        """Whether as many scripts are under way as can be answered in time: a request that comes now is better refused than kept waiting."""
        return self._under_way >= MAX_UNDER_WAY

    # ---- what scripts are sent

    def _own(self, ref: VerificationRef, client: Client) -> dict[str, Any]:
        # A verification keeps the digests of the pepper that it was started under.
        return {"client": ref.pepper.digest_cached("client", client.id), "ref": ref.name}

    def _who(self, ref: VerificationRef, context: RequestContext) -> dict[str, Any]:
        networks = context.networks
        request = self._own(ref, context.client) | {
            "lane": context.lane.value,
            "address": self._names.address(networks.host) if networks else "",
            "network": self._names.address(networks.site) if networks else "",
            "seed": ref.seed,
            "nonce": context.nonce,
        }
        if context.idempotency:
            request["bodies"] = context.idempotency.bodies
        if ref.test:
            request["test"] = True
        return request

    def _sealed_destination(self, ref: VerificationRef) -> dict[str, str]:
        """Country and range as the list of what is suspended shows them."""
        if ref.test or not self._policy.guard.min_conversion:
            return {}
        to = destination_of(ref.phone)
        return {"country": self._sealed(to.country), "range": self._sealed(to.range)}

    def _call(self, ref: VerificationRef, context: RequestContext) -> dict[str, Any]:
        _, limits = self._names.calls(ref, context)
        return self._who(ref, context) | self._sealed_destination(ref) | {"limits": limits}

    async def _reserve(
        self, script: str, ref: VerificationRef, context: RequestContext, request: dict[str, Any], more: Keys
    ) -> dict[str, Any]:
        if self._watch.unsafe:
            raise StoreUnavailable(self._watch.unsafe, sent=False)

        def keys(names: Names) -> Keys:
            calls, _ = names.calls(ref, context)
            return (
                names.verification(ref)
                | names.request(context)
                | names.destination(ref)
                | names.price(ref)
                | calls
                | more
            )

        deadline = asyncio.get_running_loop().time() + self._policy.call_deadline
        while True:
            reply = await self._run(script, keys, request)
            if reply["outcome"] != "price_pending":
                return reply
            if asyncio.get_running_loop().time() > deadline:
                return {"outcome": "in_progress", "wait": 1000}
            await asyncio.sleep(PRICE_PAUSE)

    async def _end_call(
        self, ref: VerificationRef, context: RequestContext, call: Reserved | None, how: dict[str, str]
    ) -> int:
        _, limits = self._names.money(ref, context.client)
        request = self._who(ref, context) | self._sealed_destination(ref) | how | {"limits": limits}
        if call:
            request |= {"number": call.number, "at": call.at, "reserved_price": call.price}

        def keys(names: Names) -> Keys:
            money, _ = names.money(ref, context.client)
            return names.verification(ref) | names.request(context) | names.destination(ref) | names.price(ref) | money

        reply = await self._run("cancel_reservation", keys, request)
        wait: int = reply["wait"]
        return wait

    # ---- how they are sent

    async def _run(self, script: str, keys: NamedKeys, request: dict[str, Any]) -> dict[str, Any]:
        """Run a script; while rotating, after the records that it needs have their new names."""
        started, named = asyncio.get_running_loop().time(), keys(self._names)
        if self._previous:
            await self._adopt(keys(self._previous), named, started)
        return await self._run_in_time(script, named, request, started)

    async def _adopt(self, old: Keys, new: Keys, started: float) -> None:
        """Move records to the names that the pepper in force gives them."""
        pairs = [(old[name], new[name]) for name in new if old[name] != new[name]]
        named = {
            f"{which}_{number}": key
            for number, pair in enumerate(pairs, 1)
            for which, key in zip(("old", "new"), pair, strict=True)
        }
        if pairs:
            await self._run_in_time("adopt", named, {}, started)

    async def _run_in_time(self, script: str, named: Keys, request: dict[str, Any], started: float) -> dict[str, Any]:
        """Run a script. Beyond its time limit it does nothing; with a wrong idea of the server's clock it is sent once more."""
        if self._clock_ahead is None:
            await self._read_clock()
        for _ in range(2):
            reply = await self._send(script, named, request, self._not_after(started))
            if reply["outcome"] != "too_late":
                return reply
            if asyncio.get_running_loop().time() > started + self._timeout * ON_TIME:
                break
        raise StoreUnavailable(f"{script}: the server was reached too late, and did nothing", sent=False)

    async def _send(self, script: str, keys: Keys, request: dict[str, Any], not_after: int) -> dict[str, Any]:
        """Run a script by its SHA-1; a server that does not have it, empty after a failover, is sent its text."""
        found = self._scripts[script]
        replicated = script in REPLICATED
        arguments: tuple[str | int | bytes, ...] = (
            len(keys),
            *keys.values(),
            self._rules,
            to_json(request | {"keys": list(keys), "not_after": not_after}),
        )
        self._under_way += 1
        try:
            try:
                reply, kept = await self._pipelines.execute("EVALSHA", found.sha, *arguments, replicated=replicated)
            except NoScriptError:
                reply, kept = await self._pipelines.execute("EVAL", found.text, *arguments, replicated=replicated)
        except FAILURES as error:
            # READONLY, OOM, LOADING, NOAUTH, a script that broke: none of them may open anything.
            raise StoreUnavailable(f"{script}: {words_of(error)}") from error
        finally:
            self._under_way -= 1
        read: dict[str, Any] = from_json(reply)
        self._clock_ahead = read["now"] / 1000 - asyncio.get_running_loop().time()
        if not kept and read["outcome"] in REPLICATED[script]:
            raise StoreUnavailable(f"{script}: too few replicas acknowledged it in time (REDIS_WAIT_REPLICAS)")
        return read

    def _not_after(self, started: float) -> int:
        """When a caller that asked at `started` stops waiting, in unix milliseconds on the server's clock."""
        ahead = self._clock_ahead or 0.0
        return int((started + ahead + self._timeout * ON_TIME) * 1000)

    async def _read_clock(self) -> None:
        try:
            # A script, so that on a cluster the server answers that has our keys.
            seconds, micros = await self._pipelines.run(
                "EVAL", "return redis.call('TIME')", 1, self._names.key("scratch")
            )
        except FAILURES as error:
            raise StoreUnavailable(f"TIME: {words_of(error)}", sent=False) from error
        self._clock_ahead = int(seconds) + int(micros) / 1e6 - asyncio.get_running_loop().time()
