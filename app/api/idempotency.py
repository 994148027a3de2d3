"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): one request is carried out once, however often it is sent.

What is kept, for how long and for whom is the store's business (store/scripts/lib/once.lua); here the header is read and the answer marked.
"""

import re
from dataclasses import replace

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.api.clients import Kind
from app.api.lean import first_headers
from app.api.problems import RequestError, RequestRejected
from app.verification.client import Caller, IdempotentRequest

MIN_PUBLIC_LENGTH = 16
"""Characters: all users of a page share its public key, so there a key that somebody else could hit upon would show them an answer."""

LONGEST = 255
"""Characters."""

REPLAYED = "Idempotency-Replayed"

_BARE = re.compile(r"[!#-~]+")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # a String of RFC 9651, section 3.3.3


def idempotency_key(request: Request) -> str | None:
    """The request's idempotency key; None if it has none. A quoted one, as the draft writes it, and a bare one are the same.

    Raises:
        RequestFault: there are several, or it is no such key.
    """
    if b"idempotency-key" not in first_headers(request.scope):
        return None
    sent = request.headers.getlist("idempotency-key")
    text = sent[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(sent) > 1 or not 0 < len(key) <= LONGEST or not (quoted or _BARE.fullmatch(text)):
        raise _invalid(f"Send one key of 1 to {LONGEST} printable ASCII characters; a UUID is best.")
    return key


def once(caller: Caller, kind: Kind, key: str | None, body: BaseModel) -> Caller:
    """The same caller, with a request that is to be carried out once if it bears a key.

    Raises:
        RequestFault: a public client's key could be hit upon by others of its users.
    """
    if key is None:
        return caller
    if kind is Kind.PUBLIC and len(key) < MIN_PUBLIC_LENGTH:
        raise _invalid(
            f"With a public key it has at least {MIN_PUBLIC_LENGTH} characters: all users share one client. A UUID is best."
        )
    # The same request may bring another solution of another challenge.
    asked_for = body.model_dump_json(exclude_none=True, exclude={"challenge"})
    return replace(caller, once=IdempotentRequest(key, asked_for.encode()))


def replayed(answer: Response) -> Response:
    """The same answer, marked as given before."""
    answer.headers[REPLAYED] = "true"
    return answer


def _invalid(detail: str) -> RequestRejected:
    return RequestRejected(RequestError.IDEMPOTENCY_KEY_INVALID, detail)
