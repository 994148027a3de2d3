"""The routes for a backend: look at a verification, cancel it, redeem its proof, fetch the keys that verify proofs."""

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from app.api.auth import SecretClient, TheService, TheVerifications
from app.api.lean import LeanRoute
from app.api.openapi import BODY, ENDED, KEY_OF_A_BACKEND, SECRET_ONLY, answers, encoded
from app.api.problems import failed
from app.api.schemas import (
    KeySetAnswer,
    RedeemedAnswer,
    RedeemRequest,
    StateAnswer,
    redeemed_answer,
    state_answer,
)
from app.verification.model import Canceled, Found, Redeemed

router = APIRouter(tags=["internal"], route_class=LeanRoute)

KEEP_KEYS = "public, max-age=300"
"""How long verifiers may keep the keys: a new key is published that long before it signs (docs/operations.md)."""


class _KeySet(JSONResponse):
    media_type = "application/jwk-set+json"  # RFC 7517, section 8.5

    def render(self, content: bytes) -> bytes:
        return content


@router.post(
    "/verify/redeem",
    responses=answers(
        *(200, RedeemedAnswer, "The proof is good, and used up now.", *KEY_OF_A_BACKEND, *BODY),
        *("token_invalid", "token_expired", "token_redeemed"),
    ),
    **SECRET_ONLY,
)
async def redeem(body: RedeemRequest, caller: SecretClient, verifications: TheVerifications) -> Response:
    """Say yes to a proof, once: for a backend whose proofs must not be used twice.

    Only a client of the proof's own audience redeems it. A proof that may be used until it expires is verified offline instead.
    """
    outcome = await verifications.redeem(caller, body.token)
    return encoded(200, redeemed_answer(outcome)) if isinstance(outcome, Redeemed) else failed(outcome)


@router.get(
    "/verify/{verification_id}",
    responses=answers(200, StateAnswer, "Its whole state.", *KEY_OF_A_BACKEND, "verification_not_found"),
    **SECRET_ONLY,
)
async def read(verification_id: str, caller: SecretClient, verifications: TheVerifications) -> Response:
    """Tell the whole state of a verification, without its code."""
    outcome = await verifications.read(caller, verification_id)
    return encoded(200, state_answer(outcome.verification)) if isinstance(outcome, Found) else failed(outcome)


@router.post(
    "/verify/{verification_id}/cancel",
    responses=answers(200, StateAnswer, "It is canceled.", *KEY_OF_A_BACKEND, "verification_not_found", *ENDED),
    **SECRET_ONLY,
)
async def cancel(verification_id: str, caller: SecretClient, verifications: TheVerifications) -> Response:
    """End a pending verification: its codes count no more. Canceling twice is as good as once."""
    outcome = await verifications.cancel(caller, verification_id)
    return encoded(200, state_answer(outcome.verification)) if isinstance(outcome, Canceled) else failed(outcome)


@router.get(
    "/.well-known/jwks.json",
    responses=answers(200, KeySetAnswer, "The public keys.", keep=KEEP_KEYS),
    response_model=None,
    response_class=_KeySet,
)
async def jwks(service: TheService) -> Response:
    """Tell the public keys that proofs verify with. They may be kept for five minutes; an unknown `kid` is a reason to ask again."""
    return _KeySet(service.tokens.jwks, 200, {"Cache-Control": KEEP_KEYS})
