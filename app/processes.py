"""What the service needs of the operating system: a socket, child processes that end with it, and files that only its user reads."""

import ctypes
import errno
import multiprocessing
import os
import pwd
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.verification.errors import LastdigitsError

_PR_SET_PDEATHSIG = 1  # prctl(2)

EX_UNAVAILABLE = 69
"""Exit status for what may pass by itself (sysexits.h): supervisors try again."""

EX_CONFIG = 78
"""Exit status for what a person must change (sysexits.h): trying again does not help."""

BACKLOG = 2048

_PERMANENT = {errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT, socket.EAI_NONAME}
"""Errors of a bind that do not pass by themselves: a port below 1024, no IPv6 here, a name that does not exist."""


class StartError(LastdigitsError):
    """The service can't start; the message names the fix, `status` is the process's exit status."""

    def __init__(self, message: str, status: int = EX_CONFIG) -> None:
        super().__init__(message)
        self.status = status


def listen(host: str, port: int, host_setting: str, port_setting: str) -> socket.socket:
    """A listening socket; on `::` it takes IPv4 as well.

    Raises:
        StartError: there can't be one; the message names the setting to change.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    except (OverflowError, TypeError) as error:  # a port above 65535, a name that can't be encoded
        raise StartError(f"{host_setting}, {port_setting}: {host} and {port} are no address and port") from error
    except OSError as error:
        about_port = error.errno in {errno.EADDRINUSE, errno.EACCES}
        setting, value = (port_setting, port) if about_port else (host_setting, host)
        status = EX_CONFIG if error.errno in _PERMANENT else EX_UNAVAILABLE
        fix = "end what listens there, or choose another" if error.errno == errno.EADDRINUSE else "choose another"
        raise StartError(f"{setting}: {value} can't be listened on ({error.strerror}): {fix}", status) from error


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends, even by SIGKILL. Linux only; elsewhere this does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)  # it has ended already, and the kernel sends no signal for that


@contextmanager
def child_process(run: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Run a function in a process of its own for as long as the block lasts. That process imports its module only."""
    process = multiprocessing.get_context("spawn").Process(
        target=_run_child, args=(os.getpid(), run, arguments), daemon=True
    )
    # A Ctrl-C while the child still imports would end it with a traceback: it inherits that SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, before)
    try:
        yield
    finally:
        process.terminate()
        process.join(5)


def _run_child(parent: int, run: Callable[..., None], arguments: tuple[object, ...]) -> None:
    die_with_parent(parent)
    # A terminal's Ctrl-C goes to the service alone, which may still have work to finish: it ends this process after that.
    os.setpgid(0, 0)
    run(*arguments)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, in one step: a reader sees the old text or the new one, whole.

    A file that is replaced keeps its owner and mode: root may change what the service's user reads.

    Raises:
        OSError: it can't be written; then nothing has changed.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            before = path.stat()
            if os.geteuid() == 0:
                os.chown(draft, before.st_uid, before.st_gid)
            draft.chmod(before.st_mode & 0o777)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def kept(path: Path, make: Callable[[], str]) -> str:
    """The text of a file that only this user reads; if there is none, it is made.

    Raises:
        StartError: it can't be read or made.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, make())
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise StartError(f"{path} can't be read or made ({error.strerror}): {ownership(path)}") from error
    except UnicodeDecodeError as error:
        raise StartError(f"{path} is damaged: restore it from a backup") from error


def ownership(path: Path) -> str:
    """Whose a path is, or the nearest directory above that exists, and who asks: `/srv/data belongs to root, this process runs as app`."""
    there = _nearest(path)
    return f"{there} belongs to {_user(there.lstat().st_uid)}, this process runs as {_user(os.geteuid())}"


def usable(path: Path) -> bool:
    """Whether this user may write to a directory and owns it; of one that does not exist yet, whether it could be made."""
    there = _nearest(path)
    may = os.access(there, os.R_OK | os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    return may and (there != path or path.stat().st_uid == os.geteuid())


def _nearest(path: Path) -> Path:
    return next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
