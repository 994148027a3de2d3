"""What the scripts answer, read into the core's terms."""

from typing import Any

from app.verification.call import RETRY_AFTER, Refusal
from app.verification.guard import destination_of
from app.verification.ids import VerificationRef
from app.verification.model import (
    AlreadyUsed,
    AttemptsExhausted,
    CallDenied,
    Called,
    CallFailed,
    CallInProgress,
    CallRefused,
    CallUnknown,
    CanceledBefore,
    Cap,
    DestinationSuspended,
    Ended,
    Expired,
    KeyInUse,
    KeyReused,
    KeySeen,
    Limit,
    LimitReached,
    NotFound,
    Pending,
    RemainingQuota,
    Replayed,
    Scope,
    SpendCapReached,
    Status,
    Times,
    Verification,
)
from app.verification.policy import MAX_LIFETIME, whole_seconds

SEEN = frozenset({b"key_reused", b"key_in_use", b"replayed"})
"""What recall() of lib/once.lua answers: the request's idempotency key was used before."""

ASK_AGAIN = 1
"""Seconds until a request in flight may be asked after again: asking costs nothing, and a call is placed within a second or two."""

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

_CAPS = {b"spend": Cap.ALL, b"spend_client": Cap.CLIENT, b"spend_country": Cap.COUNTRY}

_SCOPES = {1: Scope.COUNTRY, 2: Scope.RANGE}

Reply = list[Any]


def denied(ref: VerificationRef, reply: Reply) -> CallDenied:
    """Read `{'in_progress', ms}`, `{'limited', name, ms, which}` or `{'closed', which, ms, just now}`."""
    if reply[0] == b"in_progress":
        return CallInProgress(whole_seconds(reply[1]))
    if reply[0] == b"closed":
        scope, to = _SCOPES[reply[1]], destination_of(ref.phone)
        closed = to.country if scope is Scope.COUNTRY else to.range
        return DestinationSuspended(scope, closed, whole_seconds(reply[2]), bool(reply[3]))
    if reply[1] in _CAPS:
        return SpendCapReached(_CAPS[reply[1]], whole_seconds(reply[2]))
    return limited(reply)


def limited(reply: Reply) -> LimitReached:
    """Read `{'limited', name, ms, which of its limits}`."""
    return LimitReached(Limit(reply[1].decode()), whole_seconds(reply[2]), reply[3] - 1 if reply[3] else None)


def quotas(reply: Reply) -> tuple[RemainingQuota, ...]:
    """Read what with_rooms() of lib/window.lua appended: `name, which of its limits, how many, ms`, again and again."""
    if not reply:
        return ()
    told = zip(reply[::4], reply[1::4], reply[2::4], reply[3::4], strict=True)
    return tuple(
        RemainingQuota(Limit(name.decode()), place - 1, left, whole_seconds(ms)) for name, place, left, ms in told
    )


def not_pending(reply: Reply) -> NotFound | Ended | None:
    """Read `{'not_found'}` or `{'ended', status}`; None for anything else."""
    return ended(reply) if reply[0] in {b"not_found", b"ended"} else None


def ended(reply: Reply) -> NotFound | Ended:
    """Read `{'not_found'}` or `{'ended', status}`."""
    return NotFound() if reply[0] == b"not_found" else _ENDED[reply[1]]


def settled(ref: VerificationRef, reply: Reply, max_attempts: int) -> Verification:
    """Read `{'settled', now, created, expires, next call, wrong, calls, purpose}`."""
    return verification(ref, [b"p", *reply[1:], 0], max_attempts)


def verification(ref: VerificationRef, reply: Reply, max_attempts: int) -> Verification:
    """Read `{status, now, created, expires, next call, wrong, calls, purpose, approved at}`."""
    status, now, created, expires, next_call, wrong, calls, asked_for, approved_at = reply
    resend_at = next_call if next_call < created + MAX_LIFETIME * 1000 else None
    return Verification(
        id=ref.id,
        status=_STATUS[status],
        phone=ref.phone,
        code_length=ref.code_length,
        attempts_left=max(0, max_attempts - wrong),
        calls=calls,
        purpose=purpose(asked_for),
        times=Times(now, created, expires, resend_at),
        approved_at=approved_at or None,
        test=ref.test,
    )


def seen(ref: VerificationRef, reply: Reply, max_attempts: int) -> KeySeen:
    """Read `{'key_reused'}`, `{'key_in_use'}` or `{'replayed', seed, outcome}`.

    Args:
        ref: any verification of the same phone: that of the first answer is made from it and the seed.
        reply: what the script answered.
        max_attempts: the policy's.
    """
    if reply[0] == b"key_reused":
        return KeyReused()
    if reply[0] == b"key_in_use":
        return KeyInUse(ASK_AGAIN)
    return Replayed(_first(ref.again(reply[1]), reply[2], max_attempts))


def _first(ref: VerificationRef, reply: Reply, max_attempts: int) -> Called:
    """Read an outcome that lib/once.lua kept."""
    if reply[0] == b"settled":
        return Pending(settled(ref, reply, max_attempts))
    if reply[0] == b"refused":
        refusal = Refusal(reply[1].decode())
        return CallRefused(ref.id, refusal, RETRY_AFTER[refusal])
    if reply[0] == b"unknown":
        return CallUnknown(ref.id, whole_seconds(reply[1]))
    return ended(reply)


def purpose(stored: bytes) -> str | None:
    """Read a purpose; '' stands for none."""
    return stored.decode() or None
