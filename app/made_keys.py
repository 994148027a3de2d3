"""The pepper and the keys that sign, where the service makes them for itself: at its first start, in a directory that holds nothing else."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from app.processes import StartError, ownership, write_private
from app.settings import Settings, read_signing_keys
from app.verification.ids import MIN_PEPPER_BYTES
from app.verification.signing_keys import SigningKeyError, new_signing_key, write_signing_keys


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


def _pepper(path: Path) -> str:
    pepper = kept(path, lambda: secrets.token_hex(32))
    if len(pepper.encode()) < MIN_PEPPER_BYTES:
        raise StartError(f"{path} is cut short: restore it from a backup, or remove it and lose what the store holds")
    return pepper
