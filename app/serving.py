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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from uvicorn.supervisors import Multiprocess

from app.main import create_app
from app.processes import die_with_parent
from app.sandbox import banner, keep_pepper, reachable, sandbox_keys, simulator_beside, with_sandbox
from app.settings import Settings
from app.store.embedded import embedded_server
from app.telemetry.logs import configure_logs
from app.verification.errors import LastdigitsError

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
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has ended its work: the process then ends as asked, not by accident.
        signal.signal(number, lambda *_: sys.exit(0))
    for warning in settings.warnings:
        structlog.get_logger().warning("setting_not_in_force", detail=warning)
    with ExitStack() as children:
        listener = children.enter_context(listen(settings.host, settings.port, "LASTDIGITS_PORT"))
        settings = replace(settings, port=listener.getsockname()[1])
        if settings.embedded:
            store = children.enter_context(embedded_server(settings.embedded))
            children.enter_context(_watching(store))
        settings = _completed(settings, children)
        _run(settings, listener)


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


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket; `setting` names what to change where there can be none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as fault:
        raise ServingError(
            f"{setting}: {host}:{port} can't be listened on ({fault.strerror}): choose another"
        ) from fault


def _run(settings: Settings, listener: socket.socket) -> None:
    """Answer requests in this process, or in workers that it watches over."""
    app = partial(_worker, settings, os.getpid()) if settings.workers > 1 else partial(create_app, settings)
    config = uvicorn.Config(
        app,
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
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
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


def _worker(settings: Settings, parent: int) -> FastAPI:
    """The application in a process of its own."""
    die_with_parent(parent)
    configure_logs(settings.log_format, settings.log_level)
    return create_app(settings)
