"""Whether a server is safe to rely on: what it says of itself, and whether it does what every start needs.

docs/operations.md has the table of problems for operators.
"""

import asyncio
import re
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import structlog
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import AuthenticationError, RedisClusterException
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.store.connection import Client, words_of
from app.store.scripts import SCRIPTS, load_script

MIN_VERSION = (7, 0)

PERIOD, PERIOD_NOT_READY = 5.0, 1.0
"""Seconds from one look at the server to the next: sooner while it is not ready, so that calls are placed again soon after it is."""

KEPT_FOR = 0.1
"""Seconds that an examination is kept: /readyz needs no key, and must not become a load on the store."""

log = structlog.get_logger()


class StoreProblem(StrEnum):
    """What keeps a server from being relied on. Its word is what metrics name it by.

    Attributes:
        sentence: for operators: what happened, and what to do.
        signs: the errors that show it, by their first word, or, where that is only ERR or it is redis-py's own, by what they contain.
    """

    sentence: str
    signs: tuple[str, ...]

    def __new__(cls, word: str, sentence: str, *signs: str) -> Self:
        """Read a row of the table."""
        problem = str.__new__(cls, word)
        problem._value_, problem.sentence, problem.signs = word, sentence, signs
        return problem

    # fmt: off
    NO_ANSWER = "no_answer", "Redis does not answer. Start it, and check the address in REDIS_URL and the network between"
    LOADING = "loading", "Redis is still loading its data. Wait; if it takes long, see its log", "LOADING"
    CREDENTIALS = "credentials", "Redis refuses the user or the password. Correct them in REDIS_URL"
    PERMISSION = "permission", (
        "The ACL of our Redis user allows too little. "
        "It needs +@read +@write +@scripting +@connection +info +time ~{prefix}*, on a cluster +cluster|slots, and with REDIS_WAIT_REPLICAS +wait"
    ), "NOPERM", "ACL failure in script", "The user executing the script can't"
    CLUSTER_NODE = "cluster_node", "This Redis is a node of a cluster. Write redis+cluster:// in REDIS_URL", "MOVED"
    NOT_A_CLUSTER = "not_a_cluster", "This Redis is not a cluster. Write redis:// in REDIS_URL", "cluster support disabled"
    CLUSTER_DOWN = "cluster_down", "The Redis cluster is down: no node serves our keys. Repair the cluster", "CLUSTERDOWN", "not covered"
    NOT_A_SENTINEL = "not_a_sentinel", "This Redis is not a Sentinel. Name the Sentinels in REDIS_URL, or write redis://", "unknown command 'SENTINEL'"
    NO_PRIMARY = "no_primary", "No Sentinel answers with a primary. Check the Sentinels, and the service's name in REDIS_URL", "No master found"
    READ_ONLY = "read_only", "This Redis is a read-only replica. Write the primary's address in REDIS_URL", "READONLY", "MASTERDOWN"
    EVICTION = "eviction", "maxmemory-policy is {eviction}, so Redis drops counters when its memory is full. Set it to noeviction"
    MEMORY_FULL = "memory_full", "The memory of Redis is full. Raise its maxmemory, or give the service a server of its own", "OOM"
    CANNOT_SAVE = "cannot_save", "Redis can't save its data, and refuses to write. See its log, and the disk of its `dir`", "MISCONF"
    NO_REPLICAS = "no_replicas", "Redis has fewer replicas than its min-replicas-to-write, and refuses to write. Repair the replicas", "NOREPLICAS"
    TOO_FEW_REPLICAS = "too_few_replicas", "Redis has fewer replicas than REDIS_WAIT_REPLICAS asks for. Repair the replicas"
    TOO_OLD = "too_old", "Redis {version} is too old. Install 7.0 or newer, or Valkey"
    BLOCKED = "blocked", "A slow script of another program blocks Redis. Stop it with SCRIPT KILL", "BUSY"
    TOO_MANY_CONNECTIONS = "too_many_connections", "Redis accepts no more connections. Raise its maxclients, or find out who holds them", "number of clients"
    OTHER = "other", "Redis refuses to work. The log has its words under `not_ready`"
    # fmt: on


_SILENCE = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)
_PASSING = {StoreProblem.NO_ANSWER, StoreProblem.LOADING, StoreProblem.CLUSTER_DOWN, StoreProblem.NO_PRIMARY}
"""Problems that end by themselves when all servers of a deployment start together."""

_UNREACHABLE = {StoreProblem.NO_ANSWER, StoreProblem.NO_PRIMARY}

_SCRATCH = """
redis.call('SET', KEYS[1], 'written by /readyz', 'PX', 1000)
redis.call('DEL', KEYS[1])
for _, command in ipairs(ARGV) do
  if not redis.acl_check_cmd(command, KEYS[1], KEYS[1], KEYS[1]) then return redis.error_reply('NOPERM the scripts need ' .. command) end
end
return 1
"""
"""What every start needs: to run a script that writes under our prefix and lets its keys expire, and may use all commands that our scripts use."""

_COMMANDS = sorted(
    {command for name in SCRIPTS for command in re.findall(r"redis\.call\('(\w+)'", load_script(name).text)}
)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the store may be relied on.

    Attributes:
        reachable: it answered, if only to refuse.
        kinds: what makes it unsafe; `problems` has the sentence of each.
        server: what it says it is: `valkey 9.1.2`.
        detail: its own words, for the operator and no stranger: they may name hosts, users and paths.
    """

    reachable: bool
    kinds: tuple[StoreProblem, ...] = ()
    problems: tuple[str, ...] = ()
    server: str = ""
    detail: str = ""

    @property
    def ready(self) -> bool:
        """Reachable, and nothing unsafe."""
        return self.reachable and not self.kinds


async def examine(client: Client, prefix: str, replicas: int = 0) -> Health:
    """Ask a server whether limits and codes are safe with it, and whether it has the replicas that are waited for."""
    found: dict[StoreProblem, str] = {}
    server = ""
    try:
        info = await _info(client, prefix)
        version = str(info.get("redis_version", "0"))  # Valkey has one too: that of the Redis it is compatible with
        found |= _unsafe(info, version, replicas)
        server = f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {version}"
        await client.eval(_SCRATCH, 1, f"{prefix}scratch", *_COMMANDS, *(["WAIT"] if replicas else []))
    except Exception as error:  # noqa: BLE001  a watch that ended here would see no more
        problem = _problem_of(error)
        if problem is not StoreProblem.OTHER or not found:
            found.setdefault(problem, problem.sentence.replace("{prefix}", prefix))
        return Health(problem not in _UNREACHABLE, tuple(found), tuple(found.values()), server, words_of(error))
    return Health(reachable=True, kinds=tuple(found), problems=tuple(found.values()), server=server)


async def read_clock(client: Client, prefix: str) -> float:
    """The time of the server that has our keys, in unix seconds. Raises what redis-py raises (`FAILURES`)."""
    seconds, micros = await client.eval("return redis.call('TIME')", 1, f"{prefix}scratch")
    return int(seconds) + int(micros) / 1e6


async def _info(client: Client, prefix: str) -> dict[str, Any]:
    """What the server that has our keys says of itself."""
    found: dict[str, Any]
    if isinstance(client, RedisCluster):
        await client.initialize()
        found = await client.info(target_nodes=client.get_node_from_key(prefix))
    else:
        found = await client.info()  # Redis 6 takes no list of sections, and must hear that it is too old
    return found


def _unsafe(info: dict[str, Any], version: str, replicas: int) -> dict[StoreProblem, str]:
    """What a server says of itself that makes it unsafe."""
    eviction = info.get("maxmemory_policy", "noeviction")
    unsafe = {
        StoreProblem.TOO_OLD: tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < MIN_VERSION,
        StoreProblem.EVICTION: eviction != "noeviction",
        StoreProblem.READ_ONLY: info.get("role", "master") != "master",
        StoreProblem.LOADING: bool(info.get("loading")),
        StoreProblem.TOO_FEW_REPLICAS: int(info.get("connected_slaves", 0)) < replicas,
    }
    return {
        problem: problem.sentence.format(version=version, eviction=eviction)
        for problem, holds in unsafe.items()
        if holds
    }


def _problem_of(error: BaseException) -> StoreProblem:
    if isinstance(error, RedisClusterException) and (reason := error.__cause__ or error.__context__):
        return _problem_of(reason)  # what the last node that was asked said
    if isinstance(error, AuthenticationError):
        return StoreProblem.CREDENTIALS
    text = str(error)
    word = getattr(error, "status_code", None) or text.partition(" ")[0]
    for problem in StoreProblem:
        if word in problem.signs or any(" " in sign and sign in text for sign in problem.signs):
            return problem
    return StoreProblem.NO_ANSWER if isinstance(error, _SILENCE) else StoreProblem.OTHER


class Watch:
    """Knows whether a server is safe to rely on: it looks every few seconds, and when somebody asks.

    One question at a time, on a client of its own. The log has each change, not each look.

    Attributes:
        unsafe: why it is not, as it was last seen; None while it is. While the server does not answer at all, each operation finds that out itself.
    """

    def __init__(self, client: Client, prefix: str, replicas: int = 0) -> None:
        self._client = client
        self._replicas = replicas
        self._prefix = prefix
        self._asking: asyncio.Task[Health] | None = None
        self._asked_at = -KEPT_FOR
        self._logged: tuple[StoreProblem, ...] | None = None
        self.unsafe: str | None = None

    async def __call__(self) -> Health:
        """Whether the server may be relied on, as of at most `KEPT_FOR` ago."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= KEPT_FOR):
            self._asked_at = now
            # In a context of its own: what it logs is not of the request that happened to ask.
            self._asking = asyncio.create_task(self._examine(), context=Context())
        return await asyncio.shield(self._asking)

    async def wait(self, limit: float) -> None:
        """Wait until the server may be relied on, while what is wrong may pass by itself, and for so many seconds at most."""
        end, waiting = asyncio.get_running_loop().time() + limit, False
        while not (health := await self()).ready:
            if not _PASSING.issuperset(health.kinds) or asyncio.get_running_loop().time() >= end:
                return
            if not waiting:
                log.info("waiting_for_store", seconds=limit)
                waiting = True
            await asyncio.sleep(PERIOD_NOT_READY)

    async def run(self) -> None:
        """Look again and again, until canceled."""
        while True:
            health = await self()
            await asyncio.sleep(PERIOD if health.ready else PERIOD_NOT_READY)

    async def _examine(self) -> Health:
        health = await examine(self._client, self._prefix, self._replicas)
        self.unsafe = "; ".join(health.problems) if health.reachable and health.problems else None
        if health.kinds != self._logged:
            # A log on a full disk must not end the watch. The next look tries it again.
            with suppress(Exception):
                self._report(health)
                self._logged = health.kinds
        return health

    def _report(self, health: Health) -> None:
        if health.ready:
            log.info("ready", store=health.server)
        else:
            words = {"detail": health.detail} if health.detail else {}
            log.error("not_ready", problems=health.problems, **words)
