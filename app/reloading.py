"""SIGHUP: every process reads the files of clients and of signing keys again, without a restart. An invalid file changes nothing, and the log says why."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from app.api.clients import ClientsError, load_clients
from app.settings import Settings, read_signing_keys
from app.verification.signing_keys import SigningKeyError, parse_signing_keys

if TYPE_CHECKING:  # the supervisor reads files too, and needs nothing of what answers requests
    from app.api.auth import Service

log = structlog.get_logger()


def read_again(settings: Settings) -> Settings:
    """The settings with what is in the files now; of an invalid file, with what it held before."""
    clients, keys = settings.clients_file, settings.signing_keys_file
    if clients:
        settings = _changed(
            settings, "clients_not_reloaded", lambda: {"clients": load_clients(clients, settings.policy)}
        )
    if keys:
        settings = _changed(settings, "signing_keys_not_reloaded", lambda: {"signing_keys": read_signing_keys(keys)})
    return settings


def _changed(settings: Settings, event: str, read: Callable[[], dict[str, object]]) -> Settings:
    try:
        return replace(settings, **read())  # type: ignore[arg-type]  # one member of it, by its name
    except (ClientsError, SigningKeyError) as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001  whatever a file holds, a service that runs goes on
        reason = type(error).__name__
    log.error(event, detail=f"{reason}; what was in force stays in force")
    return settings


class Reloading:
    """Puts what is in the files into force in this process, whenever SIGHUP comes."""

    def __init__(self, settings: Settings, service: "Service") -> None:
        self._settings = settings
        self._service = service
        self._had_terminal = has_terminal()

    def listen(self) -> None:
        """React to SIGHUP from now on. For the event loop of the process's main thread."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)

    def reload(self) -> None:
        """Read the files again. The log names those that are in force now, and for each other one why it is not."""
        if hung_up(had_terminal=self._had_terminal):
            os.kill(os.getpid(), signal.SIGTERM)
            return
        before, after = self._settings, read_again(self._settings)
        self._settings = after
        files = []
        if after.clients and after.clients is not before.clients:
            self._service.clients = after.clients
            files.append("clients")
        if after.signing_keys and after.signing_keys is not before.signing_keys:
            self._service.tokens.adopt(parse_signing_keys(after.signing_keys.get_secret_value()))
            files.append("signing_keys")
        if files:
            signs_with = self._service.tokens.signs_with
            log.info(
                "reloaded", files=files, clients=len(self._service.clients), signs_with=signs_with, pid=os.getpid()
            )
        elif not (after.clients_file or after.signing_keys_file):
            log.info("nothing_to_reload", detail="neither CLIENTS_FILE nor SIGNING_KEYS_FILE is set")


def has_terminal() -> bool:
    """Whether a person watches this process."""
    return os.isatty(2)


def hung_up(*, had_terminal: bool) -> bool:
    """Whether SIGHUP came because the terminal is gone: then it means what it always meant there, the end.

    Args:
        had_terminal: what `has_terminal` returned at the start. For a service that never had one, under systemd or in a container, SIGHUP means reload.
    """
    if not had_terminal:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return True
    return False
