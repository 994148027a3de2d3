"""What routes declare for the OpenAPI document, and how an answer is encoded: the two sides of one thing."""

from http import HTTPStatus
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from starlette.responses import Response

from app.api.problems import MEDIA_TYPE, ROWS, Row, example, outcome_problem
from app.api.schemas import RATE_LIMIT, RATE_LIMIT_POLICY, ApprovedAnswer, PendingAnswer, RedeemedAnswer, StateAnswer
from app.verification import model
from app.verification.challenge import ChallengeKind
from app.verification.ports import BreakerState

JSON = "application/json"
REPLAYED = "Idempotency-Replayed"
_NO_STORE = {"Cache-Control": "no-store"}

KEY = ("key_missing", "key_unknown", "origin_not_allowed", "store_unavailable", "internal_error")
"""What any route behind a key may answer."""

KEY_OF_A_BACKEND = ("key_missing", "key_unknown", "key_not_allowed", "store_unavailable", "internal_error")
"""What any route behind a secret key may answer."""

BODY = ("malformed_json", "invalid_request", "body_too_large", "body_timeout", "unsupported_media_type", "overloaded")
"""What any route with a body may answer."""

ENDED = ("attempts_exhausted", "already_used", "expired", "canceled", "failed")
"""What a verification that has ended answers."""

CALL = (
    "call_in_progress", "limit_reached", "phone_refused", "destination_not_permitted", "phone_called_too_often", "call_not_placed",
    "call_unknown", "spend_cap", "destination_suspended", "codes_predictable", "provider_unavailable",
)  # fmt: skip
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
        "The limits of the request (draft-ietf-httpapi-ratelimit-headers-11). Absent if it failed before any limit was checked.",
        '"calls_per_ip";q=20;w=3600',
    ),
    RATE_LIMIT: _header(
        "What is left of the caller's own limits, and seconds until more is left. A limit that others share is there only if it denied the request.",
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


def answered(outcome: model.Outcome, status: int = 200) -> Response:
    """The answer to an operation that ended so; `status` is that of a success."""
    match outcome:
        case model.Replayed():  # made before, under the same idempotency key
            answer = answered(outcome.first, status)
            answer.headers[REPLAYED] = "true"
            return answer
        case model.Pending():
            return encoded(status, PendingAnswer.of(outcome.verification))
        case model.Approved():
            return encoded(status, ApprovedAnswer.of(outcome))
        case model.Found() | model.Canceled():
            return encoded(status, StateAnswer.of(outcome.verification))
        case model.Redeemed():
            return encoded(status, RedeemedAnswer.model_validate(outcome.approval))
        case _:
            return outcome_problem(outcome)


def answers(
    status: int,
    body: type[BaseModel],
    description: str,
    /,
    *codes: str,
    keep: str = "no-store",
    media_type: str = JSON,
    **shown: object,
) -> dict[int | str, dict[str, Any]]:
    """A route's answers for the OpenAPI document: the good one, and each problem under its status, with an example each.

    Args:
        status: of the good answer, as all but `codes`.
        body: its model.
        description: what it means.
        codes: the problems that may come instead (`problems.ROWS`).
        keep: its `Cache-Control`.
        media_type: its body's.
        shown: fields of its example that the model's own examples do not fit.
    """
    good = {
        "description": description,
        "model": body,
        "headers": _ALWAYS | {"Cache-Control": _CACHE_CONTROL | {"example": keep}},
        "content": {media_type: {"example": _example_of(body) | shown}},
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


def _example_of(kind: Any) -> Any:  # noqa: ANN401  whatever a field may hold
    """An example of a type; of a model, it is made of its fields'."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return {name: field.examples[0] if field.examples else _example_of(field.annotation) for name, field in fields}
    inner = _example_of(get_args(kind)[0]) if get_args(kind) else None
    return [inner] if get_origin(kind) is list else inner


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's document what it can't know: the problem's schemas, the two kinds of key, the headers of pages."""
    components = document.setdefault("components", {})
    bearer = {"type": "http", "scheme": "bearer"}
    components["securitySchemes"] = {
        "publicKey": bearer | {"description": "`pk_…`: start, check and resend, from its origins or app."},
        "secretKey": bearer | {"description": "`sk_…`: a backend's key, for all routes."},
    }
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            field.pop(
                "title", None
            )  # pydantic makes it of the name: generated clients would repeat each name as its comment
    schemas |= _PROBLEM_SCHEMAS
    for path in document["paths"].values():
        for operation in path.values():
            _complete_operation(operation, schemas)
    return document


def _complete_operation(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    # The first line of the route's docstring; FastAPI's own summary is the function's name.
    first, _, rest = operation["description"].partition("\n\n")
    operation |= {"summary": first.removesuffix("."), "description": rest or first}
    for answer in operation["responses"].values():
        if {"publicKey": []} in operation.get("security", []):
            answer["headers"] |= _OF_PAGES
        if _IDEMPOTENCY_KEY in operation.get("parameters", []):
            answer["headers"][REPLAYED] = _REPLAYED
        for body in answer.get("content", {}).values():
            _restore_nulls(body, schemas)
    # FastAPI documents a 422 of its own wherever there is a parameter; ours are there already where they can occur.
    if JSON in operation["responses"].get("422", {}).get("content", {}):
        del operation["responses"]["422"]


def _restore_nulls(body: dict[str, Any], schemas: dict[str, Any]) -> None:
    """FastAPI drops each null of the document, also those of examples."""
    schema = schemas.get(body.get("schema", {}).get("$ref", "").rpartition("/")[2])
    if schema and isinstance(body.get("example"), dict):
        body["example"] = dict.fromkeys(schema.get("required", ())) | body["example"]


def _object(description: str, *optional: str, **members: dict[str, Any]) -> dict[str, Any]:
    required = [name for name in members if name not in optional]
    return {"type": "object", "description": description, "required": required, "properties": members}


def _as(kind: str, description: str | None = None, **more: object) -> dict[str, Any]:
    return {"type": kind} | ({"description": description} if description else {}) | more


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_STANDARD = {
    "type": _as("string", format="uri"),
    "title": _as("string"),
    "status": _as("integer"),
    "code": _ref("ProblemCode"),
}
_EXTRAS = {
    "detail": _as("string"),
    "retry_after": _as("integer", "Seconds until another try makes sense.", minimum=1),
    "id": _as("string", "The verification that the call was for."),
    "attempts_left": _as("integer", minimum=0),
    "code_length": _as("integer"),
    "min_code_length": _as("integer", "The fewest digits that may be asked for."),
    "limit": _ref("LimitName"),
    "errors": _as("array", items=_ref("FieldError")),
    "challenge": _ref("Challenge"),
    "sandbox": _as("boolean", "Whether calls go to the simulator."),
    "breaker": _as(
        "string",
        "Whether the process that answers asks the provider for calls: closed if it does.",
        enum=[state.value for state in BreakerState],
    ),
    "problems": _as("array", "Why the service is not ready.", items=_as("string")),
}
_PROBLEM_SCHEMAS = {
    "Problem": {"title": "Problem", "example": example(ROWS["code_incorrect"])}
    | _object(
        "Problem details (RFC 9457). `code` is stable; further members depend on it.", *_EXTRAS, **_STANDARD, **_EXTRAS
    ),
    "ProblemCode": _as(
        "string", "What went wrong. A code keeps its meaning; a later version may add codes.", enum=sorted(ROWS)
    ),
    "LimitName": _as("string", "A limit.", enum=[limit.value for limit in model.Limit]),
    "FieldError": _object("What is wrong with a field of the request.", field=_as("string"), message=_as("string")),
    "Challenge": _object(
        "What to solve. Of `altcha` it has `parameters` and `signature`, of the others `site_key`.",
        *("parameters", "signature", "site_key"),
        provider=_as("string", enum=[kind.value for kind in ChallengeKind]),
        parameters=_ref("ChallengeParameters"),
        signature=_as("string", "Of `altcha`: send it back with the solution."),
        site_key=_as("string", "Of the other providers: for their widget."),
    ),
    "ChallengeParameters": _object(
        "ALTCHA's, version 2 (docs/challenges.md). Send all of them back as they came: they are signed.",
        *("expiresAt", "data"),
        algorithm=_as("string", "`PBKDF2/SHA-256`."),
        nonce=_as("string", "Hex: the password begins with these bytes."),
        salt=_as("string", "Hex."),
        cost=_as("integer", "Iterations."),
        keyLength=_as("integer", "Bytes of the derived key."),
        keyPrefix=_as("string", "What the derived key begins with, in hex."),
        expiresAt=_as("integer", "Unix seconds.", format="int64"),
        data=_as("object", "The service's own: send it back as it is."),
    ),
}
"""Each has a name, so that a generated client has a type for it."""
