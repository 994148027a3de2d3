"""The application: plain constructors, put together once. With cli.py and serving.py the only file that sees every room."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cached_property
from typing import Any, TypedDict

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Receive, Scope, Send

from app.api import backend, operations, policy, verify
from app.api.auth import Service
from app.api.lean import LeanRoute
from app.api.middleware import Edge, routing_fault
from app.api.openapi import complete
from app.reloading import Reloading
from app.settings import ProviderSettings, Settings
from app.store.coalesce import Coalescer
from app.store.connection import Examiner, connect
from app.store.redis_store import RedisStore
from app.telemetry.logging import LogObserver
from app.telemetry.metrics import Metrics
from app.telemetry.observers import Observers
from app.telemetry.tallies import Tallies
from app.telephony.credentials import BodyKey, Credentials, HeaderKey, Login
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.verification.challenge import Challenges
from app.verification.draws import Draws
from app.verification.errors import StoreUnavailable
from app.verification.ids import IdCodec
from app.verification.phone import load_regions
from app.verification.ports import Observer
from app.verification.service import VerificationService
from app.verification.signing_keys import parse_signing_keys
from app.verification.token import TokenIssuer
from app.web import mount_web

DESCRIPTION = """Self-hosted phone verification by flash call: a phone rings, the call is dropped, and the person types the last digits of the
number that called. Errors are problem details (RFC 9457) with a stable `code`."""


class State(TypedDict):
    """What the lifespan hands to every request."""

    service: Service
    metrics: Metrics


class App(FastAPI):
    """FastAPI with the few layers that this service needs, and its own document."""

    def build_middleware_stack(self) -> Edge:
        """Put the edge outermost, and let the busy routes pass by the router: some 30 µs of each check (docs/performance.md)."""
        routed = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers={HTTPException: routing_fault})
        open_to_pages = {route.path: route.respond for route in verify.router.routes if isinstance(route, LeanRoute)}
        return Edge(routed, open_to_pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go straight to the edge: FastAPI asks its own telemetry first, which looks into the environment for each request (7 µs)."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self._edge(scope, receive, send)

    @cached_property
    def _edge(self) -> "Edge":
        return self.build_middleware_stack()

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            described = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            self.openapi_schema = complete(described)
        return self.openapi_schema


def create_app(settings: Settings, tallies: Tallies | None = None) -> FastAPI:
    """Build the application.

    Args:
        settings: complete ones: with a provider, a pepper, signing keys and clients (serving.py fills in what the sandbox makes for itself).
        tallies: where this worker and the others count; None where it is alone.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        metrics = Metrics(operations.VERSION, tallies)
        async with running(settings, Observers((metrics, LogObserver()))) as service:
            Reloading(settings, service).listen()
            # What lives now lives as long as the process: looking through it at each collection is what made p99 40 ms (docs/performance.md).
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
            yield {"service": service, "metrics": metrics}

    app = App(
        title="lastdigits",
        version=operations.VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (verify.router, backend.router, policy.router, operations.router):
        app.router.routes.extend(router.routes)
    mount_web(app, sandbox=settings.demo)
    return app


@asynccontextmanager
async def running(settings: Settings, observe: Observer) -> AsyncIterator[Service]:
    """Everything that one worker runs, opened and closed in order."""
    if (
        settings.provider is None
        or settings.pepper is None
        or settings.clients is None
        or settings.signing_keys is None
    ):
        raise TypeError("the settings are not complete: start the service with `lastdigits serve`")
    load_regions()
    client = connect(settings.redis_url, settings.redis_timeout)
    previous = settings.pepper_previous
    codec = IdCodec(
        settings.pepper.get_secret_value().encode(), previous.get_secret_value().encode() if previous else None
    )
    coalescer = Coalescer(client, settings.redis_timeout)
    store = RedisStore(coalescer, settings.policy)
    asked = connect(settings.redis_url, settings.redis_timeout)
    async with client, aclosing(coalescer), asked, _provider(settings.provider) as provider:
        tokens = TokenIssuer(parse_signing_keys(settings.signing_keys.get_secret_value()), settings.issuer)
        draws = Draws(store, codec, settings.policy.guesses, observe)
        challenges = Challenges(codec.challenge_key(), settings.policy.challenge)
        verifications = VerificationService(store, provider, codec, settings.policy, tokens, draws, challenges, observe)
        with suppress(StoreUnavailable):
            await draws.measure()
        watching = asyncio.create_task(draws.watch())
        yield Service(
            verifications,
            settings.clients,
            tokens,
            settings.policy,
            settings.proxies,
            Examiner(asked),
            settings.sandbox,
            draws,
        )
        watching.cancel()
        await verifications.close(settings.policy.call_deadline)


def _provider(settings: ProviderSettings) -> Mobilgroup:
    limits = Limits(settings.connect_timeout, settings.read_timeout, settings.pool_size, settings.pool_timeout)
    return Mobilgroup(settings.url, _credentials(settings), limits)


def _credentials(settings: ProviderSettings) -> Credentials:
    if settings.login and settings.password:
        return Login(settings.login, settings.password.get_secret_value())
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return BodyKey(key) if settings.key_in_body else HeaderKey(key)
