"""SIGHUP: every process reads the files of clients and of signing keys again, without a restart. An invalid file changes nothing, and the log says why."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from app.api.clients import ClientsError, load_clients
from app.settings import Settings, read_signing_keys
from app.verification.signing_keys import SigningKeyError, parse_signing_keys

if TYPE_CHECKING:  # the supervisor reads files too, and needs nothing of what answers requests
    from app.api.auth import Service
    from app.telemetry.metrics import Metrics

_HAD_TERMINAL = os.isatty(2)
"""Whether a person watched this process at its start."""

log = structlog.get_logger()


def read_again(settings: Settings) -> Settings:
    """The settings with what is in the files now; of an invalid file, with what it held before."""
    if settings.clients_file:
        with _logged("clients_not_reloaded"):
            settings = replace(settings, clients=load_clients(settings.clients_file, settings.policy))
    if settings.signing_keys_file:
        with _logged("signing_keys_not_reloaded"):
            settings = replace(settings, signing_keys=read_signing_keys(settings.signing_keys_file))
    return settings


@contextmanager
def _logged(event: str) -> Iterator[None]:
    """Log what keeps a file from being used, and go on: whatever it holds, the service runs."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  as said above
        reason = str(error) if isinstance(error, ClientsError | SigningKeyError) else type(error).__name__
        log.error(event, detail=f"{reason}; what was in force stays in force")  # noqa: TRY400  a traceback would show the file


def reload_on_hangup(settings: Settings, service: "Service", metrics: "Metrics") -> None:
    """From now on put into force what is in the files whenever SIGHUP comes. For the event loop of the process's main thread.

    The log names the files that are in force then, and for each other one why it is not; a gauge shows which it was.
    """

    def reload() -> None:
        nonlocal settings
        if hung_up():
            os.kill(os.getpid(), signal.SIGTERM)
            return
        before, settings = settings, read_again(settings)
        valid = {}
        if settings.clients_file and settings.clients:
            service.clients = settings.clients
            valid["clients"] = settings.clients is not before.clients
        if settings.signing_keys_file and settings.signing_keys:
            service.tokens.adopt(parse_signing_keys(settings.signing_keys.get_secret_value()))
            valid["signing_keys"] = settings.signing_keys is not before.signing_keys
        for file, successful in valid.items():
            metrics.set_reloaded(file, successful=successful)
        if files := [file for file, successful in valid.items() if successful]:
            signs_with, clients = service.tokens.signs_with, len(service.clients)
            log.info("reloaded", files=files, clients=clients, signs_with=signs_with, pid=os.getpid())

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def hung_up() -> bool:
    """Whether SIGHUP came because the terminal is gone: then it means what it always meant there, the end.

    For a service that never had one, under systemd or in a container, it means to reload.
    """
    if not _HAD_TERMINAL:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return True
    return False
