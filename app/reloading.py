"""SIGHUP: the files of clients and of signing keys are read again, by every process, without a restart.

A file that can't stand changes nothing: what was in force stays in force, and the log says why.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from app.api.auth import Service
from app.api.clients import ClientsError, load_clients
from app.settings import Settings, read_signing_keys
from app.verification.signing_keys import SigningKeyError, parse_signing_keys

log = structlog.get_logger()


def read_again(settings: Settings) -> Settings:
    """The settings with what stands in the files now; of a file that can't stand, with what they held before."""
    if settings.clients_file is None and settings.signing_keys_file is None:
        log.info("nothing_to_reload", detail="neither CLIENTS_FILE nor SIGNING_KEYS_FILE is set")
    if settings.clients_file is not None:
        with _or_as_before("clients_not_reloaded"):
            settings = replace(settings, clients=load_clients(settings.clients_file))
    if settings.signing_keys_file is not None:
        with _or_as_before("signing_keys_not_reloaded"):
            settings = replace(settings, signing_keys=read_signing_keys(settings.signing_keys_file))
    return settings


@contextmanager
def _or_as_before(event: str) -> Iterator[None]:
    """Tell why a file can't stand, and go on with what was in force."""
    fault = ""
    try:
        yield
    except (ClientsError, SigningKeyError) as found:
        fault = str(found)
    except Exception as found:  # noqa: BLE001  whatever stands in a file, a service that runs goes on
        fault = type(found).__name__
    if fault:
        log.error(event, detail=f"{fault}: what was in force before stays in force")


class Reloading:
    """Puts what stands in the files into force in this process, whenever SIGHUP comes."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self._settings = settings
        self._service = service
        self._had_terminal = has_terminal()

    def listen(self) -> None:
        """Hear SIGHUP from now on. For the event loop of the process's main thread."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)

    def reload(self) -> None:
        """Read the files again."""
        if hung_up(had_terminal=self._had_terminal):
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._settings = settings = read_again(self._settings)
        if settings.clients:
            self._service.clients = settings.clients
        if settings.signing_keys:
            self._service.tokens.adopt(parse_signing_keys(settings.signing_keys.get_secret_value()))
        log.info(
            "reloaded", clients=len(self._service.clients), signs_with=self._service.tokens.signs_with, pid=os.getpid()
        )


def has_terminal() -> bool:
    """Whether a person watches this process."""
    return os.isatty(2)


def hung_up(*, had_terminal: bool) -> bool:
    """Whether SIGHUP came because the terminal is gone: then it means what it always meant there, the end.

    Args:
        had_terminal: what `has_terminal` said at the start. A service that never had one, under systemd or in a container, is told to reload.
    """
    if not had_terminal:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return True
    return False
