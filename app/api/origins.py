"""Web origins (RFC 6454): the one spelling that browsers send, whichever an operator writes, and whether a list allows one."""

import re
from collections.abc import Set as AbstractSet
from ipaddress import ip_address

import idna

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

    `http://localhost:*` is any port of localhost. Apps in a web view have schemes of their own: `capacitor://localhost`.

    Raises:
        ValueError: it is not an origin; the message says how to fix it.
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
    if port and port != "*" and int(port) > _MAX_PORT:
        raise ValueError(f"{text!r} is not an origin: its port is above {_MAX_PORT}")
    return origin if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{origin}:{port.lstrip('0') or '0'}"


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


def is_origin(text: str) -> bool:
    """Whether a text is an origin that a client may have."""
    try:
        canonical_origin(text)
    except ValueError:
        return False
    return True


def allows(origins: AbstractSet[str], origin: str) -> bool:
    """Whether a list of canonical origins has the one that a request came with."""
    if origin in origins:
        return True
    local = _LOCALHOST.fullmatch(origin)
    return local is not None and f"{local[1]}:*" in origins
