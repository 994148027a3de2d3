"""What the service is measured against, each a server that takes its port:

python -m bench.baselines route PORT            a bare FastAPI route with a pydantic body, no key, no store
python -m bench.baselines plain PORT SOCKET     the same, and one EVALSHA of the check's script by redis-py, as most would write it
python -m bench.baselines bare  PORT SOCKET     bare ASGI that does nothing but the same script through the service's own client

SOCKET is the Valkey's. The script compares a wrong code, always of one verification, which bears a billion of them.
"""

import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from app.settings import load_settings
from app.store.coalesce import Coalescer
from app.store.connection import connect
from app.store.redis_store import RedisStore
from app.verification.client import Client
from app.verification.guard import Guard
from app.verification.ids import IdCodec, VerificationRef
from app.verification.policy import Policy
from app.verification.ports import RequestContext, Reserved

ASK = RequestContext(Client("bench", "bench"))


class Recorder(Coalescer):
    """Keeps the last command, so that it can be sent again as it is."""

    command: tuple[Any, ...] = ()

    async def run(self, *command: Any) -> Any:  # noqa: ANN401  as of the class
        self.command = command
        return await super().run(*command)


def tireless(policy: Policy) -> Policy:
    """The same rules, but one verification bears a billion wrong codes, and its call is not held back by what was called before."""
    guesses = replace(policy.guesses, bound=10**9)
    spending = replace(policy.spending, caps=(), by_country={})
    return replace(
        policy, max_attempts=10**9, guesses=guesses, spending=spending, calls_total=(), guard=Guard.of(0, 1, 1, 0)
    )


async def guess(server: Redis) -> tuple[Any, ...]:
    """The command that compares a wrong code: of a verification that is there from now on."""
    recorder = Recorder(server)
    store = RedisStore(recorder, tireless(load_settings(None).policy))
    ref: VerificationRef = IdCodec(b"a pepper for the baselines, of 32 bytes").new(
        f"+7917{secrets.randbelow(10**7):07d}", 4
    )
    call = await store.start([ref], ASK, None, None)
    if not isinstance(call, Reserved):
        sys.exit(f"the baseline got no verification: {call}")
    await store.settle(ref, ASK, call, ref.digest("0123"), None)
    await store.check(ref, ASK, ref.digest("9999"))  # the first one may have to send the script's text
    await store.check(ref, ASK, ref.digest("9999"))
    return recorder.command


class Body(BaseModel):
    """A check, as the service takes it."""

    id: str
    code: str


def route() -> ASGIApp:
    """A bare route."""
    app = FastAPI()

    @app.post("/verify/check")
    async def check(body: Body) -> dict[str, str]:
        return {"id": body.id, "status": "pending"}

    return app


def plain(where: str) -> ASGIApp:
    """A route that runs the script as redis-py's users do."""
    client: Redis = Redis.from_url(f"unix://{where}")
    commands: list[tuple[Any, ...]] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with connect(f"unix://{where}", 1.0) as server:
            commands.append(await guess(server))
        yield
        await client.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/verify/check")
    async def check(body: Body) -> dict[str, str | int]:
        _, *arguments = commands[0]
        answer: Any = await client.evalsha(*arguments)
        return {"id": body.id, "attempts_left": answer[1]}

    return app


def bare(where: str) -> ASGIApp:
    """An ASGI application without a framework."""
    client = connect(f"unix://{where}", 1.0)
    coalescer = Coalescer(client)
    commands: list[tuple[Any, ...]] = []
    headers = [(b"content-type", b"application/json")]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            commands.append(await guess(client))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await receive()
        answer = await coalescer.run(*commands[0])
        body = b'{"attempts_left": %d}' % answer[1]
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 422, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    return app


def main() -> None:
    kind, port, *where = sys.argv[1:]
    apps: dict[str, Callable[..., ASGIApp]] = {"route": route, "plain": plain, "bare": bare}
    app = apps[kind](*where)
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", log_config=None, access_log=False)


if __name__ == "__main__":
    main()
