"""The code that our pages show: the page is its only source."""

import re
from pathlib import Path

from tests.harness import ROOT

PAGE = ROOT / "docs" / "token.md"
CLIENTS = ROOT / "docs" / "clients.md"

_SECTION = re.compile(r"^##+ (?P<name>.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```\w+\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def snippet(stack: str, page: Path = PAGE) -> str:
    """The first fenced block under a stack's heading, as it stands."""
    text = page.read_text("utf-8")
    starts = {match["name"]: match.end() for match in _SECTION.finditer(text)}
    block = _BLOCK.search(text, starts[stack])
    assert block, f"no code under {stack}"
    return block["code"]
