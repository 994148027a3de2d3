"""Commands in this process, as far as no process of their own is what is tested; and how to wait for a process."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from app.cli import main
from tests.harness import MAX_START


class Done(NamedTuple):
    status: int
    out: str
    err: str


Command = Callable[..., Done]


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + MAX_START
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `lastdigits …` in an empty directory with these settings and no other."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("LASTDIGITS_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, **settings: str) -> Done:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(f"LASTDIGITS_{name}", value)
            capsys.readouterr()
            try:
                status = main(list(arguments))
            except SystemExit as ending:  # argparse
                status = int(ending.code or 0)
            return Done(status, *capsys.readouterr())

    return run
