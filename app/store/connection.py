"""From `REDIS_URL` to a client, and from a server's answers to whether it is safe to rely on."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
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

PERIOD = 5.0
"""Seconds from one look at the server to the next."""

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
    return client


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the store may be relied on.

    Attributes:
        reachable: it answered.
        problems: what makes it unsafe, a sentence with its fix each.
        server: what it says it is: `valkey 9.1.2`.
        detail: why it is not reachable, for the operator and no stranger: it may name hosts and paths.
    """

    reachable: bool
    problems: tuple[str, ...]
    server: str = ""
    detail: str = ""

    @property
    def ready(self) -> bool:
        """Reachable, and nothing unsafe."""
        return self.reachable and not self.problems


_SCRATCH = "redis.call('SET', KEYS[1], ARGV[1], 'PX', 1000) redis.call('TIME') return redis.call('DEL', KEYS[1])"
"""What every start needs: to run a script that writes under our prefix and lets its keys expire."""

_FIXES = {
    "OutOfMemoryError": "its memory is full: raise maxmemory, or give the service a server of its own",
    "ReadOnlyError": "this server is a read-only replica: point REDIS_URL at the primary",
    "NoPermissionError": "its ACL must allow +@read +@write +@scripting +@connection +info +time and our keys",
    "MovedError": "it is a node of a cluster: use redis+cluster://",
    "ClusterDownError": "its cluster is down",
    "BusyLoadingError": "it is still loading its data",
    "AuthenticationError": "it refuses our user or password: see REDIS_URL",
    "MISCONF": "it can't save its data: see its log and the disk that its `dir` names",
    "NOREPLICAS": "its replicas are gone, and min-replicas-to-write forbids writing: see to the replicas",
    "BUSY": "a script of somebody else's blocks it",
    "NOAUTH": "it wants a password: see REDIS_URL",
}
"""What to do about a server's error, by the name of redis-py's class or by the error's first word."""


async def examine(client: "Redis", prefix: str) -> Health:
    """Ask a server whether limits and codes are safe with it: what it says of itself, and whether it does what a start needs."""
    try:
        info = await client.info("server", "memory", "persistence", "replication")
    except (RedisError, OSError, TimeoutError) as error:
        return Health(reachable=False, problems=(_problem(error),), detail=f"{type(error).__name__}: {error}")
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    problems = _problems(info, str(info.get("redis_version", "0")))
    detail = ""
    try:
        await client.eval(_SCRATCH, 1, f"{prefix}scratch", "written by /readyz")
    except (RedisError, OSError, TimeoutError) as error:
        detail = f"{type(error).__name__}: {error}"
        problems = [*problems, _problem(error)]
    return Health(reachable=True, problems=tuple(dict.fromkeys(problems)), server=f"{name} {version}", detail=detail)


def _problem(error: Exception) -> str:
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError) and type(error).__name__ not in _FIXES:
        return "Redis does not answer"
    fix = _FIXES.get(type(error).__name__) or _FIXES.get(str(error).partition(" ")[0])
    return f"Redis refuses to work: {fix or f'{type(error).__name__}, see the log'}"


def _problems(info: dict[str, object], version: str) -> list[str]:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    eviction = info.get("maxmemory_policy", "noeviction")
    checks = [
        (numbers >= MIN_VERSION, f"Redis {version} is too old: 7.0 or newer, or Valkey, is needed"),
        (
            eviction == "noeviction",
            f"maxmemory-policy is {eviction}, which drops counters when memory is short: set it to noeviction",
        ),
        (info.get("role", "master") == "master", _FIXES["ReadOnlyError"]),
        (not info.get("loading"), _FIXES["BusyLoadingError"]),
    ]
    return [sentence for holds, sentence in checks if not holds]


class Watch:
    """Knows whether a server is safe to rely on: it looks every few seconds, and when somebody asks. One question at a time, on a client of its own.

    Attributes:
        unsafe: why it is not, as it was last seen; None while it is. While the server does not answer at all, each operation finds that out itself.
    """

    def __init__(self, client: "Redis", prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._asking: asyncio.Task[Health] | None = None
        self._asked_at = -KEPT_FOR
        self.unsafe: str | None = None

    async def __call__(self) -> Health:
        """Whether the server may be relied on, as of at most `KEPT_FOR` ago."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= KEPT_FOR):
            self._asked_at = now
            self._asking = asyncio.ensure_future(self._examine())
        return await asyncio.shield(self._asking)

    async def run(self) -> None:
        """Look again and again, until canceled."""
        while True:
            await self()
            await asyncio.sleep(PERIOD)

    async def _examine(self) -> Health:
        health = await examine(self._client, self._prefix)
        self.unsafe = "; ".join(health.problems) if health.reachable and health.problems else None
        return health
