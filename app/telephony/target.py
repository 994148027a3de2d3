"""The one URL that calls are asked for at, taken apart once."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_KEPT = "!$%&'()*+,/:;=?@[]~"
"""What a path or query keeps as it was written (RFC 3986, 3.3 and 3.4), and `%`, for what is encoded already."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    Attributes:
        host: a name in ASCII, or an address without brackets.
        port: TCP.
        tls: whether it is https.
        authority: the Host header: the port only where it is not the scheme's own (RFC 9110, 7.2).
        path: with the query, percent-encoded.
    """

    host: str
    port: int
    tls: bool
    authority: str
    path: str


def target_of(url: str) -> Target:
    """Take a URL apart.

    Raises:
        ValueError: it can't be used. Does not say it: it may contain a password.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("ascii" if (parts.hostname or "").isascii() else "idna").decode()
        port = _DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    except ValueError:
        raise ValueError("the provider's URL has no host or port that can be read") from None
    if parts.scheme not in _DEFAULT_PORTS or not host or not host.isprintable() or " " in host:
        raise ValueError("the provider's URL must begin with https:// and a host")
    if port == 0:
        raise ValueError("the provider's URL must not name port 0")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the provider's URL must not contain a user or password")
    bracketed = f"[{host}]" if ":" in host else host
    authority = bracketed if port == _DEFAULT_PORTS[parts.scheme] else f"{bracketed}:{port}"
    path = quote(parts.path or "/", _KEPT) + (f"?{quote(parts.query, _KEPT)}" if parts.query else "")
    return Target(host, port, parts.scheme == "https", authority, path)
