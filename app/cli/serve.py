"""`lastdigits serve`: the processes and the order in which they start and end.

    this process ─┬─ the embedded Valkey, where REDIS_URL asks for it
                  ├─ the simulator, in the sandbox
                  └─ the workers, where WORKERS is more than 1; else it answers requests itself

What starts later ends first; if this process is killed, the kernel ends the others (processes.py).
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import structlog
from pydantic import SecretStr
from redis.exceptions import RedisError

from app.cli import as_called
from app.processes import EX_UNAVAILABLE, StartError, kept, listen
from app.sandbox import reachable, with_sandbox
from app.settings import Settings, load_settings, read_signing_keys
from app.store.embedded import embedded_server, rewrite_if_old
from app.telemetry.logging import configure_logs
from app.verification.ids import MIN_PEPPER_BYTES
from app.verification.signing_keys import SigningKeyError, new_signing_key, write_signing_keys
from app.workers import run_workers

REWRITE_LOOK = 600.0
"""Seconds from one look at the age of the embedded store's file to the next."""

log = structlog.get_logger()


def run(_: argparse.Namespace) -> int:
    """Run the service until it is ended.

    Raises:
        StartError: it can't start.
        SystemExit: its embedded store has ended, or the application could not start.
    """
    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    os.umask(0o077)  # what it and its children write is for this user only
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something that reads files again
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has ended its work: the process then ends as asked, not by accident.
        signal.signal(number, lambda *_: sys.exit(0))
    for warning in settings.warnings:
        log.warning("settings", detail=as_called(warning))
    with ExitStack() as children:
        listener = children.enter_context(listen(settings.host, settings.port, "LASTDIGITS_HOST", "LASTDIGITS_PORT"))
        settings = replace(settings, port=listener.getsockname()[1])
        if settings.embedded:
            store = children.enter_context(embedded_server(settings.embedded))
            children.enter_context(_watched(store, settings.embedded))
        settings = with_made_keys(settings)
        if settings.sandbox:
            settings = children.enter_context(with_sandbox(settings))
            log.warning("sandbox", detail="no phone rings: calls go to the simulator, and tokens carry test: true")
        address = f"http://{reachable(settings.host)}:{settings.port}"
        log.info("serving", address=address, workers=settings.workers, sandbox=settings.sandbox, pid=os.getpid())
        run_workers(settings, listener)
    return 0


def with_made_keys(settings: Settings) -> Settings:
    """The settings with a pepper and signing keys: those that are given, else those that were made before or are made now.

    Raises:
        StartError: the kept ones are invalid, or none can be kept.
    """
    if settings.pepper is None and settings.keys:
        settings = replace(settings, pepper=SecretStr(_pepper(settings.keys / "pepper")))
    if settings.signing_keys is None and settings.keys:
        path = settings.keys / "signing-keys.json"
        kept(path, lambda: write_signing_keys((new_signing_key(),)))
        try:
            settings = replace(settings, signing_keys=read_signing_keys(path), signing_keys_file=path)
        except SigningKeyError as error:
            raise StartError(str(error)) from None
    return settings


def _pepper(path: Path) -> str:
    pepper = kept(path, lambda: secrets.token_hex(32))
    if len(pepper.encode()) < MIN_PEPPER_BYTES:
        raise StartError(f"{path} is cut short: restore it from a backup, or remove it and lose what the store holds")
    return pepper


@contextmanager
def _watched(store: "subprocess.Popen[bytes]", path: Path) -> Iterator[None]:
    """Rewrite the store's file when it is old; end the service if the store ends before it: a supervisor then starts both again.

    Raises:
        SystemExit: 69, the store has ended.
    """
    ending = threading.Event()

    def watch() -> None:
        while True:
            _rewrite(path)
            try:
                store.wait(REWRITE_LOOK)
            except subprocess.TimeoutExpired:
                continue
            if not ending.is_set():
                log.error("embedded_store_ended", status=store.returncode)
                os.kill(os.getpid(), signal.SIGTERM)
            return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        lost = store.poll() is not None
        ending.set()
        if lost:
            sys.exit(EX_UNAVAILABLE)


def _rewrite(path: Path) -> None:
    try:
        if rewrite_if_old(path):
            log.info("store_rewritten", detail="what has expired leaves the disk")
    except (RedisError, OSError) as error:
        detail = f"{type(error).__name__}: what has expired stays on disk until it succeeds"
        log.warning("store_not_rewritten", detail=detail)
