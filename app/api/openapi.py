"""What routes declare for the OpenAPI document, and how an answer is encoded: the two sides of one thing."""

from http import HTTPStatus
from typing import Any, get_args

from pydantic import BaseModel
from starlette.responses import Response

from app.api.problems import MEDIA_TYPE, ROWS, Row, example
from app.api.schemas import RATE_LIMIT, RATE_LIMIT_POLICY
from app.verification.challenge import ChallengeKind
from app.verification.model import Limit
from app.verification.ports import BreakerState

JSON = "application/json"
_NO_STORE = {"Cache-Control": "no-store"}

KEY = ("key_missing", "key_unknown", "origin_not_allowed", "store_unavailable", "internal_error")
"""What any route behind a key may answer."""

KEY_OF_A_BACKEND = ("key_missing", "key_unknown", "key_not_allowed", "store_unavailable", "internal_error")
"""What any route behind a secret key may answer."""

BODY = (
    *("malformed_json", "invalid_request", "body_too_large", "body_timeout", "unsupported_media_type"),
    "overloaded",
)
"""What any route with a body may answer."""

ENDED = ("attempts_exhausted", "already_used", "expired", "canceled", "failed")
"""What a verification that has ended answers."""

CALL = (
    *("call_in_progress", "limit_reached", "phone_refused", "destination_not_permitted", "phone_called_too_often"),
    *("call_not_placed", "call_unknown", "spend_cap", "destination_suspended", "codes_predictable"),
    "provider_unavailable",
)
"""What a call that is not placed answers."""

ONCE = ("idempotency_key_invalid", "idempotency_key_in_use", "idempotency_key_reused")
"""What a request with an `Idempotency-Key` may answer."""


def _header(description: str, example: object, **schema: object) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"} | schema, "example": example}


_CACHE_CONTROL = _header("Whether the answer may be kept.", "no-store")
_ALWAYS = {
    "X-Request-Id": _header(
        "The request's id: the caller's own `X-Request-Id`, or a new one. Each log line of the request has it.",
        "5f2b6c1d9e3a4b70",
    ),
    "Cache-Control": _CACHE_CONTROL,
}
_RETRY_AFTER = _header("Seconds to wait (RFC 9110, section 10.2.3).", 30, type="integer", minimum=1)
_AUTHENTICATE = _header("RFC 6750.", "Bearer")
_REPLAYED = _header(
    "`true` if this answer was given before to the same `Idempotency-Key`; else absent.", "true", enum=["true"]
)
_OF_PAGES = {
    "Vary": _header("The answer depends on it.", "Origin"),
    "Access-Control-Allow-Origin": _header("The page's origin, if the key's client lists it.", "https://shop.example"),
    RATE_LIMIT_POLICY: _header(
        "The limits of the request (draft-ietf-httpapi-ratelimit-headers-11). Absent where it failed before these.",
        '"calls_per_ip";q=20;w=3600',
    ),
    RATE_LIMIT: _header(
        "What is left of the caller's own limits among them, and seconds until that is more; of the others a denial only.",
        '"calls_per_ip";r=19;t=3900',
    ),
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

OPEN_TO_ALL: dict[str, Any] = {"openapi_extra": {"security": [{"publicKey": []}, {"secretKey": []}]}}
PROCESSED_ONCE: dict[str, Any] = {"openapi_extra": OPEN_TO_ALL["openapi_extra"] | {"parameters": [_IDEMPOTENCY_KEY]}}
SECRET_ONLY: dict[str, Any] = {"openapi_extra": {"security": [{"secretKey": []}]}}
NO_KEY: dict[str, Any] = {"openapi_extra": {"security": []}}


def encoded(status: int, answer: BaseModel) -> Response:
    """An answer that no cache keeps."""
    return Response(answer.model_dump_json(), status, _NO_STORE, JSON)


def answers(
    status: int,
    model: type[BaseModel],
    description: str,
    /,
    *codes: str,
    keep: str = "no-store",
    media_type: str = JSON,
    **shown: object,
) -> dict[int | str, dict[str, Any]]:
    """A route's answers for the OpenAPI document: the good one, and each problem under its status, with an example each.

    Args:
        status: of the good answer.
        model: its body.
        description: what it means.
        codes: the problems that may come instead (`problems.ROWS`).
        keep: the `Cache-Control` of the good answer.
        media_type: of the good answer.
        shown: fields of its example that the model's own examples do not fit.
    """
    good = {
        "description": description,
        "model": model,
        "headers": _ALWAYS | {"Cache-Control": _CACHE_CONTROL | {"example": keep}},
        "content": {media_type: {"example": _example_of(model) | shown}},
    }
    return {status: good} | problems(*codes)


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Each problem under its status, with an example each."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        row = ROWS[code]
        problem = found.setdefault(int(row.status), _problem(row))
        problem["content"][MEDIA_TYPE]["examples"][code] = {"summary": row.title, "value": example(row)}
        if "retry_after" in row.extras:
            problem["headers"]["Retry-After"] = _RETRY_AFTER
        if row.status is HTTPStatus.UNAUTHORIZED:
            problem["headers"]["WWW-Authenticate"] = _AUTHENTICATE
    return found


def codes_of(answer: dict[str, Any]) -> list[str]:
    """The codes of the problems that a status of `answers` has; one empty code for a good one."""
    return list(answer.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {"": None}))


def _problem(row: Row) -> dict[str, Any]:
    return {
        "description": row.status.phrase,
        "headers": dict(_ALWAYS),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
    }


def _example_of(model: type[BaseModel]) -> dict[str, Any]:
    """A model's example, made of its fields'."""
    return {name: _example_of_field(field.annotation, field.examples) for name, field in model.model_fields.items()}


def _example_of_field(annotation: Any, examples: list[Any] | None) -> Any:  # noqa: ANN401  whatever a field holds
    if examples:
        return examples[0]
    inner = [
        each for each in (annotation, *get_args(annotation)) if isinstance(each, type) and issubclass(each, BaseModel)
    ]
    if not inner:
        return None
    return [_example_of(inner[0])] if getattr(annotation, "__origin__", None) is list else _example_of(inner[0])


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's document what it can't know: the problem's schemas, the two kinds of key, the headers of pages."""
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
    for schema in schemas.values():
        _untitle(schema)
    schemas |= _problem_schemas()
    for path in document["paths"].values():
        for operation in path.values():
            _complete_operation(operation, schemas)
    return document


def _untitle(schema: dict[str, Any]) -> None:
    """Drop the titles that pydantic makes of the fields' names: generated clients would repeat each name as its comment."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)


def _complete_operation(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    # The first line of the route's docstring; FastAPI's own summary is the function's name.
    first, _, rest = operation["description"].partition("\n\n")
    operation |= {"summary": first.removesuffix("."), "description": rest or first}
    for answer in operation["responses"].values():
        if {"publicKey": []} in operation.get("security", []):
            answer["headers"] |= _OF_PAGES
        if _IDEMPOTENCY_KEY in operation.get("parameters", []):
            answer["headers"]["Idempotency-Replayed"] = _REPLAYED
        for body in answer.get("content", {}).values():
            _restore_nulls(body, schemas)
    # FastAPI documents its own 422 wherever there is a parameter; ours are there already where they can occur.
    unprocessable = operation["responses"].get("422", {})
    unprocessable.get("content", {}).pop(JSON, None)
    if unprocessable and not unprocessable["content"]:
        operation["responses"].pop("422")


def _restore_nulls(body: dict[str, Any], schemas: dict[str, Any]) -> None:
    """FastAPI drops each null of the document, also those of examples."""
    schema = schemas.get(body.get("schema", {}).get("$ref", "").rpartition("/")[2])
    if schema and isinstance(body.get("example"), dict):
        body["example"] = dict.fromkeys(schema.get("required", ())) | body["example"]


def _problem_schemas() -> dict[str, Any]:
    """Each has a name, so that a generated client has a type for it."""
    return {
        "Problem": _problem_schema(),
        "ProblemCode": {
            "type": "string",
            "enum": sorted(ROWS),
            "description": "What went wrong. A code keeps its meaning; a later version may add codes.",
        },
        "LimitName": {"type": "string", "enum": [limit.value for limit in Limit], "description": "A limit."},
        "FieldError": {
            "type": "object",
            "required": ["field", "message"],
            "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            "description": "What is wrong with a field of the request.",
        },
        "Challenge": {
            "type": "object",
            "required": ["provider"],
            "properties": {
                "provider": {"type": "string", "enum": [kind.value for kind in ChallengeKind]},
                "parameters": {"$ref": "#/components/schemas/ChallengeParameters"},
                "signature": {"type": "string", "description": "Of `altcha`: send it back with the solution."},
                "site_key": {"type": "string", "description": "Of the other providers: for their widget."},
            },
            "description": "What to solve. Of `altcha` it has `parameters` and `signature`, of the others `site_key`.",
        },
        "ChallengeParameters": {
            "type": "object",
            "required": ["algorithm", "nonce", "salt", "cost", "keyLength", "keyPrefix"],
            "properties": {
                "algorithm": {"type": "string", "description": "`PBKDF2/SHA-256`."},
                "nonce": {"type": "string", "description": "Hex: the password begins with these bytes."},
                "salt": {"type": "string", "description": "Hex."},
                "cost": {"type": "integer", "description": "Iterations."},
                "keyLength": {"type": "integer", "description": "Bytes of the derived key."},
                "keyPrefix": {"type": "string", "description": "What the derived key begins with, in hex."},
                "expiresAt": {"type": "integer", "format": "int64", "description": "Unix seconds."},
                "data": {"type": "object", "description": "The service's own: send it back as it is."},
            },
            "description": "ALTCHA's, version 2 (docs/challenges.md). Send all of them back as they came: they are signed.",
        },
    }


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
            "code": {"$ref": "#/components/schemas/ProblemCode"},
            "detail": {"type": "string"},
            "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds until another try makes sense."},
            "id": {"type": "string", "description": "The verification that the call was for."},
            "attempts_left": {"type": "integer", "minimum": 0},
            "code_length": {"type": "integer"},
            "min_code_length": {"type": "integer", "description": "The fewest digits that may be asked for."},
            "limit": {"$ref": "#/components/schemas/LimitName"},
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
            "challenge": {"$ref": "#/components/schemas/Challenge"},
            "sandbox": {"type": "boolean", "description": "Whether calls go to the simulator."},
            "breaker": {
                "type": "string",
                "enum": [state.value for state in BreakerState],
                "description": "Whether the process that answers asks the provider for calls: closed if it does.",
            },
            "problems": {"type": "array", "items": {"type": "string"}, "description": "Why the service is not ready."},
        },
        "example": example(ROWS["code_incorrect"]),
    }
