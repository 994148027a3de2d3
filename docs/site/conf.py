"""The documents as a site: `make docs`. The pages stay plain Markdown, which GitHub shows as well; the sources' root is the repository's.

Why Sphinx, with MyST and Furo: it reads pages outside docs/ (README.md, deploy/, clients/), fails on a broken link or anchor, searches without a server, asks
no other host, and is maintained. In autumn 2026 MkDocs had seen no release for two years and its Material theme was ending; Zensical, its successor, was at 0.x
and knew one folder and one language; VitePress and Starlight need a lock of npm's.
"""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

project = "lastdigits"
language = "en"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "deploy/**", "clients/**"]
exclude_patterns = ["**/node_modules", "docs/site"]
suppress_warnings = [
    "misc.highlighting_failure"
]  # Pygments' JSX knows no custom elements, and colours them all the same
myst_heading_anchors = 4  # the anchors that GitHub makes

html_theme = "furo"
html_title = "lastdigits"
html_favicon = "favicon.svg"
html_use_index = False
html_copy_source = False
html_show_copyright = False
templates_path = ["templates"]
html_additional_pages = {"index": "index.html"}

CONTENTS = Path(__file__).with_name("contents.md").read_text("utf-8")


def add_contents(_: Sphinx, page: str, source: list[str]) -> None:
    """Put the table of contents into the first page; GitHub would show its directives as code."""
    if page == root_doc:
        source[0] += CONTENTS


def set_language(_app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """Say in the page itself that it is Russian: for screen readers and hyphenation."""
    if page.endswith(".ru") or "/ru/" in page:
        context["language"] = "ru"


def setup(app: Sphinx) -> None:
    """Connect both to Sphinx's events."""
    app.connect("source-read", add_contents)
    app.connect("html-page-context", set_language)
