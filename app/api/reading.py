"""Reads requests: their headers, idempotency keys, and JSON bodies bounded in bytes and in seconds. No answer repeats what was sent."""

import re
from codecs import BOM_UTF8
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from app.api.problems import RequestError, RequestRejected
from app.verification.client import Caller, IdempotentRequest

MAX_BODY_BYTES = 8192
BODY_TIMEOUT = 10.0
"""Seconds for a body to arrive after its first part: a slow sender must not hold a connection for longer. The listener counts them."""

BODY_LATE = "body_late"
"""Set in a request's state by the listener where its body did not arrive in time."""

_CLOSE = {"Connection": "close"}
_JSON = b"application/json"
_MAX_ERRORS = 10
_MAX_FIELD = 64
_MESSAGES = {
    "enum": "Send {expected}",
    "list_type": 'Write a list, like ["…"]',
    "missing": "This field is required",
    "extra_forbidden": "There is no such field",
    "string_type": "Send a string",
    "string_too_short": "At least {min_length} character(s)",
    "string_too_long": "At most {max_length} characters",
    "string_pattern_mismatch": "It does not match {pattern}",
    "int_type": "Send a whole number",
    "int_from_float": "Send a whole number",
    "int_parsing_size": "This number is too large",
    "greater_than_equal": "At least {ge}",
    "less_than_equal": "At most {le}",
    "model_type": "Send a JSON object",
    "model_attributes_type": "Send a JSON object",
}
"""What callers read for pydantic's types of error. Its own words speak of its classes."""

Model = TypeVar("Model", bound=BaseModel)


def header_of(scope: Scope, name: bytes) -> bytes:
    """The first header of a name, which is in lower case; empty if there is none."""
    return first_headers(scope).get(name, b"")


def first_headers(scope: Scope) -> dict[bytes, bytes]:
    """The first header of each name: made once for a request, since a check looks at six of them."""
    first: dict[bytes, bytes] | None = scope.get("first_headers")
    if first is None:
        first = scope["first_headers"] = dict(reversed(scope["headers"]))
    return first


async def read_json(request: Request, model: type[Model]) -> Model:
    """Read a request's JSON body into its model. Rejected: too large, too slow, not JSON, not declared as JSON, compressed, or not as documented."""
    body = await _read_body(request)
    media_type = header_of(request.scope, b"content-type")
    if media_type.partition(b";")[0].strip().lower() != _JSON:
        raise RequestRejected(RequestError.UNSUPPORTED_MEDIA_TYPE, "Send the header Content-Type: application/json.")
    if header_of(request.scope, b"content-encoding").strip().lower() not in {b"", b"identity"}:
        detail = "Send the body as it is, without Content-Encoding: compressed bodies are not accepted."
        raise RequestRejected(RequestError.UNSUPPORTED_MEDIA_TYPE, detail, {"Accept-Encoding": "identity"})
    try:
        return model.model_validate_json(body.removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise _rejected(error) from None


async def _read_body(request: Request) -> bytes:
    declared = header_of(request.scope, b"content-length")
    if declared.isdigit() and (len(declared) > 9 or int(declared) > MAX_BODY_BYTES):  # noqa: PLR2004  ten digits are a gigabyte
        raise _too_large()
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _too_large()
    except ClientDisconnect:
        # A body that was cut off asks for nothing, even if what came so far can be read.
        raise RequestRejected(RequestError.MALFORMED_JSON, "The body ended early.", _CLOSE) from None
    if BODY_LATE in request.scope["state"]:
        detail = f"The whole body must arrive within {BODY_TIMEOUT:.0f} seconds."
        raise RequestRejected(RequestError.BODY_TIMEOUT, detail, _CLOSE)
    return body


def _too_large() -> RequestRejected:
    return RequestRejected(RequestError.BODY_TOO_LARGE, f"A body has at most {MAX_BODY_BYTES} bytes.", _CLOSE)


def _rejected(error: ValidationError) -> RequestRejected:
    errors = error.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return RequestRejected(RequestError.MALFORMED_JSON, errors[0]["msg"])
    fields = [{"field": _field(each), "message": message_of(each)} for each in errors[:_MAX_ERRORS]]
    return RequestRejected(RequestError.INVALID_REQUEST, "Fix the fields listed in `errors`.", errors=fields)


def _field(error: ErrorDetails) -> str:
    return ".".join(map(str, error["loc"]))[:_MAX_FIELD]


def message_of(error: ErrorDetails) -> str:
    """What is wrong with a field, in words for callers and operators."""
    context: dict[str, Any] = error.get("ctx", {})
    if error["type"] == "value_error":  # ours: pydantic puts "Value error, " before it
        return str(context["error"])
    template = _MESSAGES.get(error["type"])
    return template.format_map(context) if template else error["msg"]


# ---- `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07)
#
# One request is processed once, however often it is sent. The store decides what is kept, for how long and for whom.

MIN_PUBLIC_KEY_LENGTH, MAX_KEY_LENGTH = 16, 255
"""Characters. All users of a page share its public key, so there a key that another user could guess would show them an answer."""

_NOT_COMPARED = {"client_ip", "challenge", "device"}
"""Fields that may differ when one action is sent again: from Wi-Fi to LTE the address changes, and after a 428 there is a solution."""

_BARE = re.compile(r"[!#-~]+")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # a String of RFC 9651, section 3.3.3


def idempotency_key(request: Request) -> str | None:
    """The request's idempotency key; None if it has none. A quoted one, as the draft writes it, and a bare one are the same."""
    if b"idempotency-key" not in first_headers(request.scope):
        return None
    sent = request.headers.getlist("idempotency-key")
    text = sent[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(sent) > 1 or not 0 < len(key) <= MAX_KEY_LENGTH or not (quoted or _BARE.fullmatch(text)):
        raise _invalid_key(f"Send one key of 1 to {MAX_KEY_LENGTH} printable ASCII characters; a UUID is best.")
    return key


def once(caller: Caller, key: str | None, body: BaseModel) -> Caller:
    """The same caller, whose request is to be processed once if it has a key. A page's key that its other users could guess is rejected."""
    if key is None:
        return caller
    if caller.client.public and len(key) < MIN_PUBLIC_KEY_LENGTH:
        raise _invalid_key(
            f"With a public key it has at least {MIN_PUBLIC_KEY_LENGTH} characters: all users share one client. A UUID is best."
        )
    compared = body.model_dump_json(exclude_none=True, exclude=_NOT_COMPARED)
    return replace(caller, once=IdempotentRequest(key, compared.encode()))


def _invalid_key(detail: str) -> RequestRejected:
    return RequestRejected(RequestError.IDEMPOTENCY_KEY_INVALID, detail)
