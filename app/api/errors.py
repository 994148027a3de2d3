"""FastAPI's exception handlers: what each exception that leaves a route looks like to the caller."""

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from app.api.problems import RequestError, RequestRejected, request_problem
from app.verification.errors import StoreUnavailable

_ROUTING = {404: RequestError.NO_SUCH_ROUTE, 405: RequestError.METHOD_NOT_ALLOWED}


async def rejected(_: Request, error: RequestRejected) -> Response:
    """A request that can't be processed as it came."""
    return request_problem(error.error, error.detail, error.headers, **error.members)


async def store_unavailable(_: Request, error: StoreUnavailable) -> Response:
    """The store did not answer, or can't write. Its reason is for the log: it may name hosts."""
    answer = request_problem(RequestError.STORE_UNAVAILABLE)
    answer.reason = str(error)
    return answer


async def not_routed(request: Request, error: HTTPException) -> Response:
    """There is no such route, or it does not support the method."""
    if error.status_code not in _ROUTING:
        raise error
    problem = _ROUTING[error.status_code]
    allow = {"Allow": _methods(request)} if problem is RequestError.METHOD_NOT_ALLOWED else None
    return request_problem(problem, headers=allow)


def _methods(request: Request) -> str:
    """The methods of a path: of all routes that have it."""
    matching = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    methods = {method for route in matching for method in getattr(route, "methods", None) or ()}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    RequestRejected: rejected,
    StoreUnavailable: store_unavailable,
    HTTPException: not_routed,
}
