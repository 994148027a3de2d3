"""Web pages: which may use a key, and where the hosted page may return to.

Origins (RFC 6454) have the one spelling that browsers send, whichever an operator writes. CORS (Fetch standard, section 3.2): a page reads answers only
if a client lists its origin, and only those to that client's key. There is no wildcard and there are no credentials: keys travel in `Authorization`,
never in cookies. So a page may send any header.
"""

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from ipaddress import ip_address
from typing import NamedTuple

import idna
from starlette.responses import Response
from starlette.types import Scope

from app.api.problems import RequestError, RequestRejected
from app.api.reading import header_of

OPAQUE = frozenset({"null", "file://"})
"""What pages without an origin send: local files, web views and sandboxed frames, anyone's among them."""

LOCALHOST_ORIGINS = tuple(
    f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1", "[::1]")
)
"""Every page that a developer serves on their own machine: for the sandbox's public key."""

_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://([^\s/?#@:\[\]]+|\[[0-9a-f:.]+\])(?::(\d{1,5}|\*))?", re.ASCII | re.IGNORECASE
)
_ASCII_HOST = re.compile(r"[a-z0-9._-]+")
_LOCALHOST = re.compile(r"(https?://(?:localhost|127\.0\.0\.1|\[::1\]))(?::(?:\d{1,5}|\*))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_MAX_PORT = 65535
_HOW = "write a scheme, a host and, if it is not the default one, a port, without a slash at the end, like https://example.com"


def canonical_origin(text: str) -> str:
    """An origin as browsers send it: in lower case, a host of other letters in punycode, no default port.

    `http://localhost:*` is any port of localhost. Apps in a web view have schemes of their own: `capacitor://localhost`. A ValueError says how to fix
    what is not an origin.
    """
    if text in OPAQUE:
        return text
    match = _ORIGIN.fullmatch(text)
    if not match or match[1].lower() == "file":
        raise ValueError(f"{text!r} is not an origin: {_HOW}")
    scheme, port = match[1].lower(), match[3]
    origin = f"{scheme}://{_host(text, match[2])}"
    if port == "*" and not _LOCALHOST.fullmatch(origin):
        raise ValueError(
            f"{text!r}: a star may stand only for the port of localhost, 127.0.0.1 or [::1]: list each origin"
        )
    if port and port != "*":
        port = str(int(port))  # without zeros before it
        if int(port) > _MAX_PORT:
            raise ValueError(f"{text!r} is not an origin: its port is above {_MAX_PORT}")
    return origin if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{origin}:{port}"


def _host(text: str, host: str) -> str:
    try:
        if host.startswith("["):
            return f"[{ip_address(host[1:-1])}]"
        name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    except ValueError as error:
        raise ValueError(f"{text!r} is not an origin: its host is invalid ({error})") from None
    if not _ASCII_HOST.fullmatch(name):
        star = "a star is not supported, list each origin" if "*" in name else _HOW
        raise ValueError(f"{text!r} is not an origin: {star}")
    return name


def allows(origins: AbstractSet[str], origin: str) -> bool:
    """Whether a list of canonical origins has the one that a request came with."""
    if origin in origins:
        return True
    local = _LOCALHOST.fullmatch(origin)
    return local is not None and f"{local[1]}:*" in origins


# ---- CORS

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


def preflight(scope: Scope, allowed: Callable[[str], bool]) -> Response:
    """Answer whether pages of the origin may send requests at all: a preflight has no key yet. `allowed` says whether some client lists an origin."""
    origin = header_of(scope, b"origin").decode("latin-1")
    if not origin or not header_of(scope, b"access-control-request-method"):
        allow_header = {"Allow": "OPTIONS, POST"}
        raise RequestRejected(RequestError.METHOD_NOT_ALLOWED, "This is not a CORS preflight.", allow_header)
    if not allowed(origin):
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


# ---- where the hosted page returns to: compared character by character

_MAX_RETURN_URL = 1000
# No user, no star, no fragment (the token may come there), and in the path nothing that ends a source of a Content-Security-Policy.
_RETURN_URL = re.compile(
    r"(https?://[^\s/?#@*\\]+)((?:/[A-Za-z0-9._~!$&()+=:@%/-]*)?)(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)
_HOW_TO_RETURN = "write the whole address of a page, like https://shop.example/verified: ASCII, without a user, a fragment, commas and semicolons"


class ReturnUrl(NamedTuple):
    """An address that is one.

    Attributes:
        site: its host, and the port if it has one, as it is written: for people.
        source: for `form-action` of a Content-Security-Policy.
        secure: whether it is HTTPS.
        local: whether it is of this machine.
    """

    site: str
    source: str
    secure: bool
    local: bool


def read_return_url(text: str) -> ReturnUrl:
    """Read an address to return to. A ValueError says how to write one."""
    match = _RETURN_URL.fullmatch(text)
    if match is None or len(text) > _MAX_RETURN_URL:
        raise ValueError(f"{text!r} is no return URL: {_HOW_TO_RETURN}")
    origin = canonical_origin(match[1])
    local = allows(frozenset(LOCALHOST_ORIGINS), origin)
    return ReturnUrl(match[1].partition("://")[2], origin + match[2], origin.startswith("https:"), local)


def listed_return_url(text: str) -> str:
    """A return URL that a clients file may list: by HTTPS only. A ValueError says how to write one."""
    if not read_return_url(text).secure:
        raise ValueError(
            f"{text!r} must be https. A sandbox returns to every page of localhost, also by http, without an entry"
        )
    return text
