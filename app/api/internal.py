"""The routes for a backend with a secret key: look at a verification, cancel it."""

from fastapi import APIRouter
from starlette.responses import Response

from app.api.bodies import StateAnswer, state_answer
from app.api.caller import SecretClient, TheVerifier
from app.api.documented import ENDED, KEY, SECRET_ONLY, answers, encoded
from app.api.lean import LeanRoute
from app.api.problems import failed
from app.verification.model import Canceled, Found

router = APIRouter(tags=["internal"], route_class=LeanRoute)


@router.get(
    "/verify/{verification_id}",
    responses=answers(200, StateAnswer, "Its whole state.", *KEY, "key_not_allowed", "verification_not_found"),
    **SECRET_ONLY,
)
async def read(verification_id: str, client: SecretClient, verifier: TheVerifier) -> Response:
    """Tell the whole state of a verification, without its code."""
    outcome = await verifier.read(client.id, verification_id)
    return encoded(200, state_answer(outcome.verification)) if isinstance(outcome, Found) else failed(outcome)


@router.post(
    "/verify/{verification_id}/cancel",
    responses=answers(200, StateAnswer, "It is canceled.", *KEY, "key_not_allowed", "verification_not_found", *ENDED),
    **SECRET_ONLY,
)
async def cancel(verification_id: str, client: SecretClient, verifier: TheVerifier) -> Response:
    """End a pending verification: its codes count no more. Canceling twice is as good as once."""
    outcome = await verifier.cancel(client.id, verification_id)
    return encoded(200, state_answer(outcome.verification)) if isinstance(outcome, Canceled) else failed(outcome)
