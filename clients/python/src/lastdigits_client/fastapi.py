"""A FastAPI dependency: the phone that the request's token verifies, or 403."""

from collections.abc import Awaitable, Callable

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from lastdigits_client.client import Client
from lastdigits_client.errors import TokenRefused
from lastdigits_client.token import TokenVerifier, VerifiedPhone


def verified_phone(
    verifier: TokenVerifier, purpose: str, *, field: str = "phone_token", redeem_with: Client | None = None
) -> Callable[[Request], Awaitable[VerifiedPhone]]:
    """`phone: Annotated[VerifiedPhone, Depends(verified_phone(verifier, "login"))]`. Reads the field of a form or of JSON."""

    async def dependency(request: Request) -> VerifiedPhone:
        is_json = request.headers.get("content-type", "").startswith("application/json")
        try:
            token = str((await request.json() if is_json else await request.form())[field])
            return await run_in_threadpool(verifier.verify, token, purpose, redeem_with=redeem_with)
        except (TokenRefused, ValueError, LookupError, TypeError, RecursionError) as error:
            raise HTTPException(403, "The phone is not verified.") from error

    return dependency
