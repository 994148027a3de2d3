"""From `REDIS_URL` to a client of redis-py's. No message repeats any part of a URL: it may hold a password."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from app.store.embedded import socket_of

Client = Redis | RedisCluster

FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
"""All that redis-py raises for what a server or the network does: its cluster client has an exception beside `RedisError`."""

MAX_WORDS = 300
"""Characters of a server's words in a log line."""


# ---- the URL

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
_TLS_OPTIONS = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"}
_OPTIONS = {"unix": {"db"}, "sentinel": {"sentinel_username", "sentinel_password"}}
"""What may stand after the question mark. Any other option of the client could undo a guarantee: time-outs, retries, decoding."""

_MAX_PORT = 65535


class StoreUrlError(ValueError):
    """A `REDIS_URL` that is invalid; the message names the fix and repeats nothing of the URL."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where the store is.

    Attributes:
        kind: how it is reached: one of `EXAMPLES`.
        hosts: names and ports: one of a standalone server; of a sentinel URL the sentinels; of a cluster some of its nodes.
        path: the socket of `unix`, the directory of `embedded`.
        service: what the sentinels call the primary.
        username: for the servers, like `password`; `sentinel_username` and `sentinel_password` are for the sentinels themselves.
        options: `ssl_ca_certs`, `ssl_ca_path`, `ssl_certfile`, `ssl_keyfile` as redis-py names them, where `tls` is true.
    """

    kind: str
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


def parse_url(url: str) -> StoreUrl:
    """Read a `REDIS_URL`, or raise a StoreUrlError."""
    if not url.isprintable() or url != url.strip():
        raise StoreUrlError("it holds a line break, a control character or a space at an end: copy it again")
    scheme, _, rest = url.partition("://")
    if scheme == "embedded":
        if not rest:
            raise StoreUrlError(f"it names no directory: {EXAMPLES['embedded']}")
        return StoreUrl("embedded", path=Path(rest))
    known = _SCHEME.fullmatch(scheme)
    if not known or not rest:
        raise StoreUrlError("write it in one of these forms: " + "; ".join(EXAMPLES.values()))
    kind = "unix" if known["socket"] else known["kind"] or "standalone"
    parts = _REST.fullmatch(rest)
    if not parts:
        raise StoreUrlError(PERCENT_ENCODE if "@" in rest else f"write it like {EXAMPLES[kind]}")
    path = _PATH[kind].fullmatch(parts["path"] or "")
    if not path:
        raise StoreUrlError(f"what follows the host is not right: {EXAMPLES[kind]}")
    options, named = _query(kind, parts["query"] or "", tls=bool(known["tls"])), path.groupdict()
    db = options.pop("db", "") or named.get("db") or "0"
    if not re.fullmatch(r"\d{1,4}", db, re.ASCII):
        raise StoreUrlError("the database is a number: redis://host:6379/0, unix:///run/redis/redis.sock?db=0")
    return StoreUrl(
        kind,
        hosts=_hosts(kind, parts["hosts"]),
        path=Path(unquote(named["socket"])) if kind == "unix" else None,
        service=named.get("service") or "",
        db=int(db),
        username=unquote(parts["username"]) if parts["username"] else None,
        password=unquote(parts["password"]) if parts["password"] else None,
        tls=bool(known["tls"]),
        sentinel_username=options.pop("sentinel_username", None),
        sentinel_password=options.pop("sentinel_password", None),
        options=options,
    )


def _hosts(kind: str, text: str) -> tuple[tuple[str, int], ...]:
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


def _query(kind: str, query: str, *, tls: bool) -> dict[str, str]:
    given = parse_qsl(query, keep_blank_values=True)
    allowed = _OPTIONS.get(kind, set()) | (_TLS_OPTIONS if tls else set())
    if {name for name, _ in given} - allowed or len(dict(given)) < len(given):
        may = f"only {', '.join(sorted(allowed))} may stand there, once each" if allowed else "nothing may stand there"
        raise StoreUrlError(f"after the question mark {may}; time-outs are settings of their own")
    return dict(given)


# ---- the client


def connect(url: str, timeout: float) -> Client:
    """A client for a valid URL. It connects when it is first used.

    No command is ever repeated by the client: a script that was sent may have been executed.

    Args:
        url: in any of the forms of `EXAMPLES`.
        timeout: seconds to wait for a connection, and for an answer.
    """
    where = parse_url(url)
    options = _options(where, where.username, where.password, timeout)
    # For Redis Enterprise only; with them the pool hands out connections that a server has closed, and each would fail a request.
    no_notifications: dict[str, Any] = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}
    if where.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in where.hosts]
        # After so many MOVEDs it would close all connections, those of others' commands too. One slot is ours: each MOVED says all there is to know.
        return RedisCluster(startup_nodes=nodes, reinitialize_steps=0, **options)
    if where.kind == "sentinel":
        return _primary(where, timeout, options | {"db": where.db})
    if where.kind in {"unix", "embedded"}:
        path = socket_of(where.path) if where.kind == "embedded" and where.path else where.path
        return Redis(unix_socket_path=str(path), db=where.db, **options, **no_notifications)
    ((host, port),) = where.hosts
    return Redis(host=host, port=port, db=where.db, **options, **no_notifications)


def _options(where: StoreUrl, username: str | None, password: str | None, timeout: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "lastdigits",
        "username": username,
        "password": password,
        "protocol": 2,  # in the newer one a server may also speak unasked
    } | ({"ssl": True} | where.options if where.tls else {})


def _primary(where: StoreUrl, timeout: float, options: dict[str, Any]) -> "Redis":
    """The primary that the sentinels name, asked again for each new connection.

    A sentinel that hangs must leave time to ask the others and to connect: the client's caller waits for all of this no longer than `timeout`.
    """
    share = timeout / (len(where.hosts) + 1)
    own = _options(where, where.sentinel_username, where.sentinel_password, share)
    sentinels = Sentinel(where.hosts, sentinel_kwargs=own)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    client: Redis = sentinels.master_for(where.service, redis_class=_PrimaryClient, **options)
    return client


class _PrimaryClient(Redis):
    """Closes the clients of its sentinels too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        if isinstance(self.connection_pool, SentinelConnectionPool):
            await self.connection_pool.sentinel_manager.aclose()


def words_of(error: Exception) -> str:
    """What a server or redis-py says, for the log. It may name hosts and users, and never a password."""
    code = getattr(error, "status_code", None)  # redis-py takes the server's first word off its message
    return f"{type(error).__name__}: {code + ' ' if code else ''}{error}"[:MAX_WORDS]
