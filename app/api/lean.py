"""A route that FastAPI documents and that runs without its dependency machinery.

The endpoint is plain FastAPI: a body model, path parameters, `Depends` on functions of the request, an answer. `LeanRoute` reads that signature
once and then does the same in a straight line, which leaves a check with little more than its round trip (docs/performance.md).
It also reads bodies the careful way: bounded in size and in time, JSON only, and never echoing what was sent.
"""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from fastapi.params import Depends
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api.problems import RequestError, RequestRejected

MAX_BODY_BYTES = 8192
BODY_TIMEOUT = 10.0
"""Seconds for a body to arrive: nobody holds a worker by sending slowly."""

_CLOSE = {"Connection": "close"}
_JSON = b"application/json"
_MOST_ERRORS = 10
_LONGEST_FIELD = 64


class LeanRoute(APIRoute):
    """A FastAPI route whose endpoint is called directly.

    Attributes:
        respond: what turns a request into its answer, for whoever sends it himself.

    Raises:
        TypeError: at start-up, for an endpoint whose signature is more than this class reads.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401  handed on to FastAPI
        super().__init__(path, endpoint, **options)
        body, dependencies, from_path = _read_signature(endpoint, self.param_convertors)

        async def respond(scope: Scope, receive: Receive) -> Response:
            request = Request(scope)
            arguments = {}
            # Who asks is settled before a byte of the body is read.
            for name, of in dependencies:
                arguments[name] = of(request)
            for name in from_path:
                arguments[name] = scope["path_params"][name]
            if body:
                message = _at_once(receive)
                # A body nearly always comes with its head: then no time limit has to be set for it, which would take 5 µs.
                whole = _whole(message) if message else None
                arguments[body[0]] = decode(
                    body[1], scope, await _read_body(scope, receive, message) if whole is None else whole
                )
            answer: Response = await endpoint(**arguments)
            return answer

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            answer = await respond(scope, receive)
            await answer(scope, receive, send)

        self.respond = respond
        self.app = app


def _read_signature(
    endpoint: Callable[..., Any],
    path_parameters: Any,  # noqa: ANN401  only its keys are looked at
) -> tuple[tuple[str, type[BaseModel]] | None, list[tuple[str, Callable[[Request], Any]]], list[str]]:
    body: tuple[str, type[BaseModel]] | None = None
    dependencies: list[tuple[str, Callable[[Request], Any]]] = []
    from_path: list[str] = []
    hints = get_type_hints(endpoint, include_extras=True)
    for name in inspect.signature(endpoint).parameters:
        depends = [extra for extra in get_args(hints[name])[1:] if isinstance(extra, Depends)]
        if depends and depends[0].dependency:
            dependencies.append((name, depends[0].dependency))
        elif name in path_parameters:
            from_path.append(name)
        elif inspect.isclass(hints[name]) and issubclass(hints[name], BaseModel) and body is None:
            body = (name, hints[name])
        else:
            msg = f"{endpoint.__name__}: a lean route can't provide {name!r}"
            raise TypeError(msg)
    return body, dependencies, from_path


def _at_once(receive: Receive) -> Message | None:
    """The next message, if it is there already; None if it must be waited for, and nothing is lost then."""
    waiting: Any = receive()
    try:
        waiting.send(None)
    except StopIteration as there:
        message: Message = there.value
        return message
    waiting.close()
    return None


def _whole(message: Message) -> bytes | None:
    """The body, if a message holds all of it and it is not too large."""
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    body: bytes = message.get("body", b"")
    return body if len(body) <= MAX_BODY_BYTES else None


async def _read_body(scope: Scope, receive: Receive, message: Message | None = None) -> bytes:
    """Read the whole body, from its first message on if that came already, bounded in bytes and seconds.

    Raises:
        RequestFault: it is too large or too slow.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await _collect(scope, receive, message)
    except TimeoutError as late:
        detail = f"The whole body must arrive within {BODY_TIMEOUT:.0f} seconds."
        raise RequestRejected(RequestError.BODY_TIMEOUT, detail, headers=_CLOSE) from late


async def _collect(scope: Scope, receive: Receive, message: Message | None) -> bytes:
    declared = header_of(scope, b"content-length")
    if declared.isdigit() and (len(declared) > 9 or int(declared) > MAX_BODY_BYTES):  # noqa: PLR2004  ten digits are a gigabyte
        raise _too_large()
    body = b""
    while True:
        message = message or await receive()
        if message["type"] == "http.disconnect":
            # Whoever broke off in mid-sentence asked for nothing, even if what came so far could be read.
            raise RequestRejected(RequestError.MALFORMED_JSON, "The body ended early.", headers=_CLOSE)
        chunk: bytes = message.get("body", b"")
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body"):
            return body
        message = None


def _too_large() -> RequestRejected:
    return RequestRejected(RequestError.BODY_TOO_LARGE, f"A body has at most {MAX_BODY_BYTES} bytes.", headers=_CLOSE)


def decode(model: type[BaseModel], scope: Scope, body: bytes) -> BaseModel:
    """Read a JSON body into its model.

    Raises:
        RequestFault: it is not JSON, not declared as JSON, or not as documented. What was sent is never told back.
    """
    media_type = header_of(scope, b"content-type")
    if media_type != _JSON and media_type.partition(b";")[0].strip().lower() != _JSON:
        raise RequestRejected(RequestError.UNSUPPORTED_MEDIA_TYPE, "Send the header Content-Type: application/json.")
    try:
        return model.model_validate_json(body)
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_context=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        raise RequestRejected(RequestError.MALFORMED_JSON, errors[0]["msg"][:200])
    told = [
        {"field": ".".join(str(part) for part in error["loc"])[:_LONGEST_FIELD], "message": error["msg"]}
        for error in errors[:_MOST_ERRORS]
    ]
    raise RequestRejected(RequestError.INVALID_REQUEST, "Mend the fields named in errors.", errors=told)


def header_of(scope: Scope, name: bytes) -> bytes:
    """The first header of a name, in lower case; empty if there is none."""
    return first_headers(scope).get(name, b"")


def first_headers(scope: Scope) -> dict[bytes, bytes]:
    """The first header of each name: made once for a request, at a twentieth of what building Starlette's headers takes."""
    first: dict[bytes, bytes] | None = scope.get("first_headers")
    if first is None:
        first = scope["first_headers"] = dict(reversed(scope["headers"]))
    return first
