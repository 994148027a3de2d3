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
from app.store.scripts import SCRIPTS, load_script, rules_of
from app.verification import model
from app.verification.challenge import When
from app.verification.client import Client
from app.verification.errors import StoreUnavailable
from app.verification.guess_budget import LENGTHS, GuessBudget
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import Refusal
from app.verification.phone import destination_of
from app.verification.policy import Policy
from app.verification.ports import GuardStatus, RequestContext, Reserved

MAX_LISTED = 100
"""Suspended destinations that a status lists."""

MAX_SEALED = 512
"""Destinations whose seals are remembered: each check names two."""

PRICE_PAUSE = 0.1
"""Seconds until a call is reserved again whose price is about to be known: calls under way show it, and reserve what money there is."""

ON_TIME = 0.8
"""Part of the timeout in which a script must begin: what begins later than its caller may wait does nothing."""

MAX_UNDER_WAY = 256
"""Scripts that a process has under way at once before it refuses further requests. It works through so many in a tenth of a second."""

REPLICATED = {"reserve": {"reserved"}, "check": {"approved", "incorrect"}, "redeem": {"redeemed"}}
"""What replicas must have, where that is set, before anyone hears of it: the outcomes, by script. A call is placed after that, an attempt counted before."""

Request = dict[str, Any]
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
        # Seconds from the loop's clock to the server's, from its last reply. Before the first one every script is too late, and its reply says the time.
        self._clock_ahead = 0.0
        self._under_way = 0
        self._scripts = {name: load_script(name) for name in SCRIPTS}
        self.charge(policy.guesses)

    async def reserve(
        self, ref: VerificationRef, context: RequestContext, code_length: int, purpose: str | None
    ) -> Reserved | model.ChallengeRequired | model.CallDenied | model.KeySeen:
        """See `Store.reserve`."""
        never = ref.test or self._policy.challenge is When.NEVER
        reply = await self._reserve(
            ref,
            context,
            code_length=code_length,
            purpose=self._codec.seal_text(purpose) if purpose else None,
            challenge=None if never else self._policy.challenge.value,
            solved_level=context.solved.level if context.solved else None,
        )
        return (
            replies.challenge(reply)
            or replies.reserved(reply)
            or replies.denied(ref, reply)
            or replies.seen(self._codec, ref, reply)
        )

    async def reserve_resend(
        self, ref: VerificationRef, context: RequestContext
    ) -> Reserved | model.NotFound | model.Ended | model.CallDenied | model.KeySeen:
        """See `Store.reserve_resend`."""
        reply = await self._reserve(ref, context, resend=True)
        return (
            replies.reserved(reply)
            or replies.not_pending(reply)
            or replies.denied(ref, reply)
            or replies.seen(self._codec, ref, reply)
        )

    async def recall(self, ref: VerificationRef, context: RequestContext) -> model.KeySeen | None:
        """See `Store.recall`."""
        reply = await self._run_call("recall", ref, context)
        return None if reply["outcome"] == "none" else replies.seen(self._codec, ref, reply)

    async def settle(
        self, ref: VerificationRef, context: RequestContext, call: Reserved, code: str, price: int | None
    ) -> model.Verification | model.NotFound | model.Ended:
        """See `Store.settle`."""
        cost = self._policy.spending.price if price is None else price
        reply = await self._run_call("settle", ref, context, **_reservation(call), code=code, price=cost)
        return replies.not_pending(reply) or replies.verification(self._codec, ref, reply)

    async def cancel_reservation(
        self, ref: VerificationRef, context: RequestContext, call: Reserved | None, reason: Refusal
    ) -> int:
        """See `Store.cancel_reservation`."""
        if call is None:
            await asyncio.sleep(self._timeout)
        reply = await self._run_call("cancel_reservation", ref, context, refused=reason.value, **_reservation(call))
        return int(reply["wait"])

    async def commit_unknown(self, ref: VerificationRef, context: RequestContext, call: Reserved) -> int:
        """See `Store.commit_unknown`."""
        reply = await self._run_call("cancel_reservation", ref, context, **_reservation(call))
        return int(reply["wait"])

    async def check(
        self, ref: VerificationRef, client: Client, digits: str
    ) -> model.Approval | model.CodeIncorrect | model.CodeIncomplete | model.NotFound | model.Ended:
        """See `Store.check`."""
        request = (
            self._own(ref, client)
            | self._sealed_destination(ref)
            | {"digests": ref.digests(digits, LENGTHS), "prefix": self._names.prefix}
        )
        reply = await self._run("check", lambda names: names.verification(ref) | names.destination(ref), request)
        return replies.not_pending(reply) or replies.guessed(reply) or replies.approval(self._codec, ref, reply)

    async def read(self, ref: VerificationRef, client: Client) -> model.Verification | model.NotFound:
        """See `Store.read`."""
        reply = await self._run("read", lambda names: names.verification(ref), self._own(ref, client))
        return model.NotFound() if reply["outcome"] == "not_found" else replies.verification(self._codec, ref, reply)

    async def cancel(self, ref: VerificationRef, client: Client) -> model.NotFound | model.Ended | None:
        """See `Store.cancel`."""
        reply = await self._run("cancel", lambda names: names.verification(ref), self._own(ref, client))
        return replies.not_pending(reply)

    async def redeem(
        self, ref: VerificationRef, expires_at: int
    ) -> model.Redeemed | model.TokenExpired | model.TokenRedeemed:
        """See `Store.redeem`."""
        reply = await self._run("redeem", lambda names: names.verification(ref), {"expires_at": expires_at})
        if reply["outcome"] == "redeemed":
            return model.Redeemed(replies.approval(self._codec, ref, reply))
        return model.TokenRedeemed() if reply["outcome"] == "again" else model.TokenExpired()

    async def sample(self, codes: Mapping[int, bytes]) -> dict[int, bytes]:
        """See `Store.sample`."""
        added = {str(digits): digests.hex() for digits, digests in codes.items() if digests}
        keys = {f"codes_{digits}": self._names.key("codes", str(digits)) for digits in LENGTHS}
        reply = await self._run("sample", lambda _: keys, {"added": added})
        return {digits: bytes.fromhex(reply["samples"][str(digits)]) for digits in LENGTHS}

    def charge(self, guesses: GuessBudget) -> None:
        """See `Store.charge`."""
        self._rules = to_json(rules_of(self._policy, guesses))

    async def status(self, *clients: Client) -> GuardStatus:
        """See `Store.status`."""
        _, limits = self._names.shared(clients)
        # Names of limits name countries: the server sees none.
        counters = [{"key": limit["key"], "window": limit["window"]} for limit in limits]
        request = {"limits": counters, "max_listed": MAX_LISTED}
        return replies.status(
            self._codec, limits, await self._run("status", lambda names: names.shared(clients)[0], request)
        )

    def is_full(self) -> bool:
        """Whether as many scripts are under way as can be answered in time: a request that comes now is better refused than kept waiting."""
        return self._under_way >= MAX_UNDER_WAY

    # ---- what scripts are sent

    def _own(self, ref: VerificationRef, client: Client) -> Request:
        # A verification keeps the digests of the pepper that it was started under.
        return {"client": ref.pepper.digest_cached("client", client.id), "ref": ref.name}

    def _sealed_destination(self, ref: VerificationRef) -> Request:
        """Country and range as the list of what is suspended shows them."""
        if ref.test or not self._policy.guard.min_conversion:
            return {}
        to = destination_of(ref.phone)
        return {"country": self._sealed(to.country), "range": self._sealed(to.range)}

    async def _reserve(self, ref: VerificationRef, context: RequestContext, **more: Any) -> replies.Reply:  # noqa: ANN401  JSON
        if self._watch.unsafe:
            raise StoreUnavailable(self._watch.unsafe, sent=False)
        deadline = asyncio.get_running_loop().time() + self._policy.call_deadline
        while True:
            reply = await self._run_call("reserve", ref, context, **more)
            if reply["outcome"] != "price_pending":
                return reply
            if asyncio.get_running_loop().time() > deadline:
                return {"outcome": "in_progress", "wait": 1000}
            await asyncio.sleep(PRICE_PAUSE)

    async def _run_call(self, script: str, ref: VerificationRef, context: RequestContext, **more: Any) -> replies.Reply:  # noqa: ANN401  JSON
        """Run one of the scripts that are about a call: all are sent the same of it, and what each needs besides."""
        named, limits = self._names.call(ref, context)
        networks = context.networks
        request = {
            "lane": context.lane.value,
            "address": self._names.address(networks.host) if networks else "",
            "network": self._names.address(networks.site) if networks else "",
            "seed": ref.seed,
            "nonce": context.nonce,
            "bodies": context.idempotency.bodies if context.idempotency else None,
            "test": ref.test or None,
            "limits": limits,
            **more,
        }
        there = {name: value for name, value in request.items() if value is not None}
        request = self._own(ref, context.client) | self._sealed_destination(ref) | there
        return await self._run(script, lambda names: names.call(ref, context)[0], request, named)

    # ---- how they are sent

    async def _run(self, script: str, keys: NamedKeys, request: Request, named: Keys | None = None) -> replies.Reply:
        """Run a script; while rotating, after the records that it needs have the names that the pepper in force gives them: `named`, where they are known."""
        started, named = asyncio.get_running_loop().time(), named or keys(self._names)
        if self._previous:
            old = {f"old_{name}": key for name, key in keys(self._previous).items() if key != named[name]}
            if old:
                await self._run_in_time("adopt", named | old, {}, started)
        return await self._run_in_time(script, named, request, started)

    async def _run_in_time(self, script: str, keys: Keys, request: Request, started: float) -> replies.Reply:
        """Run a script. Beyond its time limit it does nothing; with a wrong idea of the server's clock it is sent once more."""
        deadline = started + self._timeout * ON_TIME
        for _ in range(2):
            not_after = int((deadline + self._clock_ahead) * 1000)
            reply = await self._send(script, keys, request | {"keys": list(keys), "not_after": not_after})
            if reply["outcome"] != "too_late":
                return reply
            if asyncio.get_running_loop().time() > deadline:
                break
        raise StoreUnavailable(f"{script}: the server was reached too late, and did nothing", sent=False)

    async def _send(self, script: str, keys: Keys, request: Request) -> replies.Reply:
        """Run a script by its SHA-1; a server that does not have it, empty after a failover, is sent its text."""
        found = self._scripts[script]
        replicated = script in REPLICATED
        arguments: tuple[str | int | bytes, ...] = (len(keys), *keys.values(), self._rules, to_json(request))
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
        read: replies.Reply = from_json(reply)
        self._clock_ahead = read["now"] / 1000 - asyncio.get_running_loop().time()
        if not kept and read["outcome"] in REPLICATED[script]:
            raise StoreUnavailable(f"{script}: too few replicas acknowledged it in time (REDIS_WAIT_REPLICAS)")
        return read


def _reservation(call: Reserved | None) -> Request:
    """What is known of a reserved call; nothing where the reply to its reservation was lost."""
    return {} if call is None else {"number": call.number, "at": call.at, "reserved_price": call.price}
