"""`REDIS_URL` in its parts. No message repeats any part of a URL: it may hold a password."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote

Kind = Literal["standalone", "unix", "sentinel", "cluster", "embedded"]

EXAMPLES = {
    "standalone": "redis://host:6379/0 (rediss:// with TLS)",
    "unix": "unix:///run/redis/redis.sock",
    "sentinel": "redis+sentinel://host1:26379,host2:26379/service (rediss+sentinel:// with TLS)",
    "cluster": "redis+cluster://host1:6379,host2:6379 (rediss+cluster:// with TLS)",
    "embedded": "embedded://./data",
}
PERCENT_ENCODE = (
    "a character in the user name or password must be percent-encoded: "
    """python3 -c 'import getpass, urllib.parse; print(urllib.parse.quote(getpass.getpass(), safe=""))' prints the encoded password"""
)

_SCHEME = re.compile(r"redis(?P<tls>s)?(?:\+(?P<kind>sentinel|cluster))?|(?P<socket>unix)")
_REST = re.compile(  # RFC 3986, appendix A: userinfo, host, path-abempty, query
    r"(?:(?P<username>(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})*)(?::(?P<password>(?:[\w.~!$&'()*+,;=:-]|%[\da-f]{2})*))?@)?"
    r"(?P<hosts>[^/?#@]*)(?P<path>/[^?#@]*)?(?:\?(?P<query>[^#@]*))?",
    re.ASCII | re.IGNORECASE,
)
_HOST = re.compile(r"(?:(?P<name>[\w.-]+)|\[(?P<v6>[\da-f:.]+)\])(?::(?P<port>\d{1,5}))?", re.ASCII | re.IGNORECASE)
_PATH = {
    "standalone": re.compile(r"/?(?P<db>\d{0,4})", re.ASCII),
    "unix": re.compile(r"(?P<socket>/.+)"),
    "sentinel": re.compile(r"/(?P<service>[\w.-]+)(?:/(?P<db>\d{0,4}))?", re.ASCII),
    "cluster": re.compile(r"/?0?"),
}
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
_OPTIONS = {
    "standalone": frozenset[str](),
    "unix": frozenset({"db"}),
    "sentinel": frozenset({"sentinel_username", "sentinel_password"}),
    "cluster": frozenset[str](),
}
"""What may stand after the question mark. Any other option of the client could undo a guarantee: time-outs, retries, decoding."""

_MAX_PORT = 65535


class StoreUrlError(ValueError):
    """A `REDIS_URL` that is invalid; the message names the fix and repeats nothing of the URL."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where the store is.

    Attributes:
        kind: how it is reached.
        hosts: names and ports: one of a standalone server; of a sentinel URL the sentinels; of a cluster some of its nodes.
        path: the socket of `unix`, the directory of `embedded`.
        service: what the sentinels call the primary.
        options: `ssl_ca_certs`, `ssl_ca_path`, `ssl_certfile`, `ssl_keyfile` as redis-py names them, where `tls` is true.
        sentinel_username: for the sentinels themselves, like `sentinel_password`; `username` and `password` are for the servers.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: Path | None = None
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    options: dict[str, str] = field(default_factory=dict)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def url_problem(url: str) -> str | None:
    """What is wrong with a `REDIS_URL`, as a sentence that names the fix; None if nothing is."""
    try:
        parse_url(url)
    except StoreUrlError as error:
        return str(error)
    return None


def parse_url(url: str) -> StoreUrl:
    """Read a `REDIS_URL`.

    Raises:
        StoreUrlError: it is invalid.
    """
    scheme, _, rest = url.partition("://")
    if not url.isprintable() or url != url.strip():
        raise StoreUrlError("it holds a line break, a control character or a space at an end: copy it again")
    if scheme == "embedded":
        if not rest:
            raise StoreUrlError(f"it names no directory: {EXAMPLES['embedded']}")
        return StoreUrl("embedded", path=Path(rest))
    known = _SCHEME.fullmatch(scheme)
    if not known or not rest:
        raise StoreUrlError("write it in one of these forms: " + "; ".join(EXAMPLES.values()))
    kind: Kind = "unix" if known["socket"] else known["kind"] or "standalone"  # type: ignore[assignment]  # the pattern's two words
    return _server(kind, rest, tls=bool(known["tls"]))


def _server(kind: Kind, rest: str, *, tls: bool) -> StoreUrl:
    parts = _REST.fullmatch(rest)
    if not parts:
        raise StoreUrlError(PERCENT_ENCODE if "@" in rest else f"write it like {EXAMPLES[kind]}")
    path = _PATH[kind].fullmatch(parts["path"] or "")
    if not path:
        raise StoreUrlError(f"what follows the host is not right: {EXAMPLES[kind]}")
    options, named = _options(kind, parts["query"] or "", tls=tls), path.groupdict()
    return StoreUrl(
        kind,
        hosts=_hosts(kind, parts["hosts"]),
        path=Path(unquote(named["socket"])) if kind == "unix" else None,
        service=named.get("service") or "",
        db=_database(options.pop("db", "") or named.get("db") or "0"),
        username=unquote(parts["username"]) if parts["username"] else None,
        password=unquote(parts["password"]) if parts["password"] else None,
        tls=tls,
        sentinel_username=options.pop("sentinel_username", None),
        sentinel_password=options.pop("sentinel_password", None),
        options=options,
    )


def _hosts(kind: Kind, text: str) -> tuple[tuple[str, int], ...]:
    if kind == "unix":
        if text:
            raise StoreUrlError(f"a socket's path begins with a third slash: {EXAMPLES['unix']}")
        return ()
    hosts = tuple(_host(part, 26379 if kind == "sentinel" else 6379) for part in text.split(","))
    if kind == "standalone" and len(hosts) > 1:
        raise StoreUrlError(f"several hosts need {EXAMPLES['sentinel']} or {EXAMPLES['cluster']}")
    return hosts


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    try:
        name = match and (match["name"] or str(IPv6Address(match["v6"])))
    except ValueError:
        name = None
    port = int(match["port"] or default_port) if match else 0
    if not name or not 0 < port <= _MAX_PORT:
        raise StoreUrlError("a host or port is missing or malformed: write host:6379, or [2001:db8::1]:6379")
    return name, port


def _options(kind: Kind, query: str, *, tls: bool) -> dict[str, str]:
    given = parse_qsl(query, keep_blank_values=True)
    allowed = _OPTIONS[kind] | (_TLS_OPTIONS if tls else frozenset())
    if {name for name, _ in given} - allowed or len(dict(given)) < len(given):
        may = f"only {', '.join(sorted(allowed))} may stand there, once each" if allowed else "nothing may stand there"
        raise StoreUrlError(f"after the question mark {may}; time-outs are settings of their own")
    return dict(given)


def _database(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII):
        raise StoreUrlError("the database is a number: redis://host:6379/0, unix:///run/redis/redis.sock?db=0")
    return int(text)
