"""The sandbox as a newcomer starts it: no setting but free ports, and limits that a test suite does not use up."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.harness import logged_address, running


@dataclass(frozen=True)
class Sandbox:
    url: str
    simulator: httpx.Client
    secret_key: str

    def code(self, phone: str) -> str:
        return str(self.simulator.get(f"/calls/{phone.lstrip('+')}").json()["calls"][0]["code"])

    def count(self, phone: str) -> int:
        return int(self.simulator.get(f"/calls/{phone.lstrip('+')}").json()["count"])


@contextmanager
def sandbox_at(directory: Path, **settings: str) -> Iterator[Sandbox]:
    """Run the sandbox in a directory of its own.

    Args:
        directory: where its files are.
        settings: without their prefix.
    """
    environ = {
        "LASTDIGITS_PORT": "0",
        "LASTDIGITS_SIMULATOR_PORT": "0",
        "LASTDIGITS_LOG_FORMAT": "json",
        "LASTDIGITS_CALLS_PER_IP": "10000/hour",
    } | {f"LASTDIGITS_{name}": value for name, value in settings.items()}
    with running(["serve"], environ, directory / "log", _ready) as (_, url):
        output = (directory / "log").read_text("utf-8")
        simulator, secret = (re.search(rf"{name}\s+(\S+)", output) for name in ("Simulator", "Secret key"))
        assert simulator
        assert secret
        with httpx.Client(base_url=simulator[1], timeout=10) as http:
            yield Sandbox(url, http, secret[1])


def _ready(output: str) -> str | None:
    """Its address, once it answers there."""
    address = logged_address(output)
    if address is None:
        return None
    try:
        return address if httpx.get(f"{address}/readyz").status_code == 200 else None
    except httpx.TransportError:
        return None
