"""docs/security.md names a test for each promise: each of them exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (?!promise|---|\*\*)(?P<promise>.+?) \| (?P<how>.+?) \| (?P<tests>.+?) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


def _promises() -> list[re.Match[str]]:
    table = (ROOT / "docs" / "security.md").read_text("utf-8").partition("## Promises")[2].partition("\n## ")[0]
    return list(_ROW.finditer(table))


def test_each_promise_names_a_test_that_exists() -> None:
    promises = _promises()
    assert len(promises) > 30
    missing = []
    for row in promises:
        named = _TEST.findall(row["tests"])
        assert named, row["promise"]
        for file, name in named:
            path = ROOT / file
            if not path.exists() or not re.search(rf"^(async )?def {name}\(", path.read_text("utf-8"), re.MULTILINE):
                missing.append(f"{file}::{name}")
    assert missing == []
