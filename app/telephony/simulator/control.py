"""What tests and people ask of the simulator. No key is needed: it is a stand-in, on loopback by default."""

from collections.abc import Sequence
from itertools import islice

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.telephony.simulator.behaviour import Behaviour, Behaviours
from app.telephony.simulator.calls import NUMBER, Calls
from app.telephony.simulator.page import page

_MOST_LIMIT_DIGITS = 9
_MEND_NUMBER = "write the number as the provider gets it: 7 to 15 digits and nothing else, 79991234567"
_MEND_LIMIT = "write a number of calls, or leave it out: limit=50"


class Control:
    """The calls, the behaviours, and the page that shows them.

    A number that no call could have is refused rather than found to have no calls: a test that counts them would be content with it.
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
            Route("/behaviour", self._emit, methods=["GET"]),
            Route("/behaviour", self._behave, methods=["PUT"]),
            Route("/behaviour", self._clear, methods=["DELETE"]),
            Route("/behaviour/{number:str}", self._behave, methods=["PUT"]),
            Route("/behaviour/{number:str}", self._clear, methods=["DELETE"]),
        ]

    async def _list_calls(self, request: Request) -> Response:
        number = request.path_params.get("number", request.query_params.get("number"))
        limit = request.query_params.get("limit")
        if not _fits(number):
            return _refuse("number", _MEND_NUMBER)
        if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) <= _MOST_LIMIT_DIGITS):
            return _refuse("limit", _MEND_LIMIT)
        told = [call.told() for call in islice(self._calls.newest(number), None if limit is None else int(limit))]
        named = {} if number is None else {"number": number}
        return JSONResponse({**named, "count": self._calls.count(number), "calls": told})

    async def _forget_calls(self, _: Request) -> Response:
        self._calls.forget()
        return Response(status_code=204)

    async def _emit(self, _: Request) -> Response:
        return JSONResponse(self._behaviours.told())

    async def _behave(self, request: Request) -> Response:
        number = request.path_params.get("number")
        if not _fits(number):
            return _refuse("number", _MEND_NUMBER)
        try:
            behaviour = Behaviour.model_validate_json(await request.body())
        except ValidationError as fault:
            return _refuse_all(fault.errors(include_url=False, include_context=False, include_input=False))
        self._behaviours.set(number, behaviour)
        return JSONResponse(behaviour.model_dump())

    async def _clear(self, request: Request) -> Response:
        number = request.path_params.get("number")
        if not _fits(number):
            return _refuse("number", _MEND_NUMBER)
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
    """Whether a call could be to it; None stands for all numbers."""
    return number is None or NUMBER.fullmatch(number) is not None


def _refuse(field: str, message: str) -> Response:
    return JSONResponse({"errors": [{"field": field, "message": message}]}, 422)


def _refuse_all(faults: Sequence[ErrorDetails]) -> Response:
    errors = [{"field": ".".join(map(str, fault["loc"])), "message": _mend(fault)} for fault in faults]
    return JSONResponse({"errors": errors}, 422)


def _mend(fault: ErrorDetails) -> str:
    """What to write instead; pydantic's own words say it for all but a member that there is not."""
    if fault["type"] == "extra_forbidden":
        return f"there is no such member: choose among {', '.join(Behaviour.model_fields)}"
    return fault["msg"].removeprefix("Value error, ")
