"""What the scripts reply, read into the core's terms. A function that knows some replies returns None for any other."""

from typing import Any

from app.store.keys import SPEND, Limit
from app.verification import model
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import Refusal
from app.verification.phone import destination_of
from app.verification.policy import MAX_LIFETIME, whole_seconds
from app.verification.ports import GuardStatus, Reserved, Suspended, Usage

Reply = dict[str, Any]

ASK_AGAIN = 1
"""Seconds until a request in progress may be asked after again: asking costs nothing, and a call is placed within a second or two."""

PREDICTABLE_FOR = 600
"""Seconds until codes may be found to be better distributed: no one knows, so ten minutes."""

_ENDED: dict[str, model.Ended] = {
    "approved": model.AlreadyUsed(),
    "locked": model.AttemptsExhausted(),
    "expired": model.Expired(),
    "canceled": model.CanceledBefore(),
    "failed": model.CallFailed(),
}
_CAPS = {name: cap for cap, name in SPEND.items()}


def reserved(reply: Reply) -> Reserved | None:
    """A reserved call."""
    if reply["outcome"] != "reserved":
        return None
    quotas = _quotas(reply["quotas"] or [])
    return Reserved(reply["number"], reply["at"], reply["price"], reply["code_length"], reply["sampled"], quotas)


def _quotas(found: list[Reply]) -> tuple[model.RemainingQuota, ...]:
    """What is left of the caller's own limits: of each the tightest of its rates."""
    tightest: dict[str, Reply] = {}
    for quota in sorted(found, key=lambda quota: quota["left"]):
        tightest.setdefault(quota["limit"], quota)
    return tuple(
        model.RemainingQuota(model.Limit(name), quota["place"], quota["left"], whole_seconds(quota["reset"]))
        for name, quota in tightest.items()
    )


def challenge(reply: Reply) -> model.ChallengeRequired | None:
    """A challenge that must be solved."""
    return model.ChallengeRequired(reply["level"]) if reply["outcome"] == "challenge_required" else None


def denied(ref: VerificationRef, reply: Reply) -> model.CallDenied | None:
    """Why a call is denied."""
    wait = whole_seconds(reply.get("wait", 0))
    match reply["outcome"]:
        case "in_progress":
            return model.CallInProgress(wait)
        case "codes_predictable":
            return model.CodesPredictable(PREDICTABLE_FOR)
        case "suspended":
            scope, to = model.Scope(reply["scope"]), destination_of(ref.phone)
            destination = to.country if scope is model.Scope.COUNTRY else to.range
            return model.DestinationSuspended(scope, destination, wait, reply["just_now"])
        case "limited" if cap := _CAPS.get(reply["limit"]):
            return model.SpendCapReached(cap, reply["window"], reply["max"], reply["used"], reply["by_share"], wait)
        case "limited":
            return model.LimitReached(model.Limit(reply["limit"]), wait, reply.get("place"))
        case _:
            return None


def not_pending(reply: Reply) -> model.NotFound | model.Ended | None:
    """A verification that is unknown or has ended."""
    if reply["outcome"] == "not_found":
        return model.NotFound()
    return _ENDED[reply["status"]] if reply["outcome"] == "ended" else None


def verification(codec: IdCodec, ref: VerificationRef, reply: Reply) -> model.Verification:
    """The whole state."""
    last_moment = reply["created_at"] + MAX_LIFETIME * 1000
    resend_at = reply["next_at"] if reply["next_at"] < last_moment else None
    return model.Verification(
        id=ref.id,
        status=model.Status(reply["status"]),
        phone=ref.phone,
        code_length=reply["code_length"],
        attempts_left=reply["attempts_left"],
        calls=reply["calls"],
        purpose=codec.unseal_text(reply.get("purpose")),
        times=model.Times(reply["now"], reply["created_at"], reply["expires_at"], resend_at),
        approved_at=reply.get("approved_at"),
        test=ref.test,
    )


def approval(codec: IdCodec, ref: VerificationRef, reply: Reply) -> model.Approval:
    """What is recorded of a right code."""
    purpose, repeated = codec.unseal_text(reply.get("purpose")), reply.get("repeated", False)
    return model.Approval(ref.id, ref.phone, reply["approved_at"], purpose, ref.test, repeated)


def guessed(reply: Reply) -> model.CodeIncorrect | model.CodeIncomplete | None:
    """A code that is not right."""
    if reply["outcome"] == "incorrect":
        return model.CodeIncorrect(reply["attempts_left"], reply.get("alert", False))
    return model.CodeIncomplete(reply["code_length"]) if reply["outcome"] == "incomplete" else None


def seen(codec: IdCodec, ref: VerificationRef, reply: Reply) -> model.KeySeen:
    """What became of a request whose idempotency key was seen before: the first verification is made of the phone and the seed."""
    match reply["outcome"]:
        case "key_reused":
            return model.KeyReused()
        case "key_in_use":
            return model.KeyInUse(ASK_AGAIN)
        case _:
            return model.Replayed(_first(codec, codec.again(ref, reply["seed"]), reply["first"]))


def _first(codec: IdCodec, ref: VerificationRef, reply: Reply) -> model.Called:
    match reply["outcome"]:
        case "refused":
            refusal = Refusal(reply["reason"])
            return model.CallRefused(ref.id, refusal, refusal.retry_after)
        case "unknown":
            return model.CallUnknown(ref.id, whole_seconds(reply["wait"]))
        case _:
            return not_pending(reply) or model.Pending(verification(codec, ref, reply))


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
