"""CORS (Fetch standard, section 3.2): a page reads answers only if a client lists its origin, and only those to that client's key.

There is no wildcard and there are no credentials: keys travel in `Authorization`, never in cookies. So a page may send any header.
"""

import re

from starlette.responses import Response
from starlette.types import Scope

from app.api.clients import Clients
from app.api.problems import RequestError, RequestRejected
from app.api.reading import header_of

VARY = (b"vary", b"Origin")

_EXPOSED = b"Idempotency-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
_USUAL_HEADERS = "authorization, content-type, idempotency-key, x-request-id"
_HEADER_LIST = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z, -]{1,1024}")
_MAX_ORIGIN = 100
_PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


def allow(scope: Scope, origin: str) -> None:
    """Let pages of an origin read the answer to this request, whatever it is. The middleware sends these headers."""
    scope["cors"] = (
        VARY,
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
    )


def preflight(scope: Scope, clients: Clients) -> Response:
    """Answer whether pages of the origin may send requests at all: a preflight has no key yet.

    Raises:
        RequestRejected: no client lists the origin, or it is not a preflight.
    """
    origin = header_of(scope, b"origin").decode("latin-1")
    if not origin or not header_of(scope, b"access-control-request-method"):
        raise RequestRejected(
            RequestError.METHOD_NOT_ALLOWED, "This is not a CORS preflight.", {"Allow": "OPTIONS, POST"}
        )
    if not clients.allows(origin):
        raise origin_rejected(origin, "No client lists the origin", {"Vary": _PREFLIGHT_VARY})
    headers = header_of(scope, b"access-control-request-headers").decode("latin-1")
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "POST",
            # Not a star: browsers take it for all headers but Authorization.
            "Access-Control-Allow-Headers": headers if _HEADER_LIST.fullmatch(headers) else _USUAL_HEADERS,
            "Access-Control-Max-Age": "7200",  # the longest that Chromium takes
            "Cache-Control": "no-store",
            "Vary": _PREFLIGHT_VARY,
        },
    )


def origin_rejected(origin: str, what: str, headers: dict[str, str] | None = None) -> RequestRejected:
    """The rejection of a request for its origin, with what to configure. `what` says who does not list it."""
    # The caller wrote it, and a log shows it: printable ASCII only, and not without end.
    shown = origin if origin.isascii() and origin.isprintable() and len(origin) <= _MAX_ORIGIN else "(invalid)"
    detail = f"{what} {shown}: add it to `origins` in the clients file."
    return RequestRejected(RequestError.ORIGIN_NOT_ALLOWED, detail, headers)
