"""The processes that answer requests, and the socket that they share.

uvicorn serves, and its supervisor watches over several workers. If the service is killed, the kernel ends its workers (processes.py).
"""

import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from functools import partial

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.api.listener import Listener
from app.processes import BACKLOG, EX_UNAVAILABLE, die_with_parent
from app.reloading import hung_up, read_again
from app.settings import Settings
from app.telemetry.logging import configure_logs
from app.telemetry.metrics import WIDTH
from app.telemetry.tallies import Tallies, shared_tallies

ACCEPTS = 16
"""Connections that a worker accepts in one turn of its event loop."""

WORKER_TIMEOUT = 30
"""Seconds in which a worker must answer its supervisor, else it is replaced. uvicorn's own 5 s end workers that start on a busy machine. Meanwhile the
supervisor hears no signal, so it must be less than supervisors wait after SIGTERM: 40 s (deploy/lastdigits.service)."""


def run_workers(settings: Settings, listener: socket.socket) -> None:
    """Answer requests in this process, or in workers that it watches over, until the service is ended.

    Raises:
        SystemExit: the application could not start; the log says why.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection takes a file; shells often allow 1,024
    config = uvicorn.Config(
        partial(_application, settings, None),
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=Listener,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=settings.policy.call_deadline,
        timeout_worker_healthcheck=WORKER_TIMEOUT,
    )
    # The event loop (libuv since 1.45) accepts one connection of a socket each turn. While turns are long, further ones would wait for many seconds.
    sockets = [listener, *(listener.dup() for _ in range(ACCEPTS - 1))]
    if settings.workers == 1:
        server = uvicorn.Server(config)
        try:
            server.run(sockets=sockets)
        except SystemExit as ended:
            if ended.code != STARTUP_FAILURE:
                raise
        started = server.started
    else:
        with shared_tallies(WIDTH, settings.workers) as tallies:
            supervisor = Workers(settings, config, sockets, tallies)
            supervisor.run()
        started = all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    if not started:
        sys.exit(EX_UNAVAILABLE)


class Workers(Multiprocess):
    """uvicorn's supervisor of workers, but SIGHUP has the workers read their files again instead of replacing them."""

    def __init__(
        self, settings: Settings, config: uvicorn.Config, sockets: list[socket.socket], tallies: Tallies | None
    ) -> None:
        super().__init__(config, sockets=sockets)
        self._tallies = tallies
        self._use(settings)

    def _use(self, settings: Settings) -> None:
        """Have workers that start from now on work by these settings."""
        self._settings = settings
        self.config.app = partial(_worker, settings, os.getpid(), self._tallies)

    def run(self) -> None:
        """Watch over the workers; whatever ends that, ends them."""
        try:
            super().run()
        except BaseException:
            self.terminate_all()
            self.join_all()
            raise

    def keep_subprocess_alive(self) -> None:
        """Replace dead workers. One that dies between a ping and its answer is noticed at once, and not after `WORKER_TIMEOUT`."""
        for process in self.processes:
            # The worker has its own copy. While this one is open, its end of the pipe does not close with it.
            process.child_conn.close()
        super().keep_subprocess_alive()

    def handle_hup(self) -> None:
        """Hand SIGHUP on. A worker that replaces a dead one later starts from what is in the files now."""
        if hung_up():
            self.handle_term()
            return
        self._use(read_again(self._settings))
        for process in self.processes:
            if process.pid and process.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)


def _worker(settings: Settings, parent: int, tallies: Tallies | None) -> ASGIApp:
    die_with_parent(parent)
    configure_logs(settings.log_format, settings.log_level)
    return _application(settings, tallies)


def _application(settings: Settings, tallies: Tallies | None) -> ASGIApp:
    from app.main import create_app  # noqa: PLC0415  half of the start-up, which only those pay that answer requests

    return create_app(settings, tallies)
