"""ALTCHA's own library solves what the service makes, at more than one level, by the code that docs/challenges.md shows."""

import json
import subprocess
from pathlib import Path

import pytest

from app.challenges.altcha import Altcha
from tests.consumers.page import snippet
from tests.harness import ROOT

pytestmark = pytest.mark.node

_SOLVE = "console.log(await solve(JSON.parse(process.argv[2])))"


@pytest.mark.parametrize("level", [0, 2])
async def test_the_code_that_the_page_shows_proves_the_level(tmp_path: Path, modules: Path, level: int) -> None:
    altcha = Altcha(b"k" * 32)
    script = tmp_path / "page.mjs"
    script.write_text(snippet("ALTCHA in a page", ROOT / "docs" / "challenges.md") + _SOLVE, "utf-8")
    (tmp_path / "node_modules").symlink_to(modules)
    command = ["node", str(script), json.dumps(altcha.challenge("web", level))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221  nothing else runs
    assert done.returncode == 0, done.stderr
    solved = await altcha.verify(done.stdout.strip(), "web", None)
    assert solved is not None
    assert solved.level == level
