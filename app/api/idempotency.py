"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): one request is processed once, however often it is sent.

The store decides what is kept, for how long and for whom; here the header is read and the repeated answer marked.
"""

import re
from dataclasses import replace

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.api.clients import Kind
from app.api.problems import RequestError, RequestRejected
from app.api.reading import first_headers
from app.verification.client import Caller, IdempotentRequest

MIN_PUBLIC_LENGTH = 16
"""Characters: all users of a page share its public key, so there a key that another user could guess would show them an answer."""

MAX_LENGTH = 255
"""Characters."""

REPLAYED = "Idempotency-Replayed"

_NOT_COMPARED = {"client_ip", "challenge", "device"}
"""Fields that may differ when one action is sent again: from Wi-Fi to LTE the address changes, and after a 428 there is a solution."""

_BARE = re.compile(r"[!#-~]+")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # a String of RFC 9651, section 3.3.3


def idempotency_key(request: Request) -> str | None:
    """The request's idempotency key; None if it has none. A quoted one, as the draft writes it, and a bare one are the same.

    Raises:
        RequestRejected: there are several, or it is invalid.
    """
    if b"idempotency-key" not in first_headers(request.scope):
        return None
    sent = request.headers.getlist("idempotency-key")
    text = sent[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(sent) > 1 or not 0 < len(key) <= MAX_LENGTH or not (quoted or _BARE.fullmatch(text)):
        raise _invalid(f"Send one key of 1 to {MAX_LENGTH} printable ASCII characters; a UUID is best.")
    return key


def once(caller: Caller, kind: Kind, key: str | None, body: BaseModel) -> Caller:
    """The same caller, whose request is to be processed once if it has a key.

    Raises:
        RequestRejected: a public client's key that other users of the client could guess.
    """
    if key is None:
        return caller
    if kind is Kind.PUBLIC and len(key) < MIN_PUBLIC_LENGTH:
        raise _invalid(
            f"With a public key it has at least {MIN_PUBLIC_LENGTH} characters: all users share one client. A UUID is best."
        )
    compared = body.model_dump_json(exclude_none=True, exclude=_NOT_COMPARED)
    return replace(caller, once=IdempotentRequest(key, compared.encode()))


def replayed(answer: Response) -> Response:
    """The same answer, marked as given before."""
    answer.headers[REPLAYED] = "true"
    return answer


def _invalid(detail: str) -> RequestRejected:
    return RequestRejected(RequestError.IDEMPOTENCY_KEY_INVALID, detail)
