"""From `REDIS_URL` to a client, and from a server's answers to whether it is safe to rely on."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from app.store.embedded import socket_of

MIN_VERSION = (7, 0)
_OPTIONS: dict[str, set[str]] = {
    "redis": set(),
    "rediss": {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"},
    "unix": {"db"},
}
"""The schemes of a server of the operator's, and what may stand after the question mark of each.

Anything else of the client's could undo a guard: time-outs, retries, decoding.
"""

KEPT_FOR = 0.1
"""Seconds that an examination is kept: /readyz needs no key, and must not become a load on the store."""


def embedded_path(url: str) -> Path | None:
    """The directory of an `embedded://PATH` URL; None for any other."""
    return Path(url.removeprefix("embedded://")) if url.startswith("embedded://") else None


def url_fault(url: str) -> str | None:
    """What is wrong with a `REDIS_URL`, as a sentence that names the mend; None if nothing is."""
    path = embedded_path(url)
    if path is not None:
        return "name a directory: embedded://./data" if not url.removeprefix("embedded://") else None
    parts = urlsplit(url)
    if parts.scheme in {"redis+sentinel", "redis+cluster"}:
        return f"{parts.scheme}:// is not supported yet: use redis://, rediss:// or embedded://PATH"
    if parts.scheme not in _OPTIONS:
        return "write it like redis://host:6379/0, rediss://host:6379/0, unix:///run/redis.sock or embedded://./data"
    foreign = sorted(parse_qs(parts.query, keep_blank_values=True).keys() - _OPTIONS[parts.scheme])
    if foreign:
        return f"it has options that are not for it ({', '.join(foreign)}): leave them out; time-outs are settings of their own"
    if parts.scheme == "unix":
        return None if parts.path.startswith("/") else "name a socket: unix:///run/redis/redis.sock"
    return _address_fault(parts)


def _address_fault(parts: SplitResult) -> str | None:
    try:
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        return "the host or the port is missing or malformed: redis://host:6379/0"
    return None if re.fullmatch(r"/?|/[0-9]{1,4}", parts.path) else "the database is a number: redis://host:6379/0"


def connect(url: str, timeout: float) -> "Redis":
    """A client for a URL that `url_fault` found no fault with. It connects when it is first used.

    No command is ever repeated by the client: a script that was sent may have been carried out.

    Args:
        url: `redis://`, `rediss://`, `unix://` or `embedded://PATH`.
        timeout: seconds to wait for a connection, and for an answer.
    """
    path = embedded_path(url)
    address = f"unix://{socket_of(path)}" if path is not None else url
    client: Redis = Redis.from_url(
        address,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        client_name="lastdigits",
        protocol=2,  # in the newer one a server may also speak unasked
        # For Redis Enterprise only; with them the pool hands out connections that a server has closed, and each would fail a request.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    client.connection_pool.connection_class = _lending(client.connection_pool.connection_class)
    return client


def _lending(connection: type[Any]) -> type[Any]:
    """The same kind of connection, whose socket can be taken over once it is connected (wire.py)."""

    class Lending(connection):  # type: ignore[misc]  # its base is known at run time only
        def hand_over(self) -> asyncio.StreamWriter:
            """The stream; this object has none any more."""
            stream: asyncio.StreamWriter = self._writer  # type: ignore[has-type]  # as above
            self._reader = self._writer = None
            return stream

    return Lending


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the store may be relied on.

    Attributes:
        reachable: it answered.
        faults: what makes it unsafe, a sentence with its mend each.
        server: what it says it is: `valkey 9.1.2`.
        detail: why it is not reachable, for the operator and no stranger: it may name hosts and paths.
    """

    reachable: bool
    faults: tuple[str, ...]
    server: str = ""
    detail: str = ""

    @property
    def ready(self) -> bool:
        """Reachable, and nothing unsafe."""
        return self.reachable and not self.faults


async def examine(client: "Redis") -> Health:
    """Ask a server whether limits and codes are safe with it."""
    try:
        info = await client.info("server", "memory", "persistence", "replication")
    except (RedisError, OSError, TimeoutError) as fault:
        return Health(reachable=False, faults=("Redis does not answer",), detail=f"{type(fault).__name__}: {fault}")
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    compatible = str(info.get("redis_version", "0"))
    return Health(reachable=True, faults=tuple(_faults(info, compatible)), server=f"{name} {version}")


def _faults(info: dict[str, object], version: str) -> list[str]:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    policy = info.get("maxmemory_policy", "noeviction")
    checks = [
        (numbers >= MIN_VERSION, f"Redis {version} is too old: 7.0 or newer, or Valkey, is needed"),
        (
            policy == "noeviction",
            f"maxmemory-policy is {policy}, which drops counters when memory is short: set it to noeviction",
        ),
        (info.get("role", "master") == "master", "this server is a read-only replica: point REDIS_URL at the primary"),
        (not info.get("loading"), "the server is still loading its data"),
    ]
    return [sentence for holds, sentence in checks if not holds]


class Examiner:
    """Examines a server for many who ask at once: one question at a time, on a client of its own, its answer kept for a moment."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._asking: asyncio.Task[Health] | None = None
        self._asked_at = -KEPT_FOR

    async def __call__(self) -> Health:
        """Tell whether the server may be relied on, as of at most `KEPT_FOR` ago."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= KEPT_FOR):
            self._asked_at = now
            self._asking = asyncio.ensure_future(examine(self._client))
        return await asyncio.shield(self._asking)
