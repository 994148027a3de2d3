"""A page solves a challenge by the code that docs/clients.md shows, with ALTCHA's own library."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.consumers.page import CLIENTS, snippet
from tests.harness import Simulator, fresh_phone, serving

pytestmark = pytest.mark.node

_ASK = """
const [url, key, phone] = process.argv.slice(2)
const answer = await start(url, key, { phone })
console.log(JSON.stringify({ status: answer.status, body: await answer.json() }))
"""


def test_the_code_that_the_page_shows_solves_a_challenge(tmp_path: Path, simulator: Simulator, modules: Path) -> None:
    script = tmp_path / "page.mjs"
    script.write_text(snippet("Pages: challenges", CLIENTS) + _ASK, "utf-8")
    (tmp_path / "node_modules").symlink_to(modules)
    with serving(tmp_path, simulator.send_url, CHALLENGE="always", WORKERS="1") as service:
        phone = fresh_phone()
        command = ["node", str(script), service.url, service.keys["app"], phone]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        answered = json.loads(done.stdout)
        assert (answered["status"], answered["body"]["status"]) == (201, "pending")
        assert simulator.count(phone) == 1
