"""What the scripts reply, read into the core's terms."""

from typing import Any

from app.store.keys import SPEND, Limit
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import (
    AlreadyUsed,
    Approval,
    AttemptsExhausted,
    CallDenied,
    Called,
    CallFailed,
    CallInProgress,
    CallRefused,
    CallUnknown,
    CanceledBefore,
    ChallengeRequired,
    CodeIncomplete,
    CodeIncorrect,
    CodesPredictable,
    DestinationSuspended,
    Ended,
    Expired,
    KeyInUse,
    KeyReused,
    KeySeen,
    LimitReached,
    NotFound,
    Pending,
    Refusal,
    RemainingQuota,
    Replayed,
    Scope,
    SpendCapReached,
    Status,
    Times,
    Verification,
)
from app.verification.model import Limit as LimitName
from app.verification.phone import destination_of
from app.verification.policy import MAX_LIFETIME, whole_seconds
from app.verification.ports import GuardStatus, Reserved, Suspended, Usage

Reply = dict[str, Any]

ASK_AGAIN = 1
"""Seconds until a request in progress may be asked after again: asking costs nothing, and a call is placed within a second or two."""

PREDICTABLE_FOR = 600
"""Seconds until codes may be found to be better distributed: no one knows, so ten minutes."""

_ENDED: dict[str, Ended] = {
    "approved": AlreadyUsed(),
    "locked": AttemptsExhausted(),
    "expired": Expired(),
    "canceled": CanceledBefore(),
    "failed": CallFailed(),
}
_CAPS = {name: cap for cap, name in SPEND.items()}


def reserved(reply: Reply) -> Reserved | None:
    """A reserved call; None for any other reply."""
    if reply["outcome"] != "reserved":
        return None
    return Reserved(
        reply["number"], reply["at"], reply["price"], reply["code_length"], reply.get("sampled", False), _quotas(reply)
    )


def _quotas(reply: Reply) -> tuple[RemainingQuota, ...]:
    """What is left of the caller's own limits: of each the tightest of its rates."""
    tightest: dict[str, Reply] = {}
    for quota in sorted(reply["quotas"] or (), key=lambda quota: quota["left"]):
        tightest.setdefault(quota["limit"], quota)
    return tuple(
        RemainingQuota(LimitName(name), quota["place"], quota["left"], whole_seconds(quota["reset"]))
        for name, quota in tightest.items()
    )


def challenge(reply: Reply) -> ChallengeRequired | None:
    """A challenge that must be solved; None for any other reply."""
    return ChallengeRequired(reply["level"]) if reply["outcome"] == "challenge_required" else None


def denied(ref: VerificationRef, reply: Reply) -> CallDenied | None:
    """Why a call is denied; None for any other reply."""
    match reply["outcome"]:
        case "in_progress":
            return CallInProgress(whole_seconds(reply["wait"]))
        case "codes_predictable":
            return CodesPredictable(PREDICTABLE_FOR)
        case "suspended":
            scope, to = Scope(reply["scope"]), destination_of(ref.phone)
            destination = to.country if scope is Scope.COUNTRY else to.range
            return DestinationSuspended(scope, destination, whole_seconds(reply["wait"]), reply["just_now"])
        case "limited":
            return _limited(reply)
        case _:
            return None


def _limited(reply: Reply) -> LimitReached | SpendCapReached:
    wait, name = whole_seconds(reply["wait"]), reply["limit"]
    if name in _CAPS:
        return SpendCapReached(_CAPS[name], reply["window"], reply["max"], reply["used"], reply["by_share"], wait)
    return LimitReached(LimitName(name), wait, reply.get("place"))


def not_pending(reply: Reply) -> NotFound | Ended | None:
    """A verification that is unknown or has ended; None for any other reply."""
    if reply["outcome"] == "not_found":
        return NotFound()
    return _ENDED[reply["status"]] if reply["outcome"] == "ended" else None


def verification(codec: IdCodec, ref: VerificationRef, reply: Reply) -> Verification:
    """The whole state."""
    next_at = reply["next_at"]
    return Verification(
        id=ref.id,
        status=Status(reply["status"]),
        phone=ref.phone,
        code_length=reply["code_length"],
        attempts_left=reply["attempts_left"],
        calls=reply["calls"],
        purpose=codec.unseal_text(reply.get("purpose")),
        times=Times(
            reply["now"],
            reply["created_at"],
            reply["expires_at"],
            next_at if next_at < reply["created_at"] + MAX_LIFETIME * 1000 else None,
        ),
        approved_at=reply.get("approved_at"),
        test=ref.test,
    )


def approval(codec: IdCodec, ref: VerificationRef, reply: Reply) -> Approval:
    """What is recorded of a right code."""
    return Approval(
        ref.id,
        ref.phone,
        reply["approved_at"],
        codec.unseal_text(reply.get("purpose")),
        ref.test,
        reply.get("repeated", False),
    )


def checked(
    codec: IdCodec, ref: VerificationRef, reply: Reply
) -> Approval | CodeIncorrect | CodeIncomplete | NotFound | Ended:
    """What became of a guess."""
    match reply["outcome"]:
        case "approved":
            return approval(codec, ref, reply)
        case "incorrect":
            return CodeIncorrect(reply["attempts_left"], reply.get("alert", False))
        case "incomplete":
            return CodeIncomplete(reply["code_length"])
        case "not_found":
            return NotFound()
        case _:
            return _ENDED[reply["status"]]


def seen(codec: IdCodec, ref: VerificationRef, reply: Reply) -> KeySeen:
    """What became of a request whose idempotency key was seen before: the first verification is made of the phone and the seed."""
    match reply["outcome"]:
        case "key_reused":
            return KeyReused()
        case "key_in_use":
            return KeyInUse(ASK_AGAIN)
        case _:
            return Replayed(_first(codec, codec.again(ref, reply["seed"]), reply["first"]))


def _first(codec: IdCodec, ref: VerificationRef, reply: Reply) -> Called:
    match reply["outcome"]:
        case "settled":
            return Pending(verification(codec, ref, reply))
        case "refused":
            refusal = Refusal(reply["reason"])
            return CallRefused(ref.id, refusal, refusal.retry_after)
        case "unknown":
            return CallUnknown(ref.id, whole_seconds(reply["wait"]))
        case "not_found":
            return NotFound()
        case _:
            return _ENDED[reply["status"]]


def status(codec: IdCodec, limits: list[Limit], reply: Reply) -> GuardStatus:
    """What is suspended and used; a destination that another pepper sealed is left out."""
    suspended = []
    for entry in reply["suspended"] or ():
        lane, _, sealed = entry["destination"].partition(":")
        if destination := codec.unseal_text(sealed):
            suspended.append(Suspended(destination, lane, entry["resumes_at"]))
    used = {
        f"{limit['name']}/{limit['window']}": Usage(usage["public"], usage["trusted"], usage["resets_in"])
        for limit, usage in zip(limits, reply["used"] or (), strict=True)
    }
    return GuardStatus(tuple(suspended), reply.get("alert_until"), used)
