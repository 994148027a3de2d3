"""Every relative link in the documents leads to a file that is there, and every anchor to a heading of it."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "clients/*/*.md")
    for page in ROOT.glob(pattern)
    if "node_modules" not in page.parts
)

_FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
_FOREIGN = re.compile(r"[a-z]+:")


def links(text: str) -> list[str]:
    """The targets of a page's links, code aside."""
    prose = _CODE.sub("`code`", _FENCED.sub("", text))
    return [target for target in _LINK.findall(prose) if not _FOREIGN.match(target)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = _FENCED.sub("", page.read_text("utf-8"))
    made: list[str] = []
    for heading in _HEADING.findall(text):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        made.append(f"{slug}-{made.count(slug)}" if slug in made else slug)
    return frozenset(made)


def broken(page: Path, target: str) -> str | None:
    """What is wrong with a link; None: nothing."""
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return f"{target}: there is no such file"
    if anchor and anchor not in anchors(there):
        return f"{target}: there is no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [found for target in links(page.read_text("utf-8")) if (found := broken(page, target))] == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n[a](#one-two-three) [b](#one) [c](none.md) `[d](e)` [f](https://x)\n", "utf-8")
    found = [broken(page, target) for target in links(page.read_text("utf-8"))]
    assert found == [None, "#one: there is no such heading", "none.md: there is no such file"]
