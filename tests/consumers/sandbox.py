"""A sandbox as `make run` starts it, and what it prints."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.harness import running


@dataclass(frozen=True)
class Sandbox:
    url: str
    simulator: str
    public_key: str
    secret_key: str

    def calls(self, phone: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = httpx.get(f"{self.simulator}/calls/{phone.lstrip('+')}").json()["calls"]
        return answer

    def code(self, phone: str) -> str:
        """The code of the last call to a phone."""
        return str(self.calls(phone)[0]["code"])

    def trust(self) -> dict[str, str]:
        """The settings that the guides name."""
        return {
            "TOKEN_JWKS": f"{self.url}/.well-known/jwks.json",
            "TOKEN_ISSUER": "lastdigits",
            "TOKEN_AUDIENCE": "sandbox-backend",
            "ALLOW_TEST_PHONES": "1",
            "VERIFY_URL": self.url,
            "VERIFY_KEY": self.secret_key,
        }


@contextmanager
def sandboxed(directory: Path, **settings: str) -> Iterator[Sandbox]:
    given = {"PORT": "0", "SIMULATOR_PORT": "0", "LOG_FORMAT": "json"} | settings
    environ = {f"LASTDIGITS_{name}": value for name, value in given.items()}
    directory.mkdir(parents=True, exist_ok=True)

    def ready(output: str) -> str | None:
        return output if "startup complete" in output else None

    with running(["serve"], environ, directory / "log", ready) as (_, output):
        printed = dict(re.findall(r"^ +(Service|Simulator|Public key|Secret key) +(\S+)", output, re.MULTILINE))
        yield Sandbox(printed["Service"], printed["Simulator"], printed["Public key"], printed["Secret key"])


def as_served(script: str, sandbox: Sandbox) -> str:
    """With the addresses and keys of this sandbox in place of the page's."""
    changes = {
        "http://127.0.0.1:8000": sandbox.url,
        "http://127.0.0.1:8001": sandbox.simulator,
        "sk_…": sandbox.secret_key,
        "pk_…": sandbox.public_key,
        ".venv/bin/lastdigits": f"{sys.executable} -m app.cli",
    }
    for shown_as, real in changes.items():
        script = script.replace(shown_as, real)
    return script
