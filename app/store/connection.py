"""From `REDIS_URL` to a client of redis-py's, and from a server's answers to whether it is safe to rely on."""

import asyncio
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from app.store.embedded import socket_of
from app.store.urls import StoreUrl, parse_url

MIN_VERSION = (7, 0)

PERIOD = 5.0
"""Seconds from one look at the server to the next."""

KEPT_FOR = 0.1
"""Seconds that an examination is kept: /readyz needs no key, and must not become a load on the store."""

Client = Redis | RedisCluster


def connect(url: str, timeout: float) -> Client:
    """A client for a URL that `url_problem` found valid. It connects when it is first used.

    No command is ever repeated by the client: a script that was sent may have been executed.

    Args:
        url: in any of the forms of urls.py.
        timeout: seconds to wait for a connection, and for an answer.
    """
    where = parse_url(url)
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "lastdigits",
        "username": where.username,
        "password": where.password,
        "protocol": 2,  # in the newer one a server may also speak unasked
    } | ({"ssl": True} | where.options if where.tls else {})
    # For Redis Enterprise only; with them the pool hands out connections that a server has closed, and each would fail a request.
    no_notifications: dict[str, Any] = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}
    if where.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in where.hosts]
        return RedisCluster(startup_nodes=nodes, **options)
    if where.kind == "sentinel":
        return _primary(where, timeout, options | {"db": where.db})
    if where.kind in {"unix", "embedded"}:
        path = socket_of(where.path) if where.kind == "embedded" and where.path else where.path
        return Redis(unix_socket_path=str(path), db=where.db, **options, **no_notifications)
    ((host, port),) = where.hosts
    return Redis(host=host, port=port, db=where.db, **options, **no_notifications)


def _primary(where: StoreUrl, timeout: float, options: dict[str, Any]) -> "Redis":
    """The primary that the sentinels name, asked again for each new connection."""
    own = {
        "username": where.sentinel_username,
        "password": where.sentinel_password,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
    }
    sentinels = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        where.hosts, sentinel_kwargs=own | ({"ssl": True} | where.options if where.tls else {})
    )
    client: Redis = sentinels.master_for(where.service, **options)
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


async def examine(client: Client, prefix: str) -> Health:
    """Ask a server whether limits and codes are safe with it: what it says of itself, and whether it does what a start needs."""
    try:
        info = await _info(client, prefix)
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


async def read_clock(client: Client, prefix: str) -> float:
    """The time of the server that has our keys, in unix seconds.

    Raises:
        RedisError: it does not answer.
    """
    seconds, micros = await client.eval("return redis.call('TIME')", 1, f"{prefix}scratch")
    return int(seconds) + int(micros) / 1e6


async def _info(client: Client, prefix: str) -> dict[str, Any]:
    """What the server that has our keys says of itself."""
    sections = ("server", "memory", "persistence", "replication")
    found: dict[str, Any]
    if isinstance(client, RedisCluster):
        await client.initialize()
        found = await client.info(*sections, target_nodes=client.get_node_from_key(prefix))
    else:
        found = await client.info(*sections)
    return found


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

    def __init__(self, client: Client, prefix: str) -> None:
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
