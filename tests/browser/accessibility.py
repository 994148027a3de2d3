"""axe-core: what it finds on a page as it stands."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page


def violations(page: Page, tools: Path) -> list[str]:
    """Each rule that the page breaks, with the elements; the page's animations are over before it looks."""
    page.evaluate("() => Promise.all(document.getAnimations({subtree: true}).map(({finished, effect}) => effect.getComputedTiming().iterations === Infinity ? 0 : finished.catch(() => 0)))")
    page.wait_for_timeout(400)  # those within shadow roots
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((tools / "axe-core" / "axe.min.js").read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
