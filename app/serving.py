"""`lastdigits serve`: the processes and the order in which they start and end.

    this process ─┬─ the embedded Valkey, where REDIS_URL asks for it
                  ├─ the simulator, in the sandbox
                  └─ the workers, where WORKERS is more than 1; else it answers requests itself

Whoever is started later ends first; if this process is killed, the kernel ends the others (processes.py).
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from uvicorn.supervisors import Multiprocess

from app.api.listener import Listener
from app.main import create_app
from app.processes import die_with_parent
from app.reloading import has_terminal, hung_up, read_again
from app.sandbox import banner, keep_pepper, keep_signing_keys, reachable, sandbox_keys, simulator_beside, with_sandbox
from app.settings import Settings, SettingsError, read_signing_keys
from app.store.embedded import embedded_server
from app.telemetry.logging import configure_logs
from app.telemetry.metrics import WIDTH
from app.telemetry.tallies import Tallies, shared_tallies
from app.verification.errors import LastdigitsError
from app.verification.signing_keys import SigningKeyError, new_signing_key, write_signing_keys

_BACKLOG = 2048
EX_UNAVAILABLE = 69
"""Exit status when a part that the service needs has ended (sysexits.h)."""


class ServingError(LastdigitsError):
    """The service can't start; the message names the mend."""


def serve(settings: Settings) -> None:
    """Run the service until it is told to end.

    Raises:
        ServingError: an address can't be listened on.
        EmbeddedStoreError: the embedded store can't be run.
    """
    configure_logs(settings.log_format, settings.log_level)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until whoever reads the files again is there to hear it
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has ended its work: the process then ends as asked, not by accident.
        signal.signal(number, lambda *_: sys.exit(0))
    for warning in settings.warnings:
        structlog.get_logger().warning("settings", detail=warning)
    with ExitStack() as children:
        listener = children.enter_context(listen(settings.host, settings.port, "LASTDIGITS_PORT"))
        settings = replace(settings, port=listener.getsockname()[1])
        if settings.embedded:
            store = children.enter_context(embedded_server(settings.embedded))
            children.enter_context(_watching(store))
        settings = _completed(settings, children)
        tallies = children.enter_context(shared_tallies(WIDTH, settings.workers)) if settings.workers > 1 else None
        _run(settings, listener, tallies)


@contextmanager
def _watching(store: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End the service if its store ends before it: whoever watches over the service then starts both anew.

    Raises:
        SystemExit: 69, the store has ended.
    """
    ending = threading.Event()

    def watch() -> None:
        store.wait()
        if not ending.is_set():
            structlog.get_logger().error("embedded_store_ended", status=store.returncode)
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        lost = store.poll() is not None
        ending.set()
        if lost:
            sys.exit(EX_UNAVAILABLE)


def _completed(settings: Settings, children: ExitStack) -> Settings:
    """Fill in what is made rather than configured: the pepper, and in the sandbox the simulator and the keys."""
    if settings.pepper is None:
        pepper = keep_pepper(settings.embedded) if settings.embedded else SecretStr(secrets.token_hex(32))
        settings = replace(settings, pepper=pepper)
    if settings.signing_keys is None:
        settings = _with_signing_keys(settings)
    if not settings.sandbox:
        return settings
    api_key = secrets.token_urlsafe(16)
    listener = children.enter_context(
        listen(settings.simulator_host, settings.simulator_port, "LASTDIGITS_SIMULATOR_PORT")
    )
    children.enter_context(simulator_beside(listener, api_key))
    simulator = f"http://{reachable(settings.simulator_host)}:{listener.getsockname()[1]}"
    keys = sandbox_keys(settings.embedded)
    print(banner(settings, None if settings.clients else keys, simulator), flush=True)  # noqa: T201  the banner is for a person
    return with_sandbox(settings, keys, simulator, api_key)


def _with_signing_keys(settings: Settings) -> Settings:
    """The settings with the keys that are kept beside an embedded store; in a sandbox without one, with keys for as long as it runs.

    Raises:
        SettingsError: the kept ones can't stand.
    """
    if settings.embedded is None:
        return replace(settings, signing_keys=SecretStr(write_signing_keys((new_signing_key(),))))
    path = keep_signing_keys(settings.embedded)
    try:
        return replace(settings, signing_keys=read_signing_keys(path), signing_keys_file=path)
    except SigningKeyError as fault:
        raise SettingsError([str(fault)]) from None


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket; `setting` names what to change where there can be none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as fault:
        raise ServingError(
            f"{setting}: {host}:{port} can't be listened on ({fault.strerror}): choose another"
        ) from fault


def _run(settings: Settings, listener: socket.socket, tallies: Tallies | None) -> None:
    """Answer requests in this process, or in workers that it watches over."""
    app = worker_app(settings, tallies) if settings.workers > 1 else partial(create_app, settings)
    config = uvicorn.Config(
        app,
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=Listener,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=settings.policy.call_deadline,
    )
    structlog.get_logger().info(
        "serving",
        address=f"http://{reachable(settings.host)}:{settings.port}",
        workers=settings.workers,
        sandbox=settings.sandbox,
        pid=os.getpid(),
    )
    if settings.workers > 1:
        Workers(settings, config, listener, tallies).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


class Workers(Multiprocess):
    """uvicorn's supervisor of workers, but SIGHUP has the workers read their files again instead of replacing them."""

    def __init__(
        self, settings: Settings, config: uvicorn.Config, listener: socket.socket, tallies: Tallies | None
    ) -> None:
        super().__init__(config, sockets=[listener])
        self._settings = settings
        self._tallies = tallies
        self._had_terminal = has_terminal()

    def run(self) -> None:
        """Watch over the workers; whatever ends that, ends them."""
        try:
            super().run()
        except BaseException:
            self.terminate_all()
            self.join_all()
            raise

    def handle_hup(self) -> None:
        """Hand SIGHUP on. A worker that replaces a dead one later starts from what stands in the files now."""
        if hung_up(had_terminal=self._had_terminal):
            self.handle_term()
            return
        self._settings = read_again(self._settings)
        self.config.app = worker_app(self._settings, self._tallies)
        for process in self.processes:
            if process.pid and process.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)


def worker_app(settings: Settings, tallies: Tallies | None) -> Callable[[], FastAPI]:
    """What makes the application in a process of its own."""
    return partial(_worker, settings, os.getpid(), tallies)


def _worker(settings: Settings, parent: int, tallies: Tallies | None) -> FastAPI:
    """The application in a process of its own."""
    die_with_parent(parent)
    configure_logs(settings.log_format, settings.log_level)
    return create_app(settings, tallies)
