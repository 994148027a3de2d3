"""The `Store` over Redis or Valkey: one method per operation, one script per method."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from app.store import replies
from app.store.coalesce import Coalescer
from app.store.keys import (
    CLOSED,
    SAMPLES,
    WATCH,
    calling_keys,
    challenge_keys,
    guessing_keys,
    keys_of,
    phone_key,
    reporting_keys,
    request_key,
)
from app.store.scripts import Script, load_script
from app.verification.call import Refusal
from app.verification.challenge import LIFETIME
from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.errors import StoreUnavailable
from app.verification.guard import ALARM, GuardStatus, Rule, destination_of
from app.verification.guess_budget import GuessBudget
from app.verification.ids import RECURRENCE, IdempotencyRef, VerificationRef
from app.verification.model import (
    Approval,
    CallDenied,
    ChallengeRequired,
    CodeIncorrect,
    Ended,
    KeySeen,
    LimitReached,
    NotFound,
    Redeemed,
    RemainingQuota,
    TokenExpired,
    TokenRedeemed,
    Verification,
)
from app.verification.odds import SAMPLE
from app.verification.policy import MAX_LIFETIME, TEST_STARTS, TOMBSTONE, Policy
from app.verification.ports import RequestContext, Reserved
from app.verification.rates import Rate

_MOST_LONGER = MAX_DIGITS - MIN_DIGITS
_TOMBSTONE = TOMBSTONE * 1000
_LONGEST_LIFE = MAX_LIFETIME * 1000
_NOT_WATCHED = ("", "", "", 0)
_BLURRED = 3
_MOST_TOLD = 100
_SAMPLE_KEPT = 86_400_000
_LIMIT = struct.Struct(">II")
_STEP = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class _Limits:
    """The limits of a phone as the scripts read them (scripts/lib/limits.lua).

    Attributes:
        ladder: milliseconds from one call to the next, packed.
        counts: calls in a window, packed.
        blocking: milliseconds that a call being placed holds back the next.
    """

    cooldowns: bytes
    counts: bytes
    blocking: int


class RedisStore:
    """Verifications and limits in Redis. Every failure of the server is `StoreUnavailable`."""

    def __init__(self, coalescer: Coalescer, policy: Policy) -> None:
        self._coalescer = coalescer
        self._max_attempts = policy.max_attempts
        self._grace = policy.approval_repeat_window * 1000
        self._deadline = policy.call_deadline * 1000
        self._ttl = policy.ttl * 1000
        cooldowns = b"".join(_STEP.pack(step * 1000) for step in policy.cooldowns)
        self._called = _Limits(cooldowns, _packed(policy.calls_per_phone), self._deadline)
        self._never_called = _Limits(_STEP.pack(0), _packed(TEST_STARTS), 0)
        self._starts_per_ip = _packed(policy.calls_per_ip)
        self._starts_in_all = _packed(policy.calls_total)
        self._guard = (_rule(policy.guard.country), _rule(policy.guard.range))
        self._watch = (_rule(policy.guard.spray), ALARM * 1000)
        self._wrong_guesses_per_ip = _packed(policy.wrong_guesses_per_ip)
        self._spending = policy.spending
        self._caps_of_all = _packed(policy.spending.caps)
        self._caps_by_country = {country: _packed(caps) for country, caps in policy.spending.by_country.items()}
        self.charge(policy.guesses)
        self._start, self._resend, self._recall, self._settle, self._abandon = (
            load_script(name) for name in ("start", "resend", "recall", "settle", "abandon")
        )
        self._check, self._read, self._cancel, self._redeem, self._standing, self._sample = (
            load_script(name) for name in ("check", "read", "cancel", "redeem", "standing", "sample")
        )

    async def start(
        self, refs: Sequence[VerificationRef], ask: RequestContext, purpose: str | None, before: VerificationRef | None
    ) -> Reserved | ChallengeRequired | CallDenied | KeySeen:
        """See `Store.start`. While the pepper is being rotated this is one round trip more."""
        inherited = await self._limits_under(before.tag) if before else ()
        first, longer = refs[0], refs[1:]
        keys = (*calling_keys(first, ask), *challenge_keys(first, ask), *(keys_of(ref)[0] for ref in longer))
        seeds = [ref.seed for ref in longer] + [b""] * (_MOST_LONGER - len(longer))
        budget = b"" if first.test else b"".join(self._budgets[ref.code_length] for ref in refs)
        challenge = (ask.challenge.value, LIFETIME * 1000 if ask.solution else 0)
        arguments = (*self._asked(first, ask), purpose or "", budget, *seeds, *challenge, *inherited)
        reply = await self._run(self._start, keys, *arguments)
        if reply[0] == b"challenged":
            return ChallengeRequired()
        if reply[0] == b"reserved":
            return Reserved(1, reply[1], reply[2], replies.quotas(reply[3:]))
        return self._not_reserved(first, reply)

    async def resend(
        self, ref: VerificationRef, ask: RequestContext
    ) -> Reserved | NotFound | Ended | CallDenied | KeySeen:
        """See `Store.resend`."""
        asked = self._asked(ref, ask)
        reply = await self._run(self._resend, calling_keys(ref, ask), *asked, self._ttl, _LONGEST_LIFE, _TOMBSTONE)
        if reply[0] == b"reserved":
            return Reserved(reply[2], reply[1], quotas=replies.quotas(reply[3:]))
        return replies.not_pending(reply) or self._not_reserved(ref, reply)

    async def recall(self, ref: VerificationRef, idempotency: IdempotencyRef) -> KeySeen | None:
        """See `Store.recall`."""
        limits = self._limits(ref)
        keys = (phone_key(ref.tag), request_key(idempotency))
        reply = await self._run(self._recall, keys, idempotency.body, limits.cooldowns, limits.counts)
        return replies.seen(ref, reply, self._max_attempts) if reply else None

    async def settle(
        self, ref: VerificationRef, ask: RequestContext, call: Reserved, digest: bytes, price: int | None
    ) -> Verification | NotFound | Ended:
        """See `Store.settle`."""
        beyond = 0 if price is None else price - self._spending.price
        limits = self._limits(ref)
        arguments = (
            ask.client.id,
            call.number,
            digest,
            self._ttl,
            _LONGEST_LIFE,
            _TOMBSTONE,
            limits.cooldowns,
            limits.counts,
        )
        caps = self._caps(ref, ask)
        reply = await self._run(
            self._settle, reporting_keys(ref, ask), *arguments, _flag(ask), call.at, beyond, *caps, _blurred(ask)
        )
        return replies.not_pending(reply) or replies.settled(ref, reply, self._max_attempts)

    async def release(self, ref: VerificationRef, ask: RequestContext, call: Reserved, reason: Refusal) -> int:
        """See `Store.release`."""
        return await self._give_up(ref, ask, call, reason.value)

    async def keep(self, ref: VerificationRef, ask: RequestContext, call: Reserved) -> int:
        """See `Store.keep`."""
        return await self._give_up(ref, ask, call, "")

    async def check(
        self, ref: VerificationRef, ask: RequestContext, digest: bytes
    ) -> Approval | CodeIncorrect | LimitReached | NotFound | Ended:
        """See `Store.check`."""
        limits = self._wrong_guesses_per_ip if ask.address else b""
        cost, room = self._prices[0 if ref.test else ref.code_length]
        arguments = (ask.client.id, digest, self._max_attempts, self._grace, _TOMBSTONE, limits, cost, room)
        watch = _NOT_WATCHED if ref.test else (*self._guarding(ref, ask), *self._watch)
        reply = await self._run(self._check, guessing_keys(ref, ask), *arguments, *watch)
        if reply[0] == b"incorrect":
            return CodeIncorrect(reply[1], bool(reply[2]), replies.quotas(reply[3:]))
        if reply[0] == b"approved":
            return _approval(ref, reply[1], reply[2], bool(reply[3]), replies.quotas(reply[4:]))
        return replies.limited(reply) if reply[0] == b"limited" else replies.ended(reply)

    async def read(self, ref: VerificationRef, client: str) -> Verification | NotFound:
        """See `Store.read`."""
        limits = self._limits(ref)
        reply = await self._run(self._read, keys_of(ref), client, limits.cooldowns, limits.counts)
        return NotFound() if reply[0] == b"not_found" else replies.verification(ref, reply, self._max_attempts)

    async def cancel(self, ref: VerificationRef, client: str) -> NotFound | Ended | None:
        """See `Store.cancel`."""
        reply = await self._run(self._cancel, keys_of(ref), client, _TOMBSTONE)
        return None if reply[0] == b"canceled" else replies.ended(reply)

    async def sample(self, drawn: Mapping[int, bytes]) -> dict[int, bytes]:
        """See `Store.sample`."""
        lengths = range(MIN_DIGITS, MAX_DIGITS + 1)
        added = (drawn.get(digits, b"") for digits in lengths)
        samples = await self._run(self._sample, SAMPLES, *added, SAMPLE * RECURRENCE, _SAMPLE_KEPT)
        return dict(zip(lengths, samples, strict=True))

    def charge(self, guesses: GuessBudget) -> None:
        """See `Store.charge`."""
        lengths = range(MIN_DIGITS, MAX_DIGITS + 1)
        self._budgets = {digits: _LIMIT.pack(guesses.worst(digits), guesses.room(digits)) for digits in lengths}
        self._prices = {0: (0, 0)} | {digits: (guesses.cost(digits), guesses.room(digits)) for digits in lengths}

    async def guard_status(self) -> GuardStatus:
        """See `Store.standing`."""
        _, alarm, closed = await self._run(self._standing, (CLOSED, WATCH), _MOST_TOLD)
        told = tuple((name.decode(), int(until)) for name, until in zip(closed[::2], closed[1::2], strict=True))
        return GuardStatus(told, alarm or None)

    async def redeem(self, ref: VerificationRef, expires_at: int) -> Redeemed | TokenExpired | TokenRedeemed:
        """See `Store.redeem`."""
        reply = await self._run(self._redeem, keys_of(ref), expires_at)
        if reply[0] == b"redeemed":
            return Redeemed(_approval(ref, reply[1], reply[2]))
        return TokenRedeemed() if reply[0] == b"again" else TokenExpired()

    def _caps(self, ref: VerificationRef, ask: RequestContext) -> tuple[bytes, bytes, bytes]:
        """What calls may cost: all, the client's, the country's. A test number costs nothing."""
        if ref.test:
            return b"", b"", b""
        country = destination_of(ref.phone).country
        return self._caps_of_all, _packed(ask.client.spend), self._caps_by_country.get(country, b"")

    def _guarding(self, ref: VerificationRef, ask: RequestContext) -> tuple[bytes, bytes]:
        """The rules that close the phone's country and its range."""
        return self._guard if ask.client.guarded and not ref.test else (b"", b"")

    def _limits(self, ref: VerificationRef) -> _Limits:
        return self._never_called if ref.test else self._called

    def _asked(self, ref: VerificationRef, ask: RequestContext) -> tuple[Any, ...]:
        """ARGV 1 to 17 of start.lua and resend.lua."""
        limits = self._limits(ref)
        body = ask.idempotency.body if ask.idempotency else ""
        per_ip = self._starts_per_ip if ask.address else b""
        shared = (b"", b"") if ref.test else (_packed(ask.client.starts), self._starts_in_all)
        calling = (ask.client.id, limits.cooldowns, limits.counts, limits.blocking, _blurred(ask), per_ip, *shared)
        return (
            *calling,
            body,
            ref.seed,
            self._deadline,
            self._spending.price,
            *self._caps(ref, ask),
            *self._guarding(ref, ask),
        )

    def _not_reserved(self, ref: VerificationRef, reply: replies.Reply) -> CallDenied | KeySeen:
        if reply[0] in replies.SEEN:
            return replies.seen(ref, reply, self._max_attempts)
        return replies.denied(ref, reply)

    async def _give_up(self, ref: VerificationRef, ask: RequestContext, call: Reserved, refused: str) -> int:
        limits = self._limits(ref)
        arguments = (call.number, call.at, refused, _TOMBSTONE, limits.cooldowns, limits.counts, _flag(ask))
        counted = (self._spending.price, *self._caps(ref, ask), *self._guarding(ref, ask))
        wait: int = await self._run(self._abandon, reporting_keys(ref, ask), *arguments, *counted, _blurred(ask))
        return wait

    async def _limits_under(self, tag: str) -> tuple[bytes, ...]:
        try:
            held = await self._coalescer.run("HMGET", phone_key(tag), "h", "l", "f", "g")
        except RedisError as fault:
            raise StoreUnavailable(str(fault)) from fault
        return tuple(value or b"" for value in held) if held[0] or held[3] else ()

    async def _run(self, script: Script, keys: tuple[str, ...], *arguments: Any) -> Any:  # noqa: ANN401  a script's own answer
        """Run a script by its SHA-1; a server that does not have it, empty after a failover, is given its text."""
        try:
            try:
                return await self._coalescer.run("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._coalescer.run("EVAL", script.text, len(keys), *keys, *arguments)
        except RedisError as fault:
            # READONLY, OOM, LOADING, NOAUTH, a script that broke: none of them may open anything.
            raise StoreUnavailable(f"{script.name}: {type(fault).__name__}: {fault}") from fault


def _packed(rates: tuple[Rate, ...]) -> bytes:
    """Limits as the scripts read them."""
    return b"".join([_LIMIT.pack(rate.count, rate.seconds) for rate in rates]) if rates else b""


def _rule(rule: Rule | None) -> bytes:
    return _LIMIT.pack(rule.floor, rule.share) if rule else b""


def _blurred(ask: RequestContext) -> str:
    """The address as a phone's record knows it (scripts/lib/calls.lua): 18 bits of its digest, enough to tell a stranger's calls from the owner's."""
    return ask.address[:_BLURRED] if ask.address else " " * _BLURRED


def _flag(ask: RequestContext) -> str:
    return "1" if ask.idempotency else "0"


def _approval(
    ref: VerificationRef,
    approved_at: int,
    purpose: bytes,
    repeated: bool = False,
    quotas: tuple[RemainingQuota, ...] = (),
) -> Approval:
    return Approval(ref.id, ref.phone, approved_at, replies.purpose(purpose), ref.test, repeated, quotas)
