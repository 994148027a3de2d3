"""The routes for tests and people. They need no key: the simulator listens on loopback by default."""

from collections.abc import Sequence
from itertools import islice

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.simulator.behaviour import Behaviour, Behaviours
from app.simulator.calls import NUMBER, Calls
from app.simulator.page import page

_MAX_LIMIT_DIGITS = 9
_HOW_TO_WRITE_A_NUMBER = "write the number as the provider gets it: 7 to 15 digits and nothing else, 79991234567"
_HOW_TO_WRITE_A_LIMIT = "write a number of calls, or leave it out: limit=50"


class Control:
    """The calls, the behaviours, and the page that shows them.

    A number that no call can have is refused. Zero calls would be the wrong answer: a test that counts calls would pass on a typing error.
    """

    def __init__(self, calls: Calls, behaviours: Behaviours) -> None:
        self._calls = calls
        self._behaviours = behaviours
        self._page = page()

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
            return _refuse("number", _HOW_TO_WRITE_A_NUMBER)
        if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) <= _MAX_LIMIT_DIGITS):
            return _refuse("limit", _HOW_TO_WRITE_A_LIMIT)
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
            return _refuse("number", _HOW_TO_WRITE_A_NUMBER)
        try:
            behaviour = Behaviour.model_validate_json(await request.body())
        except ValidationError as error:
            return _refuse_all(error.errors(include_url=False, include_context=False, include_input=False))
        self._behaviours.set(number, behaviour)
        return JSONResponse(behaviour.model_dump())

    async def _clear_behaviour(self, request: Request) -> Response:
        number = request.path_params.get("number")
        if not _fits(number):
            return _refuse("number", _HOW_TO_WRITE_A_NUMBER)
        self._behaviours.clear(number)
        return Response(status_code=204)

    async def _show(self, _: Request) -> Response:
        headers = {
            "Content-Security-Policy": self._page.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return HTMLResponse(self._page.html, headers=headers)


def _fits(number: str | None) -> bool:
    """Whether a call can be to this number; None means all numbers."""
    return number is None or NUMBER.fullmatch(number) is not None


def _refuse(field: str, message: str) -> Response:
    return JSONResponse({"errors": [{"field": field, "message": message}]}, 422)


def _refuse_all(problems: Sequence[ErrorDetails]) -> Response:
    errors = [{"field": ".".join(map(str, problem["loc"])), "message": _message(problem)} for problem in problems]
    return JSONResponse({"errors": errors}, 422)


def _message(problem: ErrorDetails) -> str:
    """What to write instead. Pydantic's own message says it, except for an unknown member."""
    if problem["type"] == "extra_forbidden":
        return f"there is no such member: choose among {', '.join(Behaviour.model_fields)}"
    return problem["msg"].removeprefix("Value error, ")
