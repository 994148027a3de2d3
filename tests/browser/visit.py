"""A person on a page with the widget, and what they see."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page

from tests.harness import fresh_phone


class Visit:
    """A person on a page: what they do and see, and what went wrong behind it.

    Attributes:
        nth: which of the page's widgets they use.
        errors: what the page reported.
        asked: the addresses that it asked for.
    """

    def __init__(self, page: Page, nth: int = 0) -> None:
        self.page, self.nth = page, nth
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._posts: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._sent(request.method, request.url, request.post_data, request.headers))

    def go(self, url: str) -> Self:
        self.page.goto(url)
        self.widget.locator(".card").wait_for()
        return self

    # A refusal is not an error of the page: Chromium logs each 4xx.
    def _heard(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and "Failed to load resource" not in text:
            self.errors.append(text)

    def _sent(self, method: str, url: str, body: str | None, headers: dict[str, str]) -> None:
        self.asked.append(url)
        if method == "POST" and headers.get("content-type") == "application/json":
            self._posts.append((urlsplit(url).path, json.loads(body or "{}"), headers))

    def sent(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body, _ in self._posts if asked == path]

    def keys(self) -> set[str]:
        """The idempotency keys of all starts."""
        return {headers["idempotency-key"] for path, _, headers in self._posts if path == "/verify/start"}

    @property
    def widget(self) -> Locator:
        return self.page.locator("phone-verify").nth(self.nth)

    def find(self, selector: str, has_text: str | None = None) -> Locator:
        return self.widget.locator(selector, has_text=has_text)

    def step(self, name: str, timeout: float = 30_000) -> None:
        """Wait for a step; milliseconds."""
        self.find(f".card[data-step={name}]").wait_for(timeout=timeout)

    def ask(self, phone: str | None = None) -> str:
        """Ask for a call; returns the phone."""
        phone = phone or fresh_phone()
        self.find("#phone").fill(phone)
        self.find("#phone").press("Enter")
        return phone

    def start(self, phone: str | None = None) -> str:
        """Have a phone called; returns it."""
        phone = self.ask(phone)
        self.step("code")
        return phone

    def click_twice(self, across: float, down: float) -> None:
        """Double-click on a point of the button that asks for a call."""
        box = self.find("button.primary").first.bounding_box()
        assert box
        self.page.mouse.dblclick(box["x"] + box["width"] * across, box["y"] + box["height"] * down)

    def type_code(self, code: str) -> None:
        self.find("#code").press_sequentially(code)

    def approve(self, code: str) -> None:
        self.type_code(code)
        self.step("approved")

    def paste(self, text: str) -> None:
        """Paste as a browser does: the field gets the event with the clipboard's text."""
        self.find("#code").evaluate(
            """(field, text) => {
                const data = new DataTransfer();
                data.setData("text", text);
                field.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
            }""",
            text,
        )

    def token(self) -> str:
        return str(self.widget.evaluate("element => element.value"))

    def violations(self, tools: Path) -> list[str]:
        return violations(self.page, tools)

    def fits(self) -> bool:
        """Whether nothing is wider than the screen."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    def lose_answers(self, path: str, times: int) -> None:
        """Let requests through, and lose their answers on the way back."""

        def lose(route: Any) -> None:
            route.fetch()
            route.abort("connectionreset")

        self.page.route(f"**{path}", lose, times=times)


Open = Callable[..., Visit]


def violations(page: Page, tools: Path) -> list[str]:
    """Each rule of axe-core that the page breaks, with the elements. It looks when what appears has appeared: a half-transparent text has no contrast."""
    page.wait_for_timeout(500)
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((tools / "axe-core" / "axe.min.js").read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
