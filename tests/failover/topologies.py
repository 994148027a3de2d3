"""Servers that stand in for each other, as the tests start them: a primary and replicas under three sentinels, and a cluster of six nodes.

All are real ones. They notice a failure within half a second or a second, so that tests need not wait longer.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.harness import PREFIX
from tests.server import Server, free_port

SLOT = key_slot(PREFIX.encode())
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


class _Group:
    """Servers that fail and are repaired together.

    Args:
        directory: where they may write.
        binary: as of `Server`.
        identity: for TLS.
        password: of the user `service` for whom the sentinels or the nodes ask, besides the default user's, which is the same.
    """

    def __init__(
        self, directory: Path, binary: str | None = None, identity: Path | None = None, password: str | None = None
    ) -> None:
        self._directory, self._binary, self._identity, self._password = directory, binary, identity, password
        self.servers: list[Server] = []

    def node(self, name: str, **options: str) -> Server:
        if self._password:
            options |= {"requirepass": self._password, "masterauth": self._password, "user": self.user}
        server = Server(self._directory / name, self._binary, self._identity, **options)
        self.servers.append(server)
        return server

    @property
    def user(self) -> str:
        """The rights that docs/operations.md asks for."""
        rights = f"~{PREFIX}* +@read +@write +@scripting +@connection +info +time +wait +cluster|slots"
        return f"service on >{self._password} {rights}"

    def ask(self, server: Server, *words: str) -> Any:
        return server.command(*words, password=self._password)

    def info(self, server: Server, section: str = "replication") -> dict[str, Any]:
        found: dict[str, Any] = self.ask(server, "INFO", section)
        return found

    def repair(self) -> None:
        """Every server runs again."""
        for server in self.servers:
            if server.running:
                server.thaw()
            else:
                server.start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def _url(self, kind: str, where: list[Server], path: str = "", **query: str) -> str:
        query |= {"ssl_ca_certs": str(self._identity / "certificate.pem")} if self._identity else {}
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in where)
        login = f"service:{self._password}@" if self._password else ""
        options = "&".join(f"{name}={value}" for name, value in query.items())
        return f"redis{'s' if self._identity else ''}+{kind}://{login}{hosts}{path}{'?' if options else ''}{options}"


class _Sentinel(Server):
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


class Sentinels(_Group):
    """A primary, two replicas, and three sentinels that watch them."""

    def __init__(self, directory: Path, *place: Any, **options: Any) -> None:
        super().__init__(directory, *place, **options)
        fast = {"repl_diskless_sync_delay": "0", "repl_ping_replica_period": "1"}
        self._first = self.node("0", **fast)
        self.nodes = [self._first]
        for name in ("1", "2"):
            self.nodes.append(self.node(name, replicaof=f"127.0.0.1 {self._first.port}", **fast))
        until(lambda: len(self._replicas(self._first)) == len(self.nodes) - 1, "both replicas follow")
        self.sentinels = [self._sentinel(f"sentinel-{number}") for number in range(3)]
        self.settle()

    def _sentinel(self, name: str) -> Server:
        watches = [
            f"sentinel monitor main 127.0.0.1 {self._first.port} 2",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 3000",
        ]
        if self._password:
            watches += [f"sentinel auth-pass main {self._password}"]
            own = {"requirepass": self._password, "user": f"service on >{self._password} +@all"}
        else:
            own = {}
        sentinel = _Sentinel(watches, self._directory / name, self._binary, self._identity, **own)
        self.servers.append(sentinel)
        return sentinel

    @classmethod
    def watching(cls, directory: Path, port: int) -> Server:
        """One sentinel that takes what listens on a port for the primary, and never has it replaced."""
        return _Sentinel([f"sentinel monitor main 127.0.0.1 {port} 1"], directory)

    @property
    def url(self) -> str:
        login = {"sentinel_username": "service", "sentinel_password": self._password} if self._password else {}
        return self._url("sentinel", self.sentinels, "/main", **login)

    @property
    def primary(self) -> Server:
        """Whom most sentinels name."""
        return until(self._primary, "most sentinels name a primary")  # type: ignore[no-any-return]

    def _primary(self) -> Server | None:
        named = [self._named(sentinel) for sentinel in self.sentinels]
        return next((node for node in self.nodes if named.count(node.port) > 1), None)

    def _named(self, sentinel: Server) -> int:
        with suppress(RedisError, OSError):
            return int(self.ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1])
        return 0

    def _replicas(self, primary: Server) -> list[Any]:
        found = self.info(primary)
        slaves = [found[f"slave{number}"] for number in range(int(found.get("connected_slaves", 0)))]
        return [each for each in slaves if each["state"] == "online"]

    def settle(self) -> None:
        """Wait until all sentinels know each other, one primary, and two replicas that follow it."""
        until(self._is_settled, "three sentinels agree on a primary with two replicas")

    def _is_settled(self) -> bool:
        primary = self.primary
        views = [self.ask(sentinel, "SENTINEL MASTERS")["main"] for sentinel in self.sentinels]
        return len(self._replicas(primary)) == len(self.nodes) - 1 and all(
            (view["num-slaves"], view["num-other-sentinels"], view["port"], view["is_sdown"])
            == (len(self.nodes) - 1, len(self.sentinels) - 1, primary.port, False)
            for view in views
        )


class Cluster(_Group):
    """Three primaries with a replica each."""

    def __init__(self, directory: Path, *place: Any, **options: Any) -> None:
        super().__init__(directory, *place, **options)
        buses = [free_port() for _ in range(6)]
        self.nodes = [
            self.node(
                str(number),
                cluster_enabled="yes",
                cluster_node_timeout="1000",
                cluster_port=str(bus),
                repl_diskless_sync_delay="0",
            )
            for number, bus in enumerate(buses)
        ]
        primaries, replicas = self.nodes[:3], self.nodes[3:]
        for number, primary in enumerate(primaries):
            first, last = (SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
            self.ask(primary, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        for node, bus in zip(self.nodes, buses, strict=True):
            self.ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", str(node.port), str(bus))
        until(lambda: all(len(list(self._view(node))) == len(self.nodes) for node in self.nodes), "all nodes met")
        for replica, primary in zip(replicas, primaries, strict=True):
            self.ask(replica, "CLUSTER", "REPLICATE", self.id(primary))
        self.settle()

    @property
    def url(self) -> str:
        return self._url("cluster", self.nodes[:3])

    def id(self, node: Server) -> str:
        found: Any = self.ask(node, "CLUSTER", "MYID")
        return found.decode() if isinstance(found, bytes) else str(found)

    def owner(self) -> Server:
        """The node that serves our slot."""
        return until(self._owner, "a node serves our slot")  # type: ignore[no-any-return]

    def _owner(self) -> Server | None:
        for node in self.nodes:
            if node.running:
                with suppress(RedisError, OSError):
                    found = [port for port, view in self._view(node) if "myself" in view["flags"] and _has_slot(view)]
                    if found == [node.port] and self.info(node)["role"] == "master":
                        return node
        return None

    def replica_of(self, primary: Server) -> Server:
        id_ = self.id(primary)
        port = next(port for port, view in self._view(primary) if view["master_id"] == id_)
        return next(node for node in self.nodes if node.port == port)

    def others(self) -> list[Server]:
        """Primaries that do not serve our slot."""
        owner = self.owner()
        return [node for node in self.nodes if node is not owner and self.info(node)["role"] == "master"]

    def covers_all(self) -> bool:
        """Whether every slot is served, as the node of ours has it."""
        return int(self.ask(self.owner(), "CLUSTER INFO")["cluster_slots_ok"]) == SLOTS

    def move_slot(self, source: Server, target: Server) -> int:
        """Move our slot with its keys, a few at a time; how many keys."""
        moved = self.open_slot(source, target)
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", str(SLOT), "20"):
            moved += self.move_keys(source, target, keys)
        for node in (target, source, *self.nodes):
            with suppress(RedisError, OSError):  # replicas take no order
                self.ask(node, "CLUSTER", "SETSLOT", str(SLOT), "NODE", self.id(target))
        return moved

    def open_slot(self, source: Server, target: Server) -> int:
        self.ask(target, "CLUSTER", "SETSLOT", str(SLOT), "IMPORTING", self.id(source))
        self.ask(source, "CLUSTER", "SETSLOT", str(SLOT), "MIGRATING", self.id(target))
        return 0

    def move_keys(self, source: Server, target: Server, keys: list[bytes]) -> int:
        names = [key.decode() for key in keys]
        self.ask(source, "MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *names)
        return len(names)

    def keys(self, node: Server, *patterns: str) -> list[bytes]:
        return [key for pattern in patterns for key in self.ask(node, "KEYS", pattern)]

    def hash(self, node: Server, key: str) -> str:
        return str(self.ask(node, "HGETALL", key))

    def settle(self) -> None:
        """Wait until each primary has its replica, and all nodes find the cluster whole."""
        until(self._is_settled, "six nodes, three of them replicas that follow")

    def _is_settled(self) -> bool:
        states = [self.ask(node, "CLUSTER INFO")["cluster_state"] for node in self.nodes]
        roles = [self.info(node) for node in self.nodes]
        linked = [each for each in roles if each["role"] == "slave" and each["master_link_status"] == "up"]
        return states == ["ok"] * len(self.nodes) and len(linked) == len(self.nodes) // 2 and bool(self._owner())

    def _view(self, node: Server) -> Iterator[tuple[int, dict[str, Any]]]:
        """The cluster as one node sees it: each node's port, and what is said of it."""
        for address, view in self.ask(node, "CLUSTER NODES").items():
            yield int(address.rpartition(":")[2]), view


def _has_slot(view: dict[str, Any]) -> bool:
    ranges = [(int(each[0]), int(each[-1])) for each in view["slots"]]
    return any(first <= SLOT <= last for first, last in ranges)


Group = Sentinels | Cluster


def primary_of(group: Group) -> Server:
    return group.primary if isinstance(group, Sentinels) else group.owner()
