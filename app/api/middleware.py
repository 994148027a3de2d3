"""The outermost layer of each request: its id, its `HEAD`, the headers of every answer, its count and its log line. Pure ASGI."""

import re
from collections.abc import Iterable
from random import getrandbits

import structlog
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.openapi import codes_of
from app.api.problems import Problem, RequestError, request_problem
from app.api.reading import header_of
from app.telemetry.logging import Refusals, request_id
from app.telemetry.metrics import Metrics, Series

OTHER = "other"
"""The route of a path that has none, and a method that its route does not support."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Answered before a route is known.
_UNROUTED = {
    *(RequestError.NO_SUCH_ROUTE, RequestError.MALFORMED_REQUEST, RequestError.HEAD_TOO_LARGE),
    RequestError.INTERNAL_ERROR,
}
# What the operator may have configured wrong is a warning, what a caller wrote is information.
_ERRORS = {RequestError.STORE_UNAVAILABLE, RequestError.INTERNAL_ERROR}
_WARNINGS = {
    RequestError.KEY_MISSING,
    RequestError.KEY_UNKNOWN,
    RequestError.KEY_NOT_ALLOWED,
    RequestError.ORIGIN_NOT_ALLOWED,
    RequestError.RETURN_URL_NOT_ALLOWED,
}

log = structlog.get_logger()


class RequestMiddleware:
    """Wraps all routes."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        """Put it around an application with these routes."""
        self._app = app
        self._templates = {route.endpoint: route.path_format for route in routes if isinstance(route, Route)}
        self._refused = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name, method, status = _name(scope), scope["method"], 0
        if method == "HEAD":
            scope = dict(scope, method="GET")  # a copy: the server still knows, and leaves the body out

        async def send_completed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name), *scope.get("cors", ())]
            await send(message)

        try:
            await self._app(scope, receive, send_completed)
        except Exception as error:  # noqa: BLE001  the last place that can answer
            if status:
                # Nothing can be answered any more; nearly always the caller has gone.
                log.debug("answer_cut_off", reason=type(error).__name__)
            else:
                await _unexpected(error)(scope, receive, send_completed)
        self._record(scope, method, status)

    def _record(self, scope: Scope, method: str, status: int) -> None:
        """Count the request, and log it where it was refused before any operation: an operation logs its outcome itself."""
        problem: Problem | None = scope.get("problem")
        error = problem.request_error if problem else None
        route = OTHER if error is RequestError.NO_SUCH_ROUTE else self._route(scope)
        code = problem.code if problem else ""
        metrics: Metrics = scope["state"]["metrics"]
        known = route != OTHER and error is not RequestError.METHOD_NOT_ALLOWED
        metrics.count_request(route, method if known else OTHER, status, code)
        if problem and error:
            try:
                self._log(scope, problem, error, route, method)
            except OSError:  # a full disk: the answer was sent, and the connection stays open
                metrics.count_observer_error()

    def _log(self, scope: Scope, problem: Problem, error: RequestError, route: str, method: str) -> None:
        level = "error" if error in _ERRORS else "warning" if error in _WARNINGS else "info"
        event = problem.code if level == "error" else "refused"
        self._refused(
            *(level, event, problem.code),
            route=route,
            method=method if method in _METHODS else OTHER,
            path=_shown(scope["path"]) if error is RequestError.NO_SUCH_ROUTE else None,
            client=scope.get("client_id"),
            detail=problem.detail,
            reason=problem.reason,
            exc_info=problem.exception,
        )

    def _route(self, scope: Scope) -> str:
        """The template of the request's route; never a path that a caller made up."""
        if route := scope.get("route"):  # FastAPI's; starlette's routes, of files, say their endpoint only
            return str(route.path_format)
        return self._templates.get(scope["endpoint"], OTHER) if "endpoint" in scope else OTHER


def request_series(routes: Iterable[BaseRoute]) -> list[Series]:
    """Each route, method, status and problem's code that is documented: the labels of the count."""
    series: set[Series] = {(OTHER, OTHER, str(int(error.value.status)), error.value.code) for error in _UNROUTED}
    for route in routes:
        if isinstance(route, Route):
            methods = set(route.methods or ())
            methods |= {"HEAD"} if "GET" in methods else set()
            series |= {(route.path_format, method, *answer) for method in methods for answer in _answers(route)}
            series.add((route.path_format, OTHER, "405", "method_not_allowed"))
    return sorted(series)


def _answers(route: Route) -> list[tuple[str, str]]:
    """The statuses and codes of a route's answers."""
    responses = route.responses if isinstance(route, APIRoute) else {200: {}, 304: {}}  # files of pages
    found = [(str(status), code) for status, answer in responses.items() for code in codes_of(answer)]
    return [*found, ("500", "internal_error")]


def _name(scope: Scope) -> bytes:
    """Name this request on all its log lines: by the caller's `X-Request-Id` if it is a plain one, else by a new one."""
    given = header_of(scope, b"x-request-id")
    # A new one only names: it is not a secret.
    name = given if _REQUEST_ID.fullmatch(given) else b"%016x" % getrandbits(64)
    request_id.set(name.decode())
    return name


def _shown(path: str) -> str:
    """A path that a log may have: no phone, no code, no verification's id, no control characters, and not without end."""
    return re.sub(r"[^/]{25,}|\d(?:[^/]*\d){3,}|[^!-~]", "…", path[:100])


def _unexpected(error: Exception) -> Problem:
    answer = request_problem(RequestError.INTERNAL_ERROR, "The log has the reason under this answer's X-Request-Id.")
    answer.exception = error
    return answer
