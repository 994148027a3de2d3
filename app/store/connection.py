"""From `REDIS_URL` to a client of redis-py's."""

from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from app.store.embedded import socket_of
from app.store.urls import StoreUrl, parse_url

Client = Redis | RedisCluster

FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
"""All that redis-py raises for what a server or the network does: its cluster client has an exception beside `RedisError`."""

MAX_WORDS = 300
"""Characters of a server's words in a log line."""


def connect(url: str, timeout: float) -> Client:
    """A client for a URL that `url_problem` found valid. It connects when it is first used.

    No command is ever repeated by the client: a script that was sent may have been executed.

    Args:
        url: in any of the forms of urls.py.
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
