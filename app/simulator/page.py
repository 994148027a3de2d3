"""The page for people: one document that loads nothing, put together from its three parts."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and the policy that lets its own style and script run and nothing else."""

    html: str
    policy: str


def page() -> Page:
    """Put the page together."""
    html, style, script = (files(__package__).joinpath(f"page.{kind}").read_text("utf-8") for kind in _KINDS)
    whole = html.replace("/* page.css */", style).replace("/* page.js */", script)
    return Page(whole, "; ".join((*_POLICY, f"style-src {_digest(style)}", f"script-src {_digest(script)}")))


_KINDS = ("html", "css", "js")
_POLICY = (
    "default-src 'none'",
    "connect-src 'self'",
    "img-src data:",  # the empty icon, without which browsers ask for /favicon.ico
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "form-action 'none'",
)


def _digest(text: str) -> str:
    """An element's content as a policy names it (CSP Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
