"""The code that our pages show: the page is its only source."""

import re
from pathlib import Path

from tests.harness import ROOT

PAGE = ROOT / "docs" / "token.md"
CLIENTS = ROOT / "docs" / "clients.md"
GUIDES = ROOT / "docs" / "guides"

_SECTION = re.compile(r"^##+ (?P<name>.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```\w+\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def snippet(stack: str, page: Path = PAGE) -> str:
    """The first fenced block under a stack's heading, as it stands."""
    text = page.read_text("utf-8")
    starts = {match["name"]: match.end() for match in _SECTION.finditer(text)}
    block = _BLOCK.search(text, starts[stack])
    assert block, f"no code under {stack}"
    return block["code"]


def marked(page: Path) -> dict[str, str]:
    """The fenced blocks that a comment `<!-- run: NAME -->` stands before, by name."""
    blocks = re.finditer(r"^<!-- run: (\S+) -->\n```\w+\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return {block[1]: block[2] for block in blocks}


def shown(name: str) -> str:
    """A piece of a guide's code, by the name of its marker."""
    pages = (GUIDES / "en").glob("*.md")
    return next(blocks[name] for page in pages if name in (blocks := marked(page)))
