"""A server of one's own, to be stopped, frozen and restarted."""

import secrets
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.store.embedded import server_binary
from app.store.pipelines import Pipelines


def free_port() -> int:
    """A port on which no one listens; below those that the kernel gives to outgoing connections, so that none of them takes it meanwhile."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _tls(port: int, identity: Path) -> dict[str, str]:
    files = {"tls-cert-file": "certificate.pem", "tls-key-file": "key.pem", "tls-ca-cert-file": "certificate.pem"}
    rules = {"tls-auth-clients": "no", "tls-replication": "yes", "tls-cluster": "yes"}
    return {"port": "0", "tls-port": str(port)} | rules | {name: str(identity / file) for name, file in files.items()}


class Server:
    """A server on a TCP port of its own, without a file: what it forgets is forgotten.

    Args:
        directory: where it may write.
        binary: Valkey's or Redis's; None: the Valkey of the embedded store.
        identity: where `certificate.pem` and `key.pem` are, for TLS alone; needs Redis's binary.
        options: of its configuration.
    """

    def __init__(
        self, directory: Path, binary: str | Path | None = None, identity: Path | None = None, /, **options: str
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self.identity = free_port(), identity
        self.directory, self._binary = directory, binary or server_binary()
        own = {"bind": "127.0.0.1", "save": "", "dir": str(directory)}
        own |= _tls(self.port, identity) if identity else {"port": str(self.port)}
        self._options = own | {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, *words: str, user: str = "default", password: str | None = None) -> Any:
        """Run a command, by a connection of its own."""
        tls = {"ssl": True, "ssl_ca_certs": str(self.identity / "certificate.pem")} if self.identity else {}
        once: Any = {"host": "127.0.0.1", "retry": Retry(NoBackoff(), 0), "socket_timeout": 2} | tls
        with Redis(port=self.port, username=user, password=password, **once) as client:
            return client.execute_command(*words)

    def start(self, **options: str) -> None:
        changed = self._options | {name.replace("_", "-"): value for name, value in options.items()}
        arguments = self._arguments(changed)
        self._process = subprocess.Popen([self._binary, *arguments], stdout=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, arguments
                time.sleep(0.02)
            else:
                return

    def _arguments(self, options: dict[str, str]) -> list[str]:
        return [word for name, value in options.items() for word in (f"--{name}", *(value.split() or [""]))]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGKILL)
        assert self._process
        self._process.wait(5)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)


async def ask(pipelines: Pipelines, *command: str | int | bytes) -> Any:
    """The reply to one command."""
    reply, _ = await pipelines.execute(*command)
    return reply
