"""What each level of an ALTCHA challenge costs who solves it, and what a check costs the service: the table of docs/challenges.md.

NODE_MODULES=/path/to/node_modules python -m bench.challenges     needs node, Chromium, and altcha-lib installed there; some 20 seconds

A level's time is that of one try, times the tries that a solver needs on average: solving the highest level often enough would take minutes.
"""

import asyncio
import base64
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from app.challenges.altcha import Altcha
from app.verification.challenge import MAX_LEVEL

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SOLVER = Path(os.environ["NODE_MODULES"]).resolve() / "altcha-lib" / "dist" / "esm" / "v2"
RUNS = 4

TRY = """
async (module, parameters) => {
  const { deriveKey } = await import(module)
  const password = new Uint8Array(20), salt = new Uint8Array(16), tries = 500
  const begun = performance.now()
  for (let n = 0; n < tries; n++) { password[19] = n; await deriveKey(parameters, salt, password) }
  return (performance.now() - begun) / tries / 1000
}
"""
"""JavaScript: seconds for one try, by the code that solves challenges in pages."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the base's name
        pass


@contextmanager
def _files() -> Iterator[str]:
    """Serve the solver on loopback: a page has WebCrypto there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=SOLVER))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def in_chromium(challenges: list[dict[str, Any]]) -> list[float]:
    """Seconds for one try at each challenge."""
    with _files() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}/index.js")
        call = f"(p) => ({TRY})('/algorithms/web/pbkdf2.js', p)"
        seconds = [min(float(page.evaluate(call, made["parameters"])) for _ in range(RUNS)) for made in challenges]
        browser.close()
    return seconds


def in_node(challenges: list[dict[str, Any]]) -> list[float]:
    """The same in node."""
    module = (SOLVER / "algorithms" / "web" / "pbkdf2.js").as_uri()
    script = f"""const once = {TRY}
    for (const parameters of {json.dumps([made["parameters"] for made in challenges])}) {{
      let best = Infinity
      for (let run = 0; run < {RUNS}; run++) best = Math.min(best, await once({json.dumps(module)}, parameters))
      console.log(best)
    }}"""
    command = ["node", "--input-type=module", "--eval", script]
    return [float(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


async def check(altcha: Altcha, challenge: dict[str, Any]) -> float:
    """Seconds that the service needs to check a solution. A wrong one costs as much as a right one."""
    payload = {"challenge": challenge, "solution": {"counter": 0, "derivedKey": "00" * 32}}
    solution = base64.b64encode(json.dumps(payload).encode()).decode()
    best = float("inf")
    for _ in range(50):
        begun = time.perf_counter()
        assert await altcha.verify(solution, "web", None) is None
        best = min(best, time.perf_counter() - begun)
    return best


def main() -> None:
    altcha = Altcha(b"k" * 32)
    challenges: list[dict[str, Any]] = [altcha.challenge("web", level) for level in range(MAX_LEVEL + 1)]
    print("| level | tries | iterations a try | Chromium | node | a check |\n|---|---|---|---|---|---|")
    for level, (made, chromium, node) in enumerate(
        zip(challenges, in_chromium(challenges), in_node(challenges), strict=True)
    ):
        parameters = made["parameters"]
        tries = 16 ** len(parameters["keyPrefix"])
        cost = asyncio.run(check(altcha, made)) * 1000
        print(
            f"| {level} | {tries:,} | {parameters['cost']:,} | {chromium * tries:.1f} s | {node * tries:.1f} s | {cost:.2f} ms |"
        )


if __name__ == "__main__":
    main()
