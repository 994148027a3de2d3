"""The three remote services as their documentation describes them, and what goes wrong with services, on real sockets.

Yandex Cloud: SmartCaptcha, "Verifying the CAPTCHA response". Cloudflare: Turnstile, "Validate the token". hCaptcha: "Developer Guide".
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.verification.challenge import ChallengeKind

SECRET = "secret-key-5b0c77"
SITE_KEY = "site-key-11"
GOOD = "good-token"

Form = dict[str, str]
Answer = dict[str, object]


@dataclass
class Fake:
    """One service that knows some tokens, and what it was asked.

    Attributes:
        kind: which service it is.
        tokens: valid ones, not used yet.
        forms: what it was sent.
        heads: the headers that came with it, and the port they came from.
        host: the site where its tokens were made.
        instead: answers in its place.
    """

    kind: ChallengeKind
    tokens: set[str] = field(default_factory=lambda: {GOOD})
    forms: list[Form] = field(default_factory=list)
    heads: list[tuple[dict[str, str], int]] = field(default_factory=list)
    host: str = "shop.example"
    instead: Callable[[Request], Awaitable[Response]] | None = None

    async def answer(self, request: Request) -> Response:
        assert request.client is not None
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        form = dict(parse_qsl((await request.body()).decode("ascii"), keep_blank_values=True))
        self.forms.append(form)
        self.heads.append((dict(request.headers), request.client.port))
        if self.instead is not None:
            return await self.instead(request)
        answer = JSONResponse(ANSWERS[self.kind](self, form))
        answer.set_cookie("__cf_bm", form.get("response", "tracked"))
        return answer

    def spend(self, token: str | None) -> bool:
        """Whether a token is valid: once."""
        if token not in self.tokens:
            return False
        self.tokens.remove(token)
        return True


def _smartcaptcha(fake: Fake, form: Form) -> Answer:
    if "secret" not in form:
        return {"status": "failed", "message": "Authentication failed. Secret has not provided."}
    if form["secret"] != SECRET:  # the documentation shows the missing one only
        return {"status": "failed", "message": "Authentication failed. Invalid secret."}
    if form["token"] == "robot":
        return {"status": "failed", "message": ""}
    if not fake.spend(form["token"]):
        return {"status": "failed", "message": "Token invalid or expired."}
    return {"status": "ok", "message": "", "host": fake.host}


def _turnstile(fake: Fake, form: Form) -> Answer:
    if form.get("secret") != SECRET:
        return {"success": False, "error-codes": ["invalid-input-secret"], "messages": []}
    if form["response"] == GOOD and not fake.tokens:
        return {"success": False, "error-codes": ["timeout-or-duplicate"], "messages": []}
    if not fake.spend(form["response"]):
        return {"success": False, "error-codes": ["invalid-input-response"], "messages": []}
    return {
        "success": True,
        "error-codes": [],
        "challenge_ts": "2026-11-25T10:00:00.096Z",
        "hostname": fake.host,
        "action": "",
        "cdata": "",
    }


def _hcaptcha(fake: Fake, form: Form) -> Answer:
    if form.get("secret") != SECRET:
        return {"success": False, "error-codes": ["invalid-input-secret"]}
    if form.get("sitekey", SITE_KEY) != SITE_KEY:
        return {"success": False, "error-codes": ["sitekey-secret-mismatch"]}
    if form["response"] == GOOD and not fake.tokens:
        return {"success": False, "error-codes": ["already-seen-response"]}
    if not fake.spend(form["response"]):
        return {"success": False, "error-codes": ["invalid-input-response"]}
    return {"success": True, "challenge_ts": "2026-11-25T10:00:00.000000Z", "hostname": "not-provided", "credit": False}


ANSWERS: dict[ChallengeKind, Callable[[Fake, Form], Answer]] = {
    ChallengeKind.SMARTCAPTCHA: _smartcaptcha,
    ChallengeKind.TURNSTILE: _turnstile,
    ChallengeKind.HCAPTCHA: _hcaptcha,
}


class Stand:
    """A server in a thread of its own; each fake has a path of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._fakes: dict[str, Fake] = {}

    def serve(self, fake: Fake) -> str:
        """Serve a fake from now on; returns its URL."""
        path = f"/{len(self._fakes)}/validate"
        self._fakes[path] = fake
        return self._address + path

    async def answer(self, request: Request) -> Response:
        return await self._fakes[request.url.path].answer(request)


@contextmanager
def standing() -> Iterator[Stand]:
    """A stand until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stand = Stand(f"http://127.0.0.1:{listener.getsockname()[1]}")
        app = Starlette(routes=[Route("/{number}/validate", stand.answer, methods=["POST"])])
        server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield stand
        finally:
            server.should_exit = True
            thread.join()


@asynccontextmanager
async def raw(written: bytes, *, abort: bool = False) -> AsyncIterator[str]:
    """A server that writes these bytes to each connection, and closes or aborts it; yields its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(written)
        await writer.drain()
        if abort:
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/validate"
