"""The routes for tests and people. They need no key: the simulator listens on loopback by default."""

import base64
import hashlib
from importlib.resources import files
from itertools import islice

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.simulator.behaviour import Behaviour, Behaviours
from app.simulator.calls import NUMBER, Calls

_MAX_LIMIT_DIGITS = 9
_BAD_NUMBER = ("number", "write the number as the provider gets it: 7 to 15 digits and nothing else, 79991234567")
_BAD_LIMIT = ("limit", "write a number of calls, or leave it out: limit=50")
_POLICY = (
    "default-src 'none'",
    "connect-src 'self'",
    "img-src data:",  # the empty icon, without which browsers ask for /favicon.ico
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "form-action 'none'",
)


class Control:
    """The calls, the behaviours, and the page that shows them.

    A number that no call can have is refused. Zero calls would be the wrong answer: a test that counts calls would pass on a typing error.
    """

    def __init__(self, calls: Calls, behaviours: Behaviours) -> None:
        self._calls = calls
        self._behaviours = behaviours
        self._page = _page()

    def routes(self) -> list[Route]:
        """All routes but the provider's."""
        return [
            Route("/", self._show),
            Route("/calls", self._list_calls, methods=["GET"]),
            Route("/calls", self._forget_calls, methods=["DELETE"]),
            Route("/calls/{number:str}", self._list_calls, methods=["GET"]),
            Route("/behaviour", self._show_behaviours, methods=["GET"]),
            Route("/behaviour", self._set_behaviour, methods=["PUT"]),
            Route("/behaviour", self._clear_behaviour, methods=["DELETE"]),
            Route("/behaviour/{number:str}", self._set_behaviour, methods=["PUT"]),
            Route("/behaviour/{number:str}", self._clear_behaviour, methods=["DELETE"]),
        ]

    async def _list_calls(self, request: Request) -> Response:
        number = request.path_params.get("number", request.query_params.get("number"))
        limit = request.query_params.get("limit")
        if not _fits(number):
            return _refuse(_BAD_NUMBER)
        if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) <= _MAX_LIMIT_DIGITS):
            return _refuse(_BAD_LIMIT)
        listed = [call.to_json() for call in islice(self._calls.newest(number), None if limit is None else int(limit))]
        named = {} if number is None else {"number": number}
        return JSONResponse({**named, "count": self._calls.count(number), "calls": listed})

    async def _forget_calls(self, _: Request) -> Response:
        self._calls.forget()
        return Response(status_code=204)

    async def _show_behaviours(self, _: Request) -> Response:
        return JSONResponse(self._behaviours.to_json())

    async def _set_behaviour(self, request: Request) -> Response:
        number = request.path_params.get("number")
        if not _fits(number):
            return _refuse(_BAD_NUMBER)
        try:
            behaviour = Behaviour.model_validate_json(await request.body())
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            return _refuse(*((".".join(map(str, problem["loc"])), _message(problem)) for problem in problems))
        self._behaviours.set(number, behaviour)
        return JSONResponse(behaviour.model_dump())

    async def _clear_behaviour(self, request: Request) -> Response:
        number = request.path_params.get("number")
        if not _fits(number):
            return _refuse(_BAD_NUMBER)
        self._behaviours.clear(number)
        return Response(status_code=204)

    async def _show(self, _: Request) -> Response:
        return self._page


def _fits(number: str | None) -> bool:
    """Whether a call can be to this number; None means all numbers."""
    return number is None or NUMBER.fullmatch(number) is not None


def _refuse(*errors: tuple[str, str]) -> Response:
    return JSONResponse({"errors": [{"field": field, "message": message} for field, message in errors]}, 422)


def _message(problem: ErrorDetails) -> str:
    """What to write instead. Pydantic's own message says it, except for an unknown member."""
    if problem["type"] == "extra_forbidden":
        return f"there is no such member: choose among {', '.join(Behaviour.model_fields)}"
    return problem["msg"].removeprefix("Value error, ")


def _page() -> Response:
    """The page: one document that loads nothing, with a policy that lets its own style and script run and nothing else."""
    html, style, script = (
        files(__package__).joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js")
    )
    policy = (*_POLICY, f"style-src {_digest(style)}", f"script-src {_digest(script)}")
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(html.replace("/* page.css */", style).replace("/* page.js */", script), headers=headers)


def _digest(text: str) -> str:
    """An element's content as a policy names it (CSP Level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
