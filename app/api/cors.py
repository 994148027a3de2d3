"""CORS (Fetch standard, section 3.2): a page reads answers only if a client names its origin, and only those to that client's key.

There is no wildcard and there are no credentials: keys travel in `Authorization`, never in cookies.
"""

from starlette.responses import Response
from starlette.types import Scope

from app.api.clients import Clients
from app.api.problems import RequestError, faulty

VARY = (b"vary", b"Origin")

_EXPOSED = b"Idempotency-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, X-Request-Id",
    "Access-Control-Max-Age": "7200",  # Chromium's longest
    "Cache-Control": "no-store",
}
_PREFLIGHT_VARY = "Access-Control-Request-Method, Access-Control-Request-Headers"


def allow(scope: Scope, origin: str) -> None:
    """Let pages of an origin read the answer to this request, whatever the answer will be. The edge sends these headers."""
    scope["cors"] = (
        VARY,
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
    )


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks if it may send the request."""
    names = {name for name, _ in scope["headers"]}
    return scope["method"] == "OPTIONS" and b"origin" in names and b"access-control-request-method" in names


def preflight(scope: Scope, clients: Clients) -> Response:
    """Say whether pages of the origin may ask at all.

    Which key they will bear is not told here: the answer to the request itself is for the origins of its key's client only.
    """
    origin = next(value for name, value in scope["headers"] if name == b"origin").decode("latin-1")
    if origin not in clients.origins:
        answer = faulty(RequestError.ORIGIN_NOT_ALLOWED, "No public key is for pages of this origin.")
    else:
        allow(scope, origin)
        answer = Response(status_code=204, headers=_PREFLIGHT)
    answer.headers["Vary"] = _PREFLIGHT_VARY
    return answer
