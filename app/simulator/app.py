"""The simulator's HTTP application, with the provider's one route. The routes for tests and people are in `control.py`.

The provider's route is plain ASGI: it must close a connection without an answer.
"""

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.simulator.behaviour import PRICE, Behaviour, Behaviours
from app.simulator.calls import NUMBER, Call, Calls
from app.simulator.control import Control

SEND_PATH = "/api/call-password/send/"
_MAX_BODY_BYTES = 65536
_KNOWN = {"security", "number", "capacity"}
_JSON = "application/json"
_LEFT_OUT = {"id": "absent", "number": "absent", "price": "absent", "code": "missing"}
"""The value of a behaviour's member that leaves the answer's member out."""
_PRICES: dict[str, object] = {"string": PRICE, "number": float(PRICE), "nan": float("nan")}


@dataclass(frozen=True, slots=True)
class SimulatorCredentials:
    """The account that the simulator knows."""

    api_key: str = field(default="sandbox", repr=False)
    login: str = "sandbox"
    password: str = field(default="sandbox", repr=False)


def create_simulator(credentials: SimulatorCredentials, pool: int = 10_000, seed: int | None = None) -> ASGIApp:
    """Build the simulator; `pool` and `seed` as in `Calls`."""
    calls, behaviours = Calls(pool, seed), Behaviours()
    provider = _Provider(credentials, calls, behaviours)
    control = Starlette(routes=Control(calls, behaviours).routes())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        wanted = provider if scope["type"] == "http" and scope["path"] == SEND_PATH else control
        await wanted(scope, receive, send)

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


class _Provider:
    """The provider's route, as strict as the provider's document."""

    def __init__(self, credentials: SimulatorCredentials, calls: Calls, behaviours: Behaviours) -> None:
        self._credentials = credentials
        self._calls = calls
        self._behaviours = behaviours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        if response is None:
            _close(send)
        else:
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """The answer; None: the connection is closed without one."""
        if request.method != "POST":
            return Response("Method Not Allowed", 405, media_type="text/plain")
        # The number is in the body: before the body is read, only a behaviour for all numbers can apply.
        if self._behaviours.closes_unread():
            return None
        wanted = await _read(request)
        if refused := self._error_code(request.headers.get("Authorization"), wanted):
            return Response(_error(refused), media_type=_JSON)
        number, capacity = str(wanted["number"]), int(str(wanted["capacity"]))
        return await self._execute(self._behaviours.take(number), number, capacity, request)

    def _error_code(self, key: str | None, wanted: dict[str, object]) -> str | None:
        """The error code of a request that the provider refuses; None for a valid one."""
        if not wanted or wanted.keys() - _KNOWN:
            return "unknown_request"
        if not self._authorised(key, wanted):
            return "authorisation_failed"
        number = wanted.get("number")
        if number is None or number == "":
            return "number_is_empty"
        if not isinstance(number, str) or not NUMBER.fullmatch(number):
            return "number_not_valid"
        return None if wanted.get("capacity") in ("4", "5", "6") else "unknown_request"

    def _authorised(self, key: str | None, wanted: dict[str, object]) -> bool:
        """Whether exactly one of the three ways is used, with the right key."""
        ours = self._credentials
        if key is not None:
            return "security" not in wanted and key == ours.api_key
        return wanted.get("security") in ({"apiKey": ours.api_key}, {"login": ours.login, "password": ours.password})

    async def _execute(self, behaviour: Behaviour, number: str, capacity: int, request: Request) -> Response | None:
        call = self._calls.new(number, capacity, behaviour.digits)
        # The call counts before the answer is sent: a lost answer does not undo the call.
        if behaviour.counts:
            self._calls.place(call)
        if behaviour.close == "before_read":
            return None
        await asyncio.sleep(behaviour.delay)
        if behaviour.hang:
            while (await request.receive())["type"] != "http.disconnect":
                pass
        if behaviour.hang or behaviour.close:
            return None
        body, media_type = _body(behaviour, call)
        return Response(body, behaviour.status, media_type=media_type)


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
            whole = _to_json(_success(behaviour, call))
            return whole[: len(whole) // 2], _JSON
        case "ok":
            return _to_json(_success(behaviour, call)), _JSON


def _success(behaviour: Behaviour, call: Call) -> dict[str, object]:
    """The documented answer, changed as the behaviour says."""
    codes: dict[str, object] = {
        "string": call.code,
        "number": int(call.code),
        "short": call.code[1:],
        "long": call.code + "0",
        "letters": "abcdef"[: len(call.code)],
    }
    price = behaviour.price
    answer: dict[str, object] = {
        "id": {"string": call.id, "number": int(call.id)}.get(behaviour.id, behaviour.id),
        "number": call.number if behaviour.number == "same" else "70000000000",
        "price": _PRICES.get(price, price) if isinstance(price, str) else price,
        "code": codes.get(behaviour.code),
    }
    sent = {name: value for name, value in answer.items() if getattr(behaviour, name) != _LEFT_OUT[name]}
    return {"result": "ok"} | sent


def _error(error_code: str) -> bytes:
    return _to_json({"result": "error", "error_code": error_code})


def _to_json(answer: Mapping[str, object]) -> bytes:
    return json.dumps(answer, ensure_ascii=False).encode()


async def _read(request: Request) -> dict[str, object]:
    """The request's JSON object; an empty one if the body is not JSON, is not declared as JSON, or is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            return {}
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _JSON:
        return {}
    try:
        wanted = json.loads(body.decode())
    except (ValueError, RecursionError):
        return {}
    return wanted if isinstance(wanted, dict) else {}


def _close(send: Send) -> None:
    """Close the connection without an answer. ASGI has no message for it; uvicorn's `send` is a method of the object with the transport."""
    cycle = getattr(send, "__self__", None)
    if cycle is None:
        raise TypeError("the simulator can close connections under uvicorn only")
    cycle.transport.abort()
    cycle.disconnected = True
    cycle.response_complete = True
