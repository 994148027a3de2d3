"""Servers that stand in for each other, as the tests start them: a primary and replicas under three sentinels, and a cluster of six nodes.

All are real ones. They notice a failure within half a second or a second, so that tests need not wait longer.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError

from tests.harness import PREFIX
from tests.server import Server, free_port

SLOT = str(key_slot(PREFIX.encode()))
"""Where all keys of a service lie."""

SLOTS = 16384


def until(holds: Callable[[], Any], what: str, seconds: float = 40) -> Any:
    """What is true at last; a server that does not answer meanwhile is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(RedisError, OSError):
            if found := holds():
                return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class Group(ABC):
    """Servers of which one, the primary, has our keys, and others follow it. Entered, they run; left, or failed to settle, they are gone.

    Args:
        directory: where they may write.
        binary: as of `Server`.
        identity: for TLS.
        password: of the user `service` for whom the sentinels or the nodes ask, besides the default user's, which is the same.
    """

    url: str

    def __init__(
        self, directory: Path, binary: str | None = None, identity: Path | None = None, password: str | None = None
    ) -> None:
        self._place = (directory, binary, identity)
        self._password = password
        self._running = ExitStack()
        self.nodes: list[Server] = []

    def __enter__(self) -> Self:
        with self._running:
            self._start()
            self._running = self._running.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @abstractmethod
    def _start(self) -> None: ...

    def _add(self, **options: str) -> Server:
        directory, binary, identity = self._place
        if self._password:
            # The rights that docs/operations.md asks for.
            rights = f"~{PREFIX}* +@read +@write +@scripting +@connection +info +time +wait +cluster|slots"
            user = f"service on >{self._password} {rights}"
            options |= {"requirepass": self._password, "masterauth": self._password, "user": user}
        server = Server(directory / str(len(self.nodes)), binary, identity, repl_diskless_sync_delay="0", **options)
        self._running.callback(server.stop)
        self.nodes.append(server)
        return server

    def ask(self, server: Server, *words: str) -> Any:
        return server.command(*words, password=self._password)

    def info(self, server: Server, section: str = "replication") -> dict[str, Any]:
        found: dict[str, Any] = self.ask(server, "INFO", section)
        return found

    @property
    def primary(self) -> Server:
        return until(self._primary, "a primary")  # type: ignore[no-any-return]

    @abstractmethod
    def _primary(self) -> Server | None: ...

    @property
    def replicas(self) -> list[Server]:
        """Those that follow the primary."""
        return self.replicas_of(self.primary)

    def replicas_of(self, primary: Server) -> list[Server]:
        followers = [
            value for name, value in self.info(primary).items() if name.startswith("slave") and name[5:].isdigit()
        ]
        ports = {int(each["port"]) for each in followers if each["state"] == "online"}
        return [node for node in self.nodes if node.port in ports]

    def lose_primary(self, fail: Callable[[Server], None] = Server.stop) -> Server:
        """Have the primary fail, and wait until another one has taken over; returns the former one."""
        before = self.primary
        fail(before)
        until(lambda: self.primary is not before, "another primary")
        return before

    def fail_over(self) -> None:
        """Make a replica the primary, as an operator does, and wait until the former primary follows it."""
        before = self.primary
        self._order_failover()
        until(lambda: self.info(before)["role"] == "slave", "the former primary follows")

    @abstractmethod
    def _order_failover(self) -> None: ...

    def _url(self, kind: str, where: list[Server], path: str = "", **query: str) -> str:
        identity = self._place[2]
        query |= {"ssl_ca_certs": str(identity / "certificate.pem")} if identity else {}
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in where)
        login = f"service:{self._password}@" if self._password else ""
        options = "&".join(f"{name}={value}" for name, value in query.items())
        return f"redis{'s' if identity else ''}+{kind}://{login}{hosts}{path}{'?' if options else ''}{options}"


class Sentinel(Server):
    """A sentinel: it is configured by a file alone, which it writes itself from then on."""

    def __init__(self, watches: list[str], *place: Any, **options: str) -> None:
        self._watches = watches
        super().__init__(*place, **options)

    def _arguments(self, options: dict[str, str]) -> list[str]:
        file = self.directory / "sentinel.conf"
        if not file.exists():
            plain = [f"{name} {value or chr(34) * 2}" for name, value in options.items() if name != "save"]
            file.write_text("\n".join([*plain, *self._watches]), "utf-8")
        return [str(file), "--sentinel"]


class Sentinels(Group):
    """A primary, two replicas, and three sentinels that watch them."""

    def _start(self) -> None:
        first = self._add(repl_ping_replica_period="1")
        for _ in range(2):
            self._add(repl_ping_replica_period="1", replicaof=f"127.0.0.1 {first.port}")
        until(lambda: len(self.replicas_of(first)) == 2, "both replicas follow")
        self.sentinels = [self._sentinel(first.port, f"sentinel-{number}") for number in range(3)]
        login = {"sentinel_username": "service", "sentinel_password": self._password} if self._password else {}
        self.url = self._url("sentinel", self.sentinels, "/main", **login)
        until(self._is_settled, "three sentinels agree on a primary with two replicas")

    def _sentinel(self, port: int, name: str) -> Server:
        watches = [
            f"sentinel monitor main 127.0.0.1 {port} 2",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 3000",
        ]
        own = {}
        if self._password:
            watches += [f"sentinel auth-pass main {self._password}"]
            own = {"requirepass": self._password, "user": f"service on >{self._password} +@all"}
        directory, binary, identity = self._place
        sentinel = Sentinel(watches, directory / name, binary, identity, **own)
        self._running.callback(sentinel.stop)
        return sentinel

    def _primary(self) -> Server | None:
        """Whom most sentinels name."""
        named = [self._named(sentinel) for sentinel in self.sentinels]
        return next((node for node in self.nodes if named.count(node.port) > 1), None)

    def _named(self, sentinel: Server) -> int:
        with suppress(RedisError, OSError):
            return int(self.ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1])
        return 0

    def _is_settled(self) -> bool:
        """Whether all sentinels know each other and both replicas."""
        views = [self.ask(sentinel, "SENTINEL MASTERS")["main"] for sentinel in self.sentinels]
        known = [(view["num-slaves"], view["num-other-sentinels"], view["is_sdown"]) for view in views]
        return known == [(2, 2, False)] * 3

    def _order_failover(self) -> None:
        self.ask(self.sentinels[1], "SENTINEL", "FAILOVER", "main")


class Cluster(Group):
    """Three primaries with a replica each; ours is the one that serves our slot."""

    def _start(self) -> None:
        buses = [str(free_port()) for _ in range(6)]
        for bus in buses:
            self._add(cluster_enabled="yes", cluster_node_timeout="1000", cluster_port=bus)
        for number, primary in enumerate(self.nodes[:3]):
            first, last = (SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
            self.ask(primary, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        for node, bus in zip(self.nodes, buses, strict=True):
            self.ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)
        for replica, primary in zip(self.nodes[3:], self.nodes[:3], strict=True):
            until(partial(self._follow, replica, primary), "a replica knows its primary")
        self.url = self._url("cluster", self.nodes[:3])
        until(self._is_settled, "six nodes, three of them replicas that follow")

    def _follow(self, replica: Server, primary: Server) -> bool:
        with suppress(ResponseError):  # they have not shaken hands yet
            self.ask(replica, "CLUSTER", "REPLICATE", self.id(primary))
            return True
        return False

    def _is_settled(self) -> bool:
        whole = all(self.state(node)["cluster_state"] == "ok" for node in self.nodes)
        return whole and all(len(self.replicas_of(primary)) == 1 for primary in self.nodes[:3])

    def state(self, node: Server) -> dict[str, str]:
        """The cluster as one node sees it."""
        found: dict[str, str] = self.ask(node, "CLUSTER INFO")
        return found

    def id(self, node: Server) -> str:
        found: Any = self.ask(node, "CLUSTER", "MYID")
        return found.decode() if isinstance(found, bytes) else str(found)

    def _primary(self) -> Server | None:
        for node in self.nodes:
            with suppress(RedisError, OSError):
                self.ask(node, "GET", PREFIX)  # all others answer MOVED
                return node
        return None

    def others(self) -> list[Server]:
        """Primaries that do not serve our slot."""
        ours = self.primary
        return [node for node in self.nodes if node is not ours and self.info(node)["role"] == "master"]

    def _order_failover(self) -> None:
        (replica,) = self.replicas
        self.ask(replica, "CLUSTER", "FAILOVER")

    def move_slot(self) -> int:
        """Move our slot with its keys to another primary, a few at a time; how many keys."""
        source, (target, *_), moved = self.primary, self.others(), 0
        self.open_slot(source, target)
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", SLOT, "20"):
            self.move_keys(source, target, keys)
            moved += len(keys)
        for node in (target, source, *self.nodes):
            with suppress(RedisError, OSError):  # replicas take no order
                self.ask(node, "CLUSTER", "SETSLOT", SLOT, "NODE", self.id(target))
        return moved

    def open_slot(self, source: Server, target: Server) -> None:
        self.ask(target, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", self.id(source))
        self.ask(source, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", self.id(target))

    def move_keys(self, source: Server, target: Server, keys: list[bytes]) -> None:
        names = [key.decode() for key in keys]
        self.ask(source, "MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *names)
