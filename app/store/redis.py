"""The `Store` over Redis or Valkey: one method per operation, one script per method."""

from typing import Any

from redis.exceptions import NoScriptError, RedisError

from app.store.coalesce import Coalescer
from app.store.keys import keys_of, phone_key
from app.store.scripts import Script, load_script
from app.verification.errors import StoreUnavailable
from app.verification.keyring import Handle
from app.verification.model import (
    AlreadyUsed,
    Approved,
    AttemptsExhausted,
    CallDenied,
    CallFailed,
    CallInProgress,
    CanceledBefore,
    CodeIncorrect,
    Ended,
    Expired,
    Limit,
    LimitReached,
    NotFound,
    Status,
    Times,
    Verification,
)
from app.verification.policy import LONGEST_LIFE, TOMBSTONE, Policy, whole_seconds
from app.verification.ports import Reserved

_ENDED: dict[bytes, Ended] = {
    b"a": AlreadyUsed(),
    b"l": AttemptsExhausted(),
    b"x": Expired(),
    b"c": CanceledBefore(),
    b"f": CallFailed(),
}
_STATUS: dict[bytes, Status] = {
    b"p": Status.PENDING,
    b"a": Status.APPROVED,
    b"l": Status.LOCKED,
    b"x": Status.EXPIRED,
    b"c": Status.CANCELED,
    b"f": Status.FAILED,
}
_TOMBSTONE = TOMBSTONE * 1000
_LONGEST_LIFE = LONGEST_LIFE * 1000


class RedisStore:
    """Verifications and limits in Redis. Every failure of the server is `StoreUnavailable`."""

    def __init__(self, coalescer: Coalescer, policy: Policy) -> None:
        self._coalescer = coalescer
        self._policy = policy
        self._ladder = ",".join(str(step * 1000) for step in policy.ladder)
        self._limits = ",".join(f"{rate.count}:{rate.seconds * 1000}" for rate in policy.starts_per_phone)
        self._deadline = policy.call_deadline * 1000
        self._ttl = policy.ttl * 1000
        self._start, self._resend, self._settle, self._abandon, self._check, self._read, self._cancel = (
            load_script(name) for name in ("start", "resend", "settle", "abandon", "check", "read", "cancel")
        )

    async def start(
        self, handle: Handle, client: str, purpose: str | None, previous_tag: str | None
    ) -> Reserved | CallDenied:
        """See `Store.start`. While the pepper is being rotated this is one round trip more."""
        inherited = await self._limits_under(previous_tag) if previous_tag else ()
        answer = await self._run(
            self._start, handle, client, purpose or "", self._ladder, self._limits, self._deadline, *inherited
        )
        return Reserved(1, answer[1]) if answer[0] == b"reserved" else _denied(answer)

    async def resend(self, handle: Handle, client: str) -> Reserved | NotFound | Ended | CallDenied:
        """See `Store.resend`."""
        answer = await self._run(
            self._resend,
            handle,
            client,
            self._ladder,
            self._limits,
            self._deadline,
            self._ttl,
            _LONGEST_LIFE,
            _TOMBSTONE,
        )
        if answer[0] == b"reserved":
            return Reserved(answer[2], answer[1])
        return _not_pending(answer) or _denied(answer)

    async def settle(
        self, handle: Handle, client: str, call: Reserved, digest: bytes
    ) -> Verification | NotFound | Ended:
        """See `Store.settle`."""
        answer = await self._run(
            self._settle,
            handle,
            client,
            call.number,
            digest,
            self._ttl,
            _LONGEST_LIFE,
            _TOMBSTONE,
            self._ladder,
            self._limits,
        )
        return _not_pending(answer) or self._verification(handle, [b"p", *answer[1:], 0])

    async def release(self, handle: Handle, call: Reserved) -> int:
        """See `Store.release`."""
        return await self._give_up(handle, call, back="1")

    async def keep(self, handle: Handle, call: Reserved) -> int:
        """See `Store.keep`."""
        return await self._give_up(handle, call, back="0")

    async def check(self, handle: Handle, client: str, digest: bytes) -> Approved | CodeIncorrect | NotFound | Ended:
        """See `Store.check`."""
        answer = await self._run(
            self._check,
            handle,
            client,
            digest,
            self._policy.max_attempts,
            self._policy.approval_grace * 1000,
            _TOMBSTONE,
        )
        if answer[0] == b"incorrect":
            return CodeIncorrect(answer[1])
        if answer[0] == b"approved":
            return Approved(handle.id, handle.phone, answer[1], _purpose(answer[2]), repeated=bool(answer[3]))
        return _ended(answer)

    async def read(self, handle: Handle, client: str) -> Verification | NotFound:
        """See `Store.read`."""
        answer = await self._run(self._read, handle, client, self._ladder, self._limits)
        return NotFound() if answer[0] == b"not_found" else self._verification(handle, answer)

    async def cancel(self, handle: Handle, client: str) -> NotFound | Ended | None:
        """See `Store.cancel`."""
        answer = await self._run(self._cancel, handle, client, _TOMBSTONE)
        return None if answer[0] == b"canceled" else _ended(answer)

    async def _give_up(self, handle: Handle, call: Reserved, back: str) -> int:
        wait: int = await self._run(
            self._abandon, handle, call.number, call.at, back, _TOMBSTONE, self._ladder, self._limits
        )
        return wait

    async def _limits_under(self, previous_tag: str) -> tuple[bytes, ...]:
        try:
            held = await self._coalescer.run("HMGET", phone_key(previous_tag), "h", "l", "f")
        except RedisError as fault:
            raise StoreUnavailable(str(fault)) from fault
        return tuple(value or b"" for value in held) if held[0] else ()

    async def _run(self, script: Script, handle: Handle, *arguments: Any) -> Any:  # noqa: ANN401  a script's own answer
        """Run a script by its SHA-1; a server that does not have it, empty after a failover, is given its text."""
        keys = keys_of(handle)
        try:
            try:
                return await self._coalescer.run("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._coalescer.run("EVAL", script.text, len(keys), *keys, *arguments)
        except RedisError as fault:
            # READONLY, OOM, LOADING, NOAUTH, a script that broke: none of them may open anything.
            raise StoreUnavailable(f"{script.name}: {type(fault).__name__}: {fault}") from fault

    def _verification(self, handle: Handle, answer: list[Any]) -> Verification:
        """Build the state from `{status, now, created, expires, next call, wrong, calls, purpose, approved at}`."""
        status, now, created, expires, next_call, wrong, calls, purpose, approved_at = answer
        resend_at = next_call if next_call < created + _LONGEST_LIFE else None
        return Verification(
            id=handle.id,
            status=_STATUS[status],
            phone=handle.phone,
            code_length=handle.code_length,
            attempts_left=max(0, self._policy.max_attempts - wrong),
            calls=calls,
            purpose=_purpose(purpose),
            times=Times(now, created, expires, resend_at),
            approved_at=approved_at or None,
        )


def _denied(answer: list[Any]) -> CallDenied:
    if answer[0] == b"in_progress":
        return CallInProgress(whole_seconds(answer[1]))
    return LimitReached(Limit(answer[1].decode()), whole_seconds(answer[2]))


def _not_pending(answer: list[Any]) -> NotFound | Ended | None:
    return _ended(answer) if answer[0] in {b"not_found", b"ended"} else None


def _ended(answer: list[Any]) -> NotFound | Ended:
    return NotFound() if answer[0] == b"not_found" else _ENDED[answer[1]]


def _purpose(stored: bytes) -> str | None:
    return stored.decode() or None
