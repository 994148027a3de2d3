"""The outermost layer: every request gets its id, and every exception becomes problem details.

Pure ASGI. It is the one place where an exception meets HTTP; `problems.py` says what each one looks like.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from random import getrandbits

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.cors import VARY, is_preflight, preflight
from app.api.lean import header_of
from app.api.problems import FAULTS, RequestError, RequestRejected, faulty
from app.telemetry.logging import request_id
from app.verification.errors import StoreUnavailable

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_VERIFICATION_ID = re.compile(r"(vrf_[^/]{8})[^/]*")
_ROUTING = {404: RequestError.NO_SUCH_ROUTE, 405: RequestError.METHOD_NOT_ALLOWED}

Respond = Callable[[Scope, Receive], Awaitable[Response]]
"""What turns a request into its answer."""

log = structlog.get_logger()


class Edge:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, open_to_pages: Mapping[str, Respond]) -> None:
        """Put the edge around an application.

        Args:
            app: all routes, behind the framework's router.
            open_to_pages: what a POST to these paths is answered by: the busy routes, which pages may reach. They are asked straight, past the
                router and what it drags along, and what they answer is sent as it is.
        """
        self._app = app
        self._open_to_pages = open_to_pages

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Carry out one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        respond = self._open_to_pages.get(scope["path"])
        scope["cors"] = (VARY,) if respond else ()
        if respond and scope["method"] == "POST":
            return _ask(respond, scope, receive, send)
        return self._route(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what only the router knows."""
        name = _name(scope)
        begun = False

        async def named_send(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name.encode()), *scope["cors"]]
            await send(message)

        try:
            if scope["cors"] and is_preflight(scope):
                await preflight(scope, scope["state"]["service"].clients)(scope, receive, named_send)
            else:
                await self._app(scope, receive, named_send)
        except Exception as fault:  # noqa: BLE001  the last place that can answer
            if begun:
                _cut_off(scope, fault)
                return
            await _answer(scope, fault)(scope, receive, named_send)


async def _ask(respond: Respond, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer by a busy route: what it gives is sent with no layer between, which would take 5 µs."""
    name = _name(scope)
    try:
        answer = await respond(scope, receive)
    except Exception as fault:  # noqa: BLE001  the last place that can answer
        answer = _answer(scope, fault)
    headers = [*answer.raw_headers, (b"x-request-id", name.encode()), *scope["cors"]]
    try:
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
    except Exception as fault:  # noqa: BLE001  the last place that can tell
        _cut_off(scope, fault)


def _cut_off(scope: Scope, fault: Exception) -> None:
    """Nothing can be said any more; nearly always the caller has gone."""
    log.debug("answer_cut_off", path=_without_id(scope["path"]), reason=type(fault).__name__)


def _without_id(path: str) -> str:
    """A path that a log may show: whoever has a whole id may guess its code."""
    return _VERIFICATION_ID.sub(r"\1…", path)


def _name(scope: Scope) -> str:
    """Name this request on all its log lines: by the caller's `X-Request-Id` if it is a plain one, else anew."""
    given = header_of(scope, b"x-request-id")
    # A new one names, and keeps no secret.
    name = given.decode() if given and _REQUEST_ID.fullmatch(given) else f"{getrandbits(64):016x}"
    request_id.set(name)
    return name


async def routing_fault(_: Request, fault: Exception) -> Response:
    """What Starlette's router raises: no such route, or not with this method. FastAPI would answer it in a form of its own."""
    if isinstance(fault, HTTPException) and fault.status_code in _ROUTING:
        return faulty(_ROUTING[fault.status_code], headers=fault.headers)
    raise fault


def _log(scope: Scope, fault: Exception) -> None:
    """Tell the operator what only an operator, or we, can mend."""
    match fault:
        case RequestRejected():
            pass
        case StoreUnavailable():
            log.error("store_unavailable", path=_without_id(scope["path"]), reason=str(fault))
        case _:
            log.error("internal_error", path=_without_id(scope["path"]), exc_info=fault)


def _answer(scope: Scope, fault: Exception) -> Response:
    with suppress(Exception):
        _log(scope, fault)
    match fault:
        case RequestRejected():
            return faulty(fault.fault, fault.detail, **fault.members)  # type: ignore[arg-type]  # members carry headers too
        case StoreUnavailable():
            row = FAULTS[RequestError.STORE_UNAVAILABLE]
            return faulty(RequestError.STORE_UNAVAILABLE, retry_after=row.extras["retry_after"])
        case _:
            return faulty(RequestError.INTERNAL_ERROR, "The log has the reason under this answer's X-Request-Id.")
