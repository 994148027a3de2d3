"""The code that our pages show, which are its only source; and the sandbox that it runs against, as `make run` starts it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from lastdigits_client import Client

from tests.harness import ROOT, fresh_phone, running

PAGE = ROOT / "docs" / "token.md"
GUIDES = ROOT / "docs" / "guides"
CLIENT = ROOT / "clients" / "python" / "src"

_SETTINGS = ("LASTDIGITS_", "TOKEN_", "VERIFY_", "ALLOW_TEST")
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
"""What our pages' code finds in its environment: no setting but those that a test gives."""


def snippet(heading: str, page: Path = PAGE) -> str:
    """The first fenced block under a heading, as it stands."""
    _, _, section = page.read_text("utf-8").partition(f"# {heading}\n")
    block = re.search(r"^```\w+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert block, f"no code under {heading}"
    return block[1]


def marked(page: Path) -> dict[str, str]:
    """The fenced blocks that a comment `<!-- run: NAME -->` stands before, by name."""
    blocks = re.finditer(r"^<!-- run: (\S+) -->\n```\w+\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return {block[1]: block[2] for block in blocks}


def shown(name: str) -> str:
    """A piece of a guide's code, by the name of its marker."""
    pages = (GUIDES / "en").glob("*.md")
    return next(blocks[name] for page in pages if name in (blocks := marked(page)))


def run(*command: object, cwd: Path, **environ: str) -> str:
    """What a command that must succeed prints."""
    words = [str(word) for word in command]
    given = ENVIRON | {"PYTHONPATH": f"{ROOT}:{CLIENT}"} | environ
    done = subprocess.run(words, cwd=cwd, env=given, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def shell(script: str, cwd: Path, **environ: str) -> str:
    """Run lines of a page as a person pastes them; returns what they print."""
    return run("bash", "-euc", script, cwd=cwd, **environ)


def verify(url: str, key: str, code_of: Callable[[str], str], purpose: str) -> tuple[str, str]:
    """Verify a phone as its owner would; returns it, and its token."""
    phone = fresh_phone()
    with Client(url, key) as client:
        return phone, client.check(client.start(phone, purpose=purpose).id, code_of(phone)).token


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

    def token(self, purpose: str = "login") -> tuple[str, str]:
        """A phone that was verified here, and its token."""
        return verify(self.url, self.secret_key, self.code, purpose)

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
