"""The routes that verify a phone: start, check, resend; and the preflights of pages that use them."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.auth import AnyClient, IdempotencyKey, TheService, on_behalf
from app.api.lean import LeanRoute
from app.api.openapi import BODY, CALL, ENDED, KEY, ONCE, OPEN_TO_ALL, PROCESSED_ONCE, answered, answers, problems
from app.api.origins import preflight as answer_preflight
from app.api.reading import once
from app.api.schemas import ApprovedAnswer, CheckRequest, PendingAnswer, ResendRequest, StartRequest, add_limits
from app.verification.service import Start

router = APIRouter(tags=["verify"], route_class=LeanRoute)


@router.post(
    "/verify/check",
    operation_id="checkVerification",
    responses=answers(
        *(200, ApprovedAnswer, "The phone is verified."),
        *(*KEY, *BODY, "verification_not_found", "code_incomplete", "code_incorrect", *ENDED),
    ),
    **OPEN_TO_ALL,
)
async def check(body: CheckRequest, caller: AnyClient, service: TheService) -> Response:
    """Check a code.

    Compares what a person typed with the code. A wrong code is 422, never a 2xx. The right code, sent again within the repeat window, gets the same
    answer.
    """
    caller = on_behalf(caller, body.client_ip)
    return answered(await service.verifications.check(caller, body.id, body.code))


@router.post(
    "/verify/start",
    operation_id="startVerification",
    status_code=201,
    responses=answers(
        *(201, PendingAnswer, "The phone was called.", *KEY, *BODY, *ONCE, *CALL),
        *("phone_invalid", "phone_extension", "phone_not_mobile", "country_not_allowed", "code_length_too_short"),
        *("challenge_required", "challenge_unavailable"),
    ),
    **PROCESSED_ONCE,
)
async def start(body: StartRequest, caller: AnyClient, key: IdempotencyKey, service: TheService) -> Response:
    """Start a verification.

    Calls the phone: it rings once and the call is dropped; the last digits of the number that called are the code. Two starts for one phone never call it
    twice at once.
    """
    caller = once(on_behalf(caller, body.client_ip), key, body)
    request = Start(body.phone, body.code_length, body.purpose, body.challenge, body.device)
    outcome = await service.verifications.start(caller, request)
    return add_limits(answered(outcome, 201), service.policy, caller, outcome)


@router.post(
    "/verify/resend",
    operation_id="resendVerification",
    responses=answers(
        200, PendingAnswer, "The phone was called again.", *KEY, *BODY, *ONCE, "verification_not_found", *ENDED, *CALL
    ),
    **PROCESSED_ONCE,
)
async def resend(body: ResendRequest, caller: AnyClient, key: IdempotencyKey, service: TheService) -> Response:
    """Call again.

    Calls the phone of a pending verification again. The codes of the last two calls count, under one attempt counter: the first call may arrive late.
    """
    caller = once(on_behalf(caller, body.client_ip), key, body)
    outcome = await service.verifications.resend(caller, body.id, body.device)
    return add_limits(answered(outcome), service.policy, caller, outcome)


_PREFLIGHT: dict[str, Any] = {"include_in_schema": False, "responses": {204: {}, **problems("origin_not_allowed")}}


@router.options("/verify/check", **_PREFLIGHT)
@router.options("/verify/start", **_PREFLIGHT)
@router.options("/verify/resend", **_PREFLIGHT)
async def preflight(request: Request, service: TheService) -> Response:
    """Answer a browser that asks whether a page may send the request."""
    return answer_preflight(request.scope, service.clients.allows)
