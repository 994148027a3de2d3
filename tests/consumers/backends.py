"""Backends that accept verification tokens: the page's code beside the smallest app of its stack, each in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.harness import ROOT

APPS = ROOT / "tests" / "consumers" / "apps"
CLIENT = ROOT / "clients" / "python" / "src"


@dataclass(frozen=True)
class Trust:
    """A backend's three settings."""

    jwks: str
    issuer: str = "lastdigits"
    audience: str = "backend"

    def environ(self) -> dict[str, str]:
        return {"TOKEN_JWKS": self.jwks, "TOKEN_ISSUER": self.issuer, "TOKEN_AUDIENCE": self.audience}


@dataclass(frozen=True)
class Backend:
    http: httpx.Client

    def login(self, token: str) -> httpx.Response:
        # By hand, for tokens that are no UTF-8.
        body = json.dumps({"token": token, "phone_token": token}).encode()
        return self.http.post("/login", content=body, headers={"Content-Type": "application/json"})

    def phone(self, token: str) -> str:
        """The phone that it reads from a token it accepts."""
        answer = self.login(token)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["phone"])

    def refuses(self, token: str) -> bool:
        """Whether it refuses the token by itself: a crash is no refusal."""
        answer = self.login(token)
        assert answer.status_code in {200, 403}, answer.text
        return answer.status_code == 403


@contextmanager
def python_backend(app: str, code: str, directory: Path, environ: dict[str, str]) -> Iterator[Backend]:
    """Run one of our apps with the code as its module `verification`."""
    (directory / "verification.py").write_text(code, "utf-8")
    with _running([sys.executable, str(APPS / f"{app}_app.py")], directory, environ) as backend:
        yield backend


@contextmanager
def node_backend(
    code: str, directory: Path, modules: Path, environ: dict[str, str], app: str = "express"
) -> Iterator[Backend]:
    """Run one of our Express apps with the code as its module `verification.mjs`."""
    (directory / "verification.mjs").write_text(code, "utf-8")
    (directory / "app.mjs").write_bytes((APPS / f"{app}_app.mjs").read_bytes())
    (directory / "node_modules").symlink_to(modules, target_is_directory=True)
    with _running(["node", "app.mjs"], directory, environ) as backend:
        yield backend


@contextmanager
def _running(command: list[str], directory: Path, settings: dict[str, str]) -> Iterator[Backend]:
    """Run an app until the block ends. Its first line of output is its address."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("TOKEN_", "VERIFY_", "ALLOW_TEST"))
    }
    log = directory / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            cwd=directory,
            env=environ | {"PYTHONPATH": f"{directory}:{CLIENT}"} | settings,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout
            address = process.stdout.readline().strip()
            assert address, f"it did not start:\n{log.read_text('utf-8', 'replace')}"
            with httpx.Client(base_url=address, timeout=30) as http:
                yield Backend(http)
        finally:
            process.terminate()


@contextmanager
def php_site(directory: Path, environ: dict[str, str]) -> Iterator[httpx.Client]:
    """PHP's own server over a folder of pages; its client keeps cookies as a browser does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = (directory / "log").open("wb")
    command = ["php", "-d", "display_errors=0", "-S", f"127.0.0.1:{port}", "-t", str(directory)]
    with log, subprocess.Popen(command, env=os.environ | environ, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                wait_for(http)
                yield http
        finally:
            process.terminate()


def wait_for(http: httpx.Client) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            http.get("/")
            return
        time.sleep(0.05)
    raise AssertionError("PHP's server did not start")
