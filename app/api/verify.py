"""The routes that verify a phone: start, check, resend."""

from fastapi import APIRouter
from starlette.responses import Response

from app.api.bodies import (
    ApprovedAnswer,
    CheckRequest,
    PendingAnswer,
    ResendRequest,
    StartRequest,
    approved_answer,
    pending_answer,
)
from app.api.caller import AnyClient, TheVerifier
from app.api.clients import Client, Kind
from app.api.documented import BODY, CALL, ENDED, KEY, OPEN_TO_ALL, answers, encoded
from app.api.lean import LeanRoute
from app.api.problems import Fault, RequestFault, failed
from app.verification.model import Approved, Pending

router = APIRouter(tags=["verify"], route_class=LeanRoute)


@router.post(
    "/verify/check",
    responses=answers(
        200,
        ApprovedAnswer,
        "The phone is verified.",
        *KEY,
        *BODY,
        "verification_not_found",
        "code_incomplete",
        "code_incorrect",
        *ENDED,
    ),
    **OPEN_TO_ALL,
)
async def check(body: CheckRequest, client: AnyClient, verifier: TheVerifier) -> Response:
    """Compare what a person typed with the code.

    A wrong code is 422, never a 2xx. Asked again with the right code within the grace time, the answer is the same.
    """
    outcome = await verifier.check(client.id, body.id, body.code)
    return encoded(200, approved_answer(outcome)) if isinstance(outcome, Approved) else failed(outcome)


@router.post(
    "/verify/start",
    status_code=201,
    responses=answers(
        201,
        PendingAnswer,
        "The phone was called.",
        *KEY,
        *BODY,
        *("phone_invalid", "phone_extension", "phone_not_mobile", "country_not_allowed", "code_length_too_short"),
        *CALL,
    ),
    **OPEN_TO_ALL,
)
async def start(body: StartRequest, client: AnyClient, verifier: TheVerifier) -> Response:
    """Have a phone called, and begin its verification.

    The phone rings once and the call is dropped; its last digits are the code. Two starts for one phone never call it twice at once.
    """
    _judge_address(client, body)
    outcome = await verifier.start(client.id, body.phone, body.code_length, body.purpose)
    return encoded(201, pending_answer(outcome.verification)) if isinstance(outcome, Pending) else failed(outcome)


@router.post(
    "/verify/resend",
    responses=answers(
        200, PendingAnswer, "The phone was called again.", *KEY, *BODY, "verification_not_found", *ENDED, *CALL
    ),
    **OPEN_TO_ALL,
)
async def resend(body: ResendRequest, client: AnyClient, verifier: TheVerifier) -> Response:
    """Have the phone of a pending verification called again.

    The codes of the last two calls count, under one attempt counter: the first call may arrive late.
    """
    outcome = await verifier.resend(client.id, body.id)
    return encoded(200, pending_answer(outcome.verification)) if isinstance(outcome, Pending) else failed(outcome)


def _judge_address(client: Client, body: StartRequest) -> None:
    """A page or an app does not say what address it has: the connection does."""
    if body.client_ip is not None and client.kind is Kind.PUBLIC:
        errors = [{"field": "client_ip", "message": "Only a backend with a secret key names its user's address"}]
        raise RequestFault(Fault.INVALID_REQUEST, "Leave client_ip out.", errors=errors)
