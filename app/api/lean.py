"""A route that FastAPI documents and matches, and that calls its endpoint without FastAPI's dependency machinery.

The endpoint is plain FastAPI: a body model, path parameters, the request, `Depends` on functions of the request; it returns a response.
`get_route_handler` is FastAPI's documented place for this (docs: "Custom Request and APIRoute class").

Without this class a check would take two fifths more CPU (docs/performance.md; bench/variants.py measures it).
"""

import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, get_args, get_type_hints

from fastapi.params import Depends
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.problems import RequestError, RequestRejected
from app.api.reading import read_json


class LeanRoute(APIRoute):
    """A FastAPI route whose endpoint's signature is read once: a TypeError at start-up, if it has more than this class reads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  handed on to FastAPI
        """See `APIRoute`.

        Its own wrapper opens two exit stacks for each request, for dependencies that this class has not, and handles exceptions, which the application does.
        """
        super().__init__(*arguments, **options)
        handle = self.get_route_handler()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await handle(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = app

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what turns a request into its answer."""
        endpoint = self.endpoint
        readers, body = _signature(endpoint, self.param_convertors)

        async def handle(request: Request) -> Response:
            # Who asks is settled before a byte of the body is read.
            arguments = {name: read(request) for name, read in readers.items()}
            for name, model in body.items():
                _refuse_if_full(request)
                arguments[name] = await read_json(request, model)
                # A crowd that comes at once has sent all its heads before the first body is read.
                _refuse_if_full(request)
            response: Response = await endpoint(**arguments)
            return response

        return handle


def _refuse_if_full(request: Request) -> None:
    """Refuse what strangers and crowds send, which has a body, while too many requests wait for the store. Operators are always answered."""
    if request.scope["state"]["service"].is_full():
        raise RequestRejected(RequestError.OVERLOADED, "Send the same request again after `retry_after` seconds.")


def _signature(
    endpoint: Callable[..., Any], path_parameters: Iterable[str]
) -> tuple[dict[str, Callable[[Request], Any]], dict[str, type[BaseModel]]]:
    """What reads each parameter of an endpoint from the request, and the model of the one that is the body."""
    readers: dict[str, Callable[[Request], Any]] = {}
    body: dict[str, type[BaseModel]] = {}
    for name, hint in get_type_hints(endpoint, include_extras=True).items():
        depends = [extra for extra in get_args(hint)[1:] if isinstance(extra, Depends)]
        if name == "return":
            continue
        if depends and depends[0].dependency:
            readers[name] = depends[0].dependency
        elif hint is Request:
            readers[name] = lambda request: request
        elif name in path_parameters:
            readers[name] = lambda request, name=name: request.path_params[name]  # type: ignore[misc]
        elif inspect.isclass(hint) and issubclass(hint, BaseModel) and not body:
            body[name] = hint
        else:
            raise TypeError(f"{endpoint.__name__}: a lean route can't provide {name!r}")
    return readers, body
