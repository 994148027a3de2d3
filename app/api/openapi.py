"""How routes tell the OpenAPI document what they answer, and how an answer is encoded: the two sides of one thing."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from app.api.answer import Answer, headers_for
from app.api.problems import FAULTS, MEDIA_TYPE, ROWS, Row, example
from app.api.ratelimit_headers import LEFT, POLICY
from app.verification.model import Limit

_NO_STORE = {"Cache-Control": "no-store"}

KEY = ("key_missing", "key_unknown", "origin_not_allowed", "store_unavailable", "internal_error")
"""What any route behind a key may answer."""

KEY_OF_A_BACKEND = ("key_missing", "key_unknown", "key_not_allowed", "store_unavailable", "internal_error")
"""What any route behind a secret key may answer."""

BODY = ("malformed_json", "invalid_request", "body_too_large", "body_timeout", "unsupported_media_type")
"""What any route with a body may answer."""

ENDED = ("attempts_exhausted", "already_used", "expired", "canceled", "failed")
"""What a verification that is over answers."""

CALL = (
    *("call_in_progress", "limit_reached", "phone_refused", "destination_not_permitted", "phone_called_too_often"),
    *("call_not_placed", "call_unknown", "spend_cap", "destination_suspended", "codes_predictable"),
)
"""What a call that is not placed answers."""

ONCE = ("idempotency_key_invalid", "idempotency_key_in_use", "idempotency_key_reused")
"""What a request with an `Idempotency-Key` may answer."""

_REQUEST_ID = {
    "description": "The request's id: the caller's own `X-Request-Id`, or a new one. It stands on each log line.",
    "schema": {"type": "string"},
    "example": "5f2b6c1d9e3a4b70",
}
_RETRY_AFTER = {
    "description": "Seconds to wait (RFC 9110, section 10.2.3).",
    "schema": {"type": "integer", "minimum": 1},
    "example": 30,
}
_CORS = {
    "Vary": {"description": "The answer depends on it.", "schema": {"type": "string"}, "example": "Origin"},
    "Access-Control-Allow-Origin": {
        "description": "The page's origin, if the key's client names it.",
        "schema": {"type": "string"},
        "example": "https://shop.example",
    },
}
_REPLAYED = {
    "description": "`true` if this answer was given before to the same `Idempotency-Key`; else absent.",
    "schema": {"type": "string", "enum": ["true"]},
    "example": "true",
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names this request, so that sending it again gives the first answer and no second call "
    "(draft-ietf-httpapi-idempotency-key-header-07). Kept for 24 hours for this client. At least 16 characters with a public key.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]+$"},
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
}
_QUOTAS = {
    POLICY: {
        "description": "The limits that the request counted against (draft-ietf-httpapi-ratelimit-headers-11). Absent where it failed before these.",
        "schema": {"type": "string"},
        "example": '"calls_per_ip";q=20;w=3600',
    },
    LEFT: {
        "description": "What the caller's own limits among them still let through, and seconds until that is more; of the others a denial only.",
        "schema": {"type": "string"},
        "example": '"calls_per_ip";r=19;t=3900',
    },
}
_CACHE_CONTROL = {"description": "Whether the answer may be kept.", "schema": {"type": "string"}, "example": "no-store"}


OPEN_TO_ALL: dict[str, Any] = {
    "response_model": None,
    "openapi_extra": {"security": [{"publicKey": []}, {"secretKey": []}]},
}
CARRIED_OUT_ONCE: dict[str, Any] = {
    "response_model": None,
    "openapi_extra": OPEN_TO_ALL["openapi_extra"] | {"parameters": [_IDEMPOTENCY_KEY]},
}
SECRET_ONLY: dict[str, Any] = {"response_model": None, "openapi_extra": {"security": [{"secretKey": []}]}}


def encoded(status: int, answer: BaseModel | bytes) -> Response:
    """An answer, a model or JSON already, that nobody keeps."""
    body = answer if isinstance(answer, bytes) else answer.model_dump_json().encode()
    return Answer(status, body, headers_for(body, b"application/json", _NO_STORE))


def answers(
    status: int, model: type[BaseModel], description: str, *codes: str, keep: str = "no-store"
) -> dict[int | str, dict[str, Any]]:
    """A route's answers for the OpenAPI document: the good one, and each problem under its status with an example.

    Args:
        status: of the good answer.
        model: its body.
        description: what it means.
        codes: the problems that may come instead (`problems.ROWS`).
        keep: the `Cache-Control` of the good answer.
    """
    good = {
        "description": description,
        "model": model,
        "headers": {"X-Request-Id": _REQUEST_ID, "Cache-Control": _CACHE_CONTROL | {"example": keep}},
    }
    found: dict[int | str, dict[str, Any]] = {status: good}
    for code in codes:
        row = ROWS[code]
        told = found.setdefault(int(row.status), _problem(row))
        told["content"][MEDIA_TYPE]["examples"][code] = {"summary": row.title, "value": example(row)}
        if "retry_after" in row.extras:
            told["headers"]["Retry-After"] = _RETRY_AFTER
        if row.status is HTTPStatus.UNAUTHORIZED:
            told["headers"]["WWW-Authenticate"] = {
                "description": "RFC 6750.",
                "schema": {"type": "string"},
                "example": "Bearer",
            }
    return found


def _problem(row: Row) -> dict[str, Any]:
    return {
        "description": row.status.phrase,
        "headers": {"X-Request-Id": _REQUEST_ID, "Cache-Control": _CACHE_CONTROL},
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's document what it can't know: the problem's schema and the two kinds of key."""
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        "publicKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "`pk_…`: start, check and resend, from its origins or app.",
        },
        "secretKey": {"type": "http", "scheme": "bearer", "description": "`sk_…`: a backend's key, for all routes."},
    }
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = _problem_schema()
    for path in document["paths"].values():
        for operation in path.values():
            _tell_headers(operation)
            # FastAPI documents its own 422 wherever there is a parameter; ours stand there already where they can occur.
            answer = operation["responses"].get("422", {})
            if "application/json" in answer.get("content", {}):
                answer["content"].pop("application/json")
                if not answer["content"]:
                    operation["responses"].pop("422")
    return document


def _tell_headers(operation: dict[str, Any]) -> None:
    """Name the headers that come with whatever a route answers: for pages, and for requests that are carried out once."""
    for answer in operation["responses"].values():
        if {"publicKey": []} in operation.get("security", []):
            answer["headers"] |= _CORS | _QUOTAS
        if operation.get("parameters") == [_IDEMPOTENCY_KEY]:
            answer["headers"]["Idempotency-Replayed"] = _REPLAYED


def _problem_schema() -> dict[str, Any]:
    return {
        "title": "Problem",
        "description": "Problem details (RFC 9457). `code` is stable; further members depend on it.",
        "type": "object",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(ROWS)},
            "detail": {"type": "string"},
            "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds until another try makes sense."},
            "id": {"type": "string", "description": "The verification that the call was for."},
            "attempts_left": {"type": "integer", "minimum": 0},
            "code_length": {"type": "integer"},
            "least": {"type": "integer", "description": "The fewest digits that may be asked for."},
            "limit": {
                "type": "string",
                "enum": [limit.value for limit in Limit],
                "description": "Which limit said no.",
            },
            "errors": {
                "type": "array",
                "items": {"type": "object", "properties": {"field": {"type": "string"}, "message": {"type": "string"}}},
            },
            "challenge": {"type": "object", "description": "What to solve: an ALTCHA challenge, version 2."},
            "faults": {"type": "array", "items": {"type": "string"}},
        },
        "example": example(FAULTS[next(iter(FAULTS))]),
    }
