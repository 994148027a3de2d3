"""axe-core: what it finds on a page as it stands."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page


def violations(page: Page, tools: Path) -> list[str]:
    """Each rule that the page breaks, with the elements. It looks when what appears has appeared: a half-transparent text has no contrast."""
    page.wait_for_timeout(500)
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((tools / "axe-core" / "axe.min.js").read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
