"""A server of one's own, to be stopped, frozen and restarted."""

import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.store.embedded import server_binary


class Server:
    """A server on a TCP port of its own, without a file: what it forgets is forgotten.

    Args:
        directory: where it may write.
        binary: Valkey's or Redis's; None: the Valkey of the embedded store.
        options: of its configuration.
    """

    def __init__(self, directory: Path, binary: str | Path | None = None, **options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.directory, self._binary = directory, binary or server_binary()
        own = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "dir": str(directory)}
        self._options = own | {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, *words: str, user: str = "default", password: str | None = None) -> Any:
        """Run a command, by a connection of its own."""
        with Redis(port=self.port, username=user, password=password, retry=Retry(NoBackoff(), 0)) as client:
            return client.execute_command(*words)

    def start(self, **options: str) -> None:
        changed = self._options | {name.replace("_", "-"): value for name, value in options.items()}
        arguments = [word for name, value in changed.items() for word in (f"--{name}", *(value.split() or [""]))]
        self._process = subprocess.Popen([self._binary, *arguments], stdout=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, arguments
                time.sleep(0.02)
            else:
                return

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
