"""Backends that accept verification tokens or verify a phone by themselves: a page's code, each in a process of its own."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.consumers.page import CLIENT, ENVIRON
from tests.harness import ROOT

APPS = ROOT / "tests" / "consumers" / "apps"


def trust(jwks: str, issuer: str | None = "lastdigits", audience: str | None = "backend") -> dict[str, str]:
    """A backend's three settings; what is None is not set."""
    given = {"TOKEN_JWKS": jwks, "TOKEN_ISSUER": issuer, "TOKEN_AUDIENCE": audience}
    return {name: value for name, value in given.items() if value is not None}


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
def python_backend(stack: str, code: str, directory: Path, environ: dict[str, str]) -> Iterator[Backend]:
    """Run our Django or FastAPI app with the code as its module `verification`."""
    (directory / "verification.py").write_text(code, "utf-8")
    command = [sys.executable, str(APPS / f"{stack}_app.py")]
    with _running(command, directory, {"PYTHONPATH": f"{directory}:{CLIENT}"} | environ) as http:
        yield Backend(http)


@contextmanager
def node_backend(code: str, directory: Path, modules: Path, environ: dict[str, str]) -> Iterator[Backend]:
    """Run our Express app with the code as its module `verification.mjs`."""
    (directory / "verification.mjs").write_text(code, "utf-8")
    shutil.copy(APPS / "express_app.mjs", directory)
    (directory / "node_modules").symlink_to(modules, target_is_directory=True)
    with _running(["node", "express_app.mjs"], directory, environ) as http:
        yield Backend(http)


@contextmanager
def php_site(pages: dict[str, str], directory: Path, environ: dict[str, str]) -> Iterator[httpx.Client]:
    """Run PHP's own server over these pages, with clients/php beside them."""
    for name, code in pages.items():
        (directory / name).write_text(code, "utf-8")
    shutil.copy(ROOT / "clients" / "php" / "lastdigits.php", directory)
    with _running(["php", "-d", "display_errors=0", "-S", "127.0.0.1:0", "-t", "."], directory, environ) as http:
        yield http


@contextmanager
def _running(command: list[str], directory: Path, environ: dict[str, str]) -> Iterator[httpx.Client]:
    """Run a server that writes its address first, until the block ends; yields a client that keeps cookies as a browser does."""
    log = directory / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=directory, env=ENVIRON | environ, stdout=output, stderr=output) as process,
    ):
        try:
            while not (address := re.search(r"http://127\.0\.0\.1:\d+", log.read_text("utf-8", "replace"))):
                assert process.poll() is None, log.read_text("utf-8", "replace")
                time.sleep(0.02)
            with httpx.Client(base_url=address[0], timeout=30) as http:
                yield http
        finally:
            process.terminate()
