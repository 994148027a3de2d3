"""The sandbox's pages: the demo on `/`, with what it reads of the simulator and of the policy, and the API's documentation on `/docs`.

They exist in the sandbox only. The secret key stays on the server: the page gets what the policy says, not the key.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from string import Template
from typing import Any
from urllib.parse import parse_qs

import httpx2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.web.routes import answer, load, static_file, static_route, widget_files

_TIMEOUT = 5.0
_SHOWN_CALLS = 20

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self'",
    "require-trusted-types-for 'script'",
    "trusted-types lastdigits",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_NOT_KEPT = {"Cache-Control": "no-store"}
# Swagger UI sets styles of its own and shows pictures from data: URLs. It makes markup from strings, so it takes no Trusted Types.
_DOCS_HEADERS = _PAGE_HEADERS | {
    "Content-Security-Policy": "; ".join(
        (*(part for part in _POLICY if "trusted-types" not in part and "style-src" not in part),
         "style-src 'self' 'unsafe-inline'")
    )
}  # fmt: skip

_RETURNED = Template((files(__package__) / "templates" / "returned.html").read_text("utf-8"))

_VIEWER = "fastapi_offline"
"""The package that ships Swagger UI's files; without it `/docs` names what to install."""

SCENARIOS: Mapping[str, Mapping[str, object] | None] = {
    "fine": None,
    "busy": {"answer": "error", "error_code": "Услуга временно недоступна"},
    "timeout": {"hang": True},
    "slow": {"delay": 6},
    "money": {"answer": "error", "error_code": "not_enough_money"},
}
"""What the simulator does for all numbers, by the name that the page knows; None is what the provider's document says."""


@dataclass(frozen=True, slots=True)
class DemoContext:
    """What the demo page needs of the sandbox.

    Attributes:
        simulator_url: `http://127.0.0.1:8001`.
        public_key: of the sandbox's web client: the page shows it.
        secret_key: of the sandbox's backend: the server reads the policy by it.
        capped_key: a public key whose client may spend on one call an hour.
    """

    simulator_url: str
    public_key: str
    secret_key: str = field(repr=False)
    capped_key: str


def demo_routes(context: DemoContext) -> list[Route]:
    """The routes of the demo page and of the documentation."""
    static = load(files(__package__) / "static" / "demo")
    demo = _Demo(context)

    async def page(request: Request) -> Response:
        return answer(request, static["index.html"], _PAGE_HEADERS)

    return [
        Route("/", page, methods=["GET"]),
        Route("/demo/returned", demo.returned, methods=["POST"]),
        Route("/demo/context", demo.context, methods=["GET"]),
        Route("/demo/calls", demo.calls, methods=["GET"]),
        Route("/demo/policy", demo.policy, methods=["GET"]),
        Route("/demo/scenario", demo.choose_scenario, methods=["PUT"]),
        static_route("/demo", static, _PAGE_HEADERS),
        *_docs_routes(),
    ]


class _Demo:
    """What the page asks for while it is open."""

    def __init__(self, context: DemoContext) -> None:
        self._simulator = context.simulator_url
        self._key = {"Authorization": f"Bearer {context.secret_key}"}
        self._shown = {
            "public_key": context.public_key,
            "capped_key": context.capped_key,
            "integrity": widget_files()["phone-verify.js"].integrity,
            "docs": find_spec(_VIEWER) is not None,
        }

    async def context(self, _: Request) -> Response:
        """The public keys, and the widget's hash for the lines to paste."""
        return JSONResponse(self._shown, headers=_NOT_KEPT)

    async def calls(self, _: Request) -> Response:
        """The newest calls that the simulator placed."""
        return await _ask("GET", f"{self._simulator}/calls", params={"limit": _SHOWN_CALLS})

    async def policy(self, request: Request) -> Response:
        """`GET /policy` of this service."""
        return await _ask("GET", f"{_own_address(request)}/policy", headers=self._key)

    async def returned(self, request: Request) -> Response:
        """Where the hosted page returns to: what it brought, and what a backend learns of the token."""
        brought = parse_qs((await request.body()).decode("utf-8", "replace"))
        fields = {name: values[0] for name, values in brought.items()}
        redeemed = ""
        if token := fields.get("token"):
            url = f"{_own_address(request)}/verify/redeem"
            answer = await _ask("POST", url, headers=self._key, json={"token": token})
            redeemed = json.dumps(json.loads(bytes(answer.body)), indent=2)
        html = _RETURNED.substitute(
            fields=escape(json.dumps(fields, indent=2)), redeemed=escape(redeemed), state="" if redeemed else "hidden"
        )
        return HTMLResponse(html, headers=_PAGE_HEADERS | _NOT_KEPT)

    async def choose_scenario(self, request: Request) -> Response:
        """Have the simulator behave by a named scenario: `{"name": "busy"}`."""
        name = await _scenario_name(request)
        if name not in SCENARIOS:
            raise HTTPException(404)
        behaviour, url = SCENARIOS[name], f"{self._simulator}/behaviour"
        return await (_ask("DELETE", url) if behaviour is None else _ask("PUT", url, json=behaviour))


def _own_address(request: Request) -> str:
    """This service, at the socket that took this request: never at an address that a header names."""
    host, port = request.scope["server"]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _scenario_name(request: Request) -> str:
    """Which scenario a body names; an empty name for anything else. Only JSON counts: a form of another site can't send it."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        return ""
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return ""
    name = body.get("name") if isinstance(body, dict) else None
    return name if isinstance(name, str) else ""


async def _ask(method: str, url: str, **options: Any) -> Response:  # noqa: ANN401  options of the HTTP client
    """Ask the simulator or the service, and hand the answer on; 502 if there is none."""
    try:
        async with httpx2.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
            got = await client.request(method, url, **options)
    except httpx2.TransportError:
        return JSONResponse({"error": "no answer"}, 502)
    return Response(got.content, got.status_code, _NOT_KEPT, got.headers.get("Content-Type"))


def _docs_routes() -> list[Route]:
    """`/docs`: Swagger UI over `/openapi.json`, from files of this machine; nothing where its package is not installed."""
    if find_spec(_VIEWER) is None:
        return []
    own = load(files(__package__) / "static" / "docs")
    viewer = files(_VIEWER) / "static"
    served = own | {name: static_file(viewer / name) for name in ("swagger-ui-bundle.js", "swagger-ui.css")}

    async def page(request: Request) -> Response:
        return answer(request, own["index.html"], _DOCS_HEADERS)

    return [Route("/docs", page, methods=["GET"]), static_route("/docs", served, _DOCS_HEADERS)]
