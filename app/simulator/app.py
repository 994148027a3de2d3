"""The simulator's HTTP application, with the provider's one route. The routes for tests and people are in `control.py`.

The provider's route is plain ASGI for two reasons: it is the other side of benchmarks, and it must close a connection without an answer.
"""

import asyncio
import json
import socket
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.simulator.behaviour import PRICE, Behaviour, Behaviours
from app.simulator.calls import NUMBER, Call, Calls, new_call
from app.simulator.control import Control

SEND_PATH = "/api/call-password/send/"
_MAX_BODY_BYTES = 65536
_KNOWN = {"security", "number", "capacity"}
_JSON = "application/json"
_PRICES: dict[str, object] = {"string": PRICE, "number": float(PRICE), "nan": float("nan")}


@dataclass(frozen=True, slots=True)
class SimulatorCredentials:
    """The account that the simulator knows."""

    api_key: str = field(default="sandbox", repr=False)
    login: str = "sandbox"
    password: str = field(default="sandbox", repr=False)


def create_simulator(credentials: SimulatorCredentials, pool: int = 10_000, seed: int | None = None) -> ASGIApp:
    """Build the simulator.

    Args:
        credentials: of the one account that it knows.
        pool: how many calling numbers there are.
        seed: gives the same calling numbers at each run.

    Raises:
        ValueError: the pool is empty, or larger than there are numbers.
    """
    calls, behaviours = Calls(pool, seed), Behaviours()
    provider = _Provider(credentials, calls, behaviours)
    control = Starlette(routes=Control(calls, behaviours).routes())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == SEND_PATH:
            await provider(scope, receive, send)
        else:
            await control(scope, receive, send)

    return app


def run_simulator(
    credentials: SimulatorCredentials, listener: socket.socket, pool: int = 10_000, seed: int | None = None
) -> None:
    """Serve the simulator on a listening socket until the process receives a signal. See `create_simulator`."""
    config = uvicorn.Config(
        create_simulator(credentials, pool, seed),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listener])


_Asked = tuple[Scope, Receive, Send]
"""A request, as ASGI passes it."""


class _Provider:
    """The provider's route, as strict as the provider's document."""

    def __init__(self, credentials: SimulatorCredentials, calls: Calls, behaviours: Behaviours) -> None:
        self._credentials = credentials
        self._calls = calls
        self._behaviours = behaviours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await _answer((scope, receive, send), 405, b"Method Not Allowed", "text/plain")
            return
        # The number is in the body: before the body is read, only a behaviour for all numbers can apply.
        if self._behaviours.closes_unread():
            _close(send)
            return
        headers = dict(scope["headers"])
        request = _parse(headers, await _read(receive))
        refused = self._error_code(headers, request)
        number, capacity = str(request.get("number", "")), str(request.get("capacity", ""))
        if refused:
            await _answer((scope, receive, send), 200, _error(refused))
            return
        await self._execute(self._behaviours.take(number), number, capacity, (scope, receive, send))

    def _error_code(self, headers: dict[bytes, bytes], request: dict[str, object]) -> str | None:
        """The error code of a request that the provider refuses; None for a valid one."""
        if not request or request.keys() - _KNOWN:
            return "unknown_request"
        if not self._authorised(headers, request):
            return "authorisation_failed"
        number, capacity = request.get("number"), request.get("capacity")
        if number is None or number == "":
            return "number_is_empty"
        if not isinstance(number, str) or not NUMBER.fullmatch(number):
            return "number_not_valid"
        return None if isinstance(capacity, str) and capacity in {"4", "5", "6"} else "unknown_request"

    def _authorised(self, headers: dict[bytes, bytes], request: dict[str, object]) -> bool:
        """Whether exactly one of the three ways is used, with the right key."""
        ours = self._credentials
        in_header = headers.get(b"authorization")
        if in_header is not None:
            return "security" not in request and in_header.decode("latin-1") == ours.api_key
        security = request.get("security")
        return security in ({"apiKey": ours.api_key}, {"login": ours.login, "password": ours.password})

    async def _execute(self, behaviour: Behaviour, number: str, capacity: str, to: "_Asked") -> None:
        call = new_call(self._calls, number, capacity, behaviour.digits)
        # The call counts before the answer is sent: a lost answer does not undo the call.
        if behaviour.counts:
            self._calls.place(call)
        if behaviour.close == "before_read":
            _close(to[2])
            return
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        if behaviour.hang:
            await _departure(to[1])
            return
        if behaviour.close:
            _close(to[2])
            return
        await _answer(to, behaviour.status, *_body(behaviour, call))


def _body(behaviour: Behaviour, call: Call) -> tuple[bytes, str]:
    """An answer's body and its media type."""
    match behaviour.answer:
        case "error":
            return _error(behaviour.error_code), _JSON
        case "html":
            return b"<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html"
        case "empty":
            return b"", _JSON
        case "not_json":
            return b"OK", "text/plain"
        case "truncated":
            whole = json.dumps(_success(behaviour, call)).encode()
            return whole[: len(whole) // 2], _JSON
        case "ok":
            return json.dumps(_success(behaviour, call), ensure_ascii=False).encode(), _JSON


def _success(behaviour: Behaviour, call: Call) -> dict[str, object]:
    """The documented answer, changed as the behaviour says."""
    codes: dict[str, object] = {
        "string": call.code,
        "number": int(call.code),
        "short": call.code[1:],
        "long": call.code + "0",
        "letters": "abcdef"[: len(call.code)],
    }
    answer: dict[str, object] = {"result": "ok"}
    if behaviour.id != "absent":
        answer["id"] = {"string": call.id, "number": int(call.id)}.get(behaviour.id, behaviour.id)
    if behaviour.number != "absent":
        answer["number"] = call.number if behaviour.number == "same" else "70000000000"
    if behaviour.price != "absent":
        price = behaviour.price
        answer["price"] = _PRICES.get(price, price) if isinstance(price, str) else price
    if behaviour.code != "missing":
        answer["code"] = codes[behaviour.code]
    return answer


def _error(error_code: str) -> bytes:
    return json.dumps({"result": "error", "error_code": error_code}, ensure_ascii=False).encode()


def _parse(headers: dict[bytes, bytes], body: bytes) -> dict[str, object]:
    """The request's JSON object; an empty one if the body is not JSON or is not declared as JSON."""
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != _JSON.encode():
        return {}
    try:
        request = json.loads(body.decode())
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        chunk: bytes = message.get("body", b"")
        body += chunk
        if not message.get("more_body") or len(body) > _MAX_BODY_BYTES:
            return body


async def _departure(receive: Receive) -> None:
    """Wait until the client has given up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(to: "_Asked", status: int, body: bytes, media_type: str = _JSON) -> None:
    await Response(body, status, media_type=media_type)(*to)


def _close(send: Send) -> None:
    """Close the connection without an answer. ASGI has no message for it; uvicorn's `send` is a method of the object with the transport."""
    cycle = getattr(send, "__self__", None)
    if cycle is None:
        raise TypeError("the simulator can close connections under uvicorn only")
    cycle.transport.abort()
    cycle.disconnected = True
    cycle.response_complete = True
