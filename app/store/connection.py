"""From `REDIS_URL` to a client of redis-py's."""

from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
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


def words_of(error: Exception) -> str:
    """What a server or redis-py says, for the log. It may name hosts and users, and never a password."""
    code = getattr(error, "status_code", None)  # redis-py takes the server's first word off its message
    return f"{type(error).__name__}: {code + ' ' if code else ''}{error}"[:MAX_WORDS]
