"""The routes for a backend: read a verification, cancel it, redeem its verification token, fetch the keys that verify tokens."""

from fastapi import APIRouter
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from app.api.auth import SecretClient, TheService
from app.api.lean import LeanRoute
from app.api.openapi import BODY, ENDED, KEY_OF_A_BACKEND, NO_KEY, SECRET_ONLY, answered, answers
from app.api.schemas import KeySetAnswer, RedeemedAnswer, RedeemRequest, StateAnswer

router = APIRouter(tags=["backend"], route_class=LeanRoute)

KEEP_KEYS = "public, max-age=300"
"""How long verifiers may keep the keys: a new key is published that long before it signs (docs/operations.md)."""

KEY_SET = "application/jwk-set+json"  # RFC 7517, section 8.5


class _VerificationId(StringConvertor):
    """Any path segment but those that name a route: `GET /verify/start` is a wrong method, and not a verification called "start"."""

    regex = "(?!(?:start|check|resend|redeem)(?:/|$))[^/]+"


register_url_convertor("verification", _VerificationId())


@router.post(
    "/verify/redeem",
    operation_id="redeemToken",
    responses=answers(
        *(200, RedeemedAnswer, "The verification token is valid, and used up now.", *KEY_OF_A_BACKEND, *BODY),
        *("token_invalid", "token_expired", "token_redeemed"),
    ),
    **SECRET_ONLY,
)
async def redeem(body: RedeemRequest, caller: SecretClient, service: TheService) -> Response:
    """Redeem a token.

    Accepts a verification token once: for a backend whose tokens must not be used twice. Only a client of the token's own audience redeems it. A token
    that may be used until it expires is verified offline instead.
    """
    return answered(await service.verifications.redeem(caller, body.token))


@router.get(
    "/verify/{verification_id:verification}",
    operation_id="readVerification",
    responses=answers(200, StateAnswer, "Its whole state.", *KEY_OF_A_BACKEND, "verification_not_found"),
    **SECRET_ONLY,
)
async def read(verification_id: str, caller: SecretClient, service: TheService) -> Response:
    """Read a verification.

    Returns its whole state, without its code.
    """
    return answered(await service.verifications.read(caller, verification_id))


@router.post(
    "/verify/{verification_id:verification}/cancel",
    operation_id="cancelVerification",
    responses=answers(
        *(200, StateAnswer, "It is canceled.", *KEY_OF_A_BACKEND, "verification_not_found", *ENDED),
        status="canceled",
        resend_at=None,
        resend_in=None,
    ),
    **SECRET_ONLY,
)
async def cancel(verification_id: str, caller: SecretClient, service: TheService) -> Response:
    """Cancel a verification.

    Ends a pending verification: its codes no longer count. Canceling twice gives the same answer.
    """
    return answered(await service.verifications.cancel(caller, verification_id))


@router.get(
    "/.well-known/jwks.json",
    operation_id="getKeys",
    responses=answers(200, KeySetAnswer, "The public keys.", keep=KEEP_KEYS, media_type=KEY_SET),
    **NO_KEY,
)
async def jwks(service: TheService) -> Response:
    """Get the public keys.

    They verify verification tokens. Keep them for five minutes at most, and fetch them again for an unknown `kid`.
    """
    return Response(service.tokens.jwks, 200, {"Cache-Control": KEEP_KEYS}, KEY_SET)
