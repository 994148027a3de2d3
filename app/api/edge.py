"""The outermost layer: every request gets its id, and every exception becomes problem details.

Pure ASGI. It is the one place where an exception meets HTTP; `problems.py` says what each one looks like.
"""

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.cors import VARY, is_preflight, preflight
from app.api.problems import FAULTS, Fault, RequestFault, faulty
from app.telemetry.logs import request_id
from app.verification.errors import StoreUnavailable

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_VERIFICATION_ID = re.compile(r"(vrf_[^/]{8})[^/]*")
_ROUTING = {404: Fault.NO_SUCH_ROUTE, 405: Fault.METHOD_NOT_ALLOWED}

log = structlog.get_logger()


class Edge:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, open_to_pages: Mapping[str, ASGIApp]) -> None:
        """Put the edge around an application.

        Args:
            app: all routes, behind the framework's router.
            open_to_pages: what a POST to these paths is answered by: the busy routes, which pages may reach. They are asked straight, past the
                router and what it drags along.
        """
        self._app = app
        self._open_to_pages = open_to_pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry out one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = _name_of(scope)
        request_id.set(name)
        page_route = self._open_to_pages.get(scope["path"])
        scope["cors"] = (VARY,) if page_route else ()
        begun = False

        async def named_send(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name.encode()), *scope["cors"]]
            await send(message)

        try:
            if page_route and scope["method"] == "POST":
                await page_route(scope, receive, named_send)
            elif page_route and is_preflight(scope):
                await preflight(scope, scope["state"]["service"].clients)(scope, receive, named_send)
            else:
                await self._app(scope, receive, named_send)
        except Exception as fault:  # noqa: BLE001  the last place that can answer
            if begun:
                # Nothing can be said any more; nearly always the caller has gone.
                log.debug("answer_cut_off", path=_without_id(scope["path"]), reason=type(fault).__name__)
                return
            with suppress(Exception):
                _log(scope, fault)
            await _answer(fault)(scope, receive, named_send)


def _without_id(path: str) -> str:
    """A path that a log may show: whoever has a whole id may guess its code."""
    return _VERIFICATION_ID.sub(r"\1…", path)


def _name_of(scope: Scope) -> str:
    """The caller's `X-Request-Id` if it is a plain one, else a new one."""
    for header, value in scope["headers"]:
        if header == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)


async def routing_fault(_: Request, fault: Exception) -> Response:
    """What Starlette's router raises: no such route, or not with this method. FastAPI would answer it in a form of its own."""
    if isinstance(fault, HTTPException) and fault.status_code in _ROUTING:
        return faulty(_ROUTING[fault.status_code], headers=fault.headers)
    raise fault


def _log(scope: Scope, fault: Exception) -> None:
    """Tell the operator what only an operator, or we, can mend."""
    match fault:
        case RequestFault():
            pass
        case StoreUnavailable():
            log.error("store_unavailable", path=_without_id(scope["path"]), reason=str(fault))
        case _:
            log.error("internal_error", path=_without_id(scope["path"]), exc_info=fault)


def _answer(fault: Exception) -> Response:
    match fault:
        case RequestFault():
            return faulty(fault.fault, fault.detail, **fault.members)  # type: ignore[arg-type]  # members carry headers too
        case StoreUnavailable():
            row = FAULTS[Fault.STORE_UNAVAILABLE]
            return faulty(Fault.STORE_UNAVAILABLE, retry_after=row.extras["retry_after"])
        case _:
            return faulty(Fault.INTERNAL_ERROR, "The log has the reason under this answer's X-Request-Id.")
