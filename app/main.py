"""The application: plain constructors, put together once. With cli.py and cli/serve.py the only file that sees every package."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any, TypedDict

import structlog
from fastapi import FastAPI

from app.api import backend, operations, policy, verify
from app.api.auth import Service
from app.api.listener import WaitingConnections
from app.api.middleware import RequestMiddleware, request_series
from app.api.openapi import complete
from app.api.problems import HANDLERS
from app.challenges import make_challenges
from app.provider.admission import Admission
from app.provider.mobilgroup import Credentials, Limits, Mobilgroup, body_key, header_key, login
from app.reloading import reload_on_hangup
from app.settings import ProviderSettings, Settings
from app.store.connection import connect
from app.store.health import Watch
from app.store.pipelines import Pipelines
from app.store.redis_store import RedisStore
from app.telemetry.gauges import Gauges
from app.telemetry.metrics import Metrics
from app.telemetry.observers import LogObserver, Observers
from app.telemetry.tallies import Tallies
from app.verification.challenge import ChallengeKind
from app.verification.entropy import EntropyMonitor
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


class Application(FastAPI):
    """FastAPI, with a complete OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema


class State(TypedDict):
    """What the lifespan hands to every request and every connection."""

    service: Service
    metrics: Metrics
    gauges: Gauges
    waiting: WaitingConnections


def create_app(settings: Settings, tallies: Tallies | None = None) -> FastAPI:
    """Build the application.

    Args:
        settings: complete ones: with a provider's address, a pepper, signing keys and clients (cli/serve.py fills in what the sandbox makes for itself).
        tallies: where this worker and the others count; None where it is alone.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        metrics = Metrics(operations.VERSION, tallies, request_series(app.routes))
        async with running(settings, Observers((metrics, LogObserver()), metrics.count_observer_error)) as service:
            reload_on_hangup(settings, service, metrics)
            for warning in settings.clients.warnings if settings.clients else ():
                structlog.get_logger().warning("clients", detail=warning)
            # What lives now lives as long as the process: looking through it at each collection is what made p99 40 ms (docs/performance.md).
            gc.collect()
            gc.freeze()
            gc.set_threshold(10_000, 20, 100)
            yield {
                "service": service,
                "metrics": metrics,
                "gauges": operations.gauges_of(service),
                "waiting": WaitingConnections(service.proxies),
            }

    app = Application(
        title="lastdigits",
        version=operations.VERSION,
        description=DESCRIPTION,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/"}],
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in (verify.router, backend.router, policy.router, operations.router):
        app.router.routes.extend(router.routes)  # `include_router` would cost 9 µs a request, and add nothing here
    mount_web(app, sandbox=settings.demo)
    app.add_middleware(RequestMiddleware, routes=app.routes)
    return app


@asynccontextmanager
async def running(settings: Settings, observe: Observer) -> AsyncIterator[Service]:
    """Everything that one worker runs, opened and closed in order."""
    if not (settings.pepper and settings.clients and settings.signing_keys):
        raise TypeError("the settings are not complete: start the service with `lastdigits serve`")
    load_regions()
    previous = settings.pepper_previous
    codec = IdCodec(
        settings.pepper.get_secret_value().encode(), previous.get_secret_value().encode() if previous else None
    )
    policy, timeout = settings.policy, settings.redis_timeout
    secret = settings.challenge_secret_key
    challenges = make_challenges(
        ChallengeKind(settings.challenge_provider),
        codec.challenge_key(),
        settings.challenge_site_key,
        secret.get_secret_value() if secret else None,
    )
    async with (
        # Closed, and not entered: entering asks a cluster for its nodes, and a cluster that is down must not stop the service from starting.
        aclosing(connect(settings.redis_url, timeout)) as client,
        aclosing(connect(settings.redis_url, timeout)) as watched,
        aclosing(Pipelines(client, timeout, settings.replication)) as pipelines,
        provider_of(settings.provider) as telephone,
        AsyncExitStack() as stack,
    ):
        stack.push_async_callback(challenges.close)
        watch = Watch(watched, settings.key_prefix, settings.replication.replicas)
        store = RedisStore(pipelines, watch, codec, policy, settings.key_prefix, timeout)
        tokens = TokenIssuer(parse_signing_keys(settings.signing_keys.get_secret_value()), settings.issuer)
        breaker = (settings.provider.breaker_failures, settings.provider.breaker_pause)
        # As many calls as the provider's client places at once, and as many more that wait for a connection.
        provider = Admission(telephone, 2 * settings.provider.pool_size, policy.public_share, breaker, observe)
        entropy = EntropyMonitor(store, codec, policy.guesses, observe)
        verifications = VerificationService(
            store, provider, codec, policy, tokens, entropy, challenges, observe, sandbox=settings.sandbox
        )
        await watch.wait(settings.redis_start_wait)
        with suppress(StoreUnavailable):
            await entropy.measure()
        watching = [asyncio.create_task(work) for work in (entropy.watch(), watch.run())]
        try:
            yield Service(
                verifications,
                settings.clients,
                tokens,
                policy,
                settings.proxies,
                watch,
                settings.sandbox,
                entropy,
                lambda: provider.state,
                store.is_full,
            )
        finally:
            for task in watching:
                task.cancel()
            await verifications.close(policy.call_deadline)


def provider_of(settings: ProviderSettings) -> Mobilgroup:
    """The provider that these settings name, not yet connected."""
    limits = Limits(settings.connect_timeout, settings.read_timeout, settings.pool_size, settings.pool_timeout)
    return Mobilgroup(settings.url, _credentials(settings), limits, settings.proxy)


def _credentials(settings: ProviderSettings) -> Credentials:
    if settings.login and settings.password:
        return login(settings.login, settings.password.get_secret_value())
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return body_key(key) if settings.key_in_body else header_key(key)
