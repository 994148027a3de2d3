"""`lastdigits serve | policy | doctor | keys | openapi | simulator`: the command line, a file for each command."""

import argparse
import os
import shutil
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from app.processes import EX_CONFIG, StartError
from app.verification.errors import LastdigitsError

COMMANDS = {
    "serve": "run the service: a sandbox while nothing of production is configured",
    "policy": "show what the settings add up to: probabilities, calls, money",
    "doctor": "test the settings, Redis, the provider, the clock and the keys; without options it changes nothing",
    "keys": "make, list and check the keys of clients, and those that sign verification tokens",
    "openapi": "print the OpenAPI document, for client generators",
    "simulator": "run the provider's stand-in alone",
}
"""Each is a module of this package, imported when it is called: with `run`, and with `configure` if it has arguments."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the process's exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="lastdigits", description="Self-hosted phone verification by flash call.")
    parser.add_argument("--version", action="version", version=f"lastdigits {version('lastdigits')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if given[:1] == [name]:
            module = import_module(f"app.cli.{name}")
            if hasattr(module, "configure"):
                module.configure(command)
            command.set_defaults(run=module.run)
    options = parser.parse_args(given)
    try:
        return int(options.run(options))
    except LastdigitsError as error:
        complain(str(error))
        return error.status if isinstance(error, StartError) else EX_CONFIG
    except BrokenPipeError:
        return 0


def say(*lines: str) -> None:
    """Print a command's answer."""
    print(as_called("\n".join(lines)), flush=True)  # noqa: T201  a command's answer


def complain(*lines: str) -> None:
    """Print what is wrong, or what must not be in a command's answer, on standard error."""
    print("lastdigits: " + as_called("\n".join(lines)), file=sys.stderr)  # noqa: T201  a command's complaint


def as_called(text: str) -> str:
    """A text whose commands, written `lastdigits keys` in it, are spelled the way this process was called: they can be pasted."""
    return text.replace("`lastdigits ", f"`{_program()} ")


def _program() -> str:
    """How this program was called: `lastdigits` from the PATH, `.venv/bin/lastdigits`, `python -m app.cli`."""
    called = Path(sys.argv[0])
    if called.name != "lastdigits":
        return f"{os.path.relpath(sys.executable)} -m app.cli"
    found = shutil.which("lastdigits")
    if found and Path(found).absolute() == called.absolute():
        return "lastdigits"
    near = os.path.relpath(called)
    return str(called) if near.startswith("..") else near
