"""The routes for operators: is the process alive, can the service do its work, what has it done."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.auth import Service, TheService
from app.api.lean import LeanRoute
from app.api.openapi import NO_KEY, answers, encoded
from app.api.problems import RequestError, request_problem
from app.api.schemas import HealthAnswer, ReadyAnswer
from app.store.health import StoreProblem
from app.telemetry.gauges import Gauges, Seen
from app.telemetry.metrics import Metrics
from app.verification.client import Client
from app.verification.errors import StoreUnavailable
from app.verification.ports import GuardStatus

_SAMPLE = 'lastdigits_calls_total{outcome="placed",reason=""} 42.0\n'
_METRICS = answers(200, HealthAnswer, "What all workers have counted, in Prometheus's text format or OpenMetrics.")
_METRICS[200] |= {
    "model": None,
    "content": {
        "text/plain": {"schema": {"type": "string"}, "example": _SAMPLE},
        "application/openmetrics-text": {"schema": {"type": "string"}},
    },
}

router = APIRouter(tags=["operations"], route_class=LeanRoute)
VERSION = version("lastdigits")


@router.get("/healthz", operation_id="health", responses=answers(200, HealthAnswer, "The process answers."), **NO_KEY)
async def healthz() -> Response:
    """Check the process.

    It reports nothing of Redis: a restart of this process would not fix that.
    """
    return encoded(200, HealthAnswer(status="ok", version=VERSION))


@router.get(
    "/readyz",
    operation_id="ready",
    responses=answers(200, ReadyAnswer, "The service can do its work.", "not_ready"),
    **NO_KEY,
)
async def readyz(service: TheService) -> Response:
    """Check the service.

    It can do its work where Redis is reachable, new enough, writable, and drops no counters. `breaker` says whether the process that answers asks the
    provider for calls. An open one leaves the service ready: codes of earlier calls are checked, and another instance has the same provider.
    """
    health, breaker = await service.examine(), service.breaker()
    if not health.ready:
        return request_problem(
            RequestError.NOT_READY,
            "Fix what `problems` lists.",
            sandbox=service.sandbox,
            breaker=breaker.value,
            problems=list(health.problems),
        )
    return encoded(200, ReadyAnswer(status="ready", sandbox=service.sandbox, store=health.server, breaker=breaker))


def gauges_of(service: Service) -> Gauges:
    """What a scrape sees besides the counters: the store as it is now, through the eyes of this service."""

    async def look() -> Seen:
        clients = tuple(client for client, _ in service.clients.listed() if client.calls or client.spend)
        health, status = await asyncio.gather(service.examine(), status_of(clients))
        return Seen(health.reachable, _problems(*health.kinds), status, clients)

    async def status_of(clients: Iterable[Client]) -> GuardStatus | None:
        with suppress(StoreUnavailable):
            return await service.verifications.status(*clients)
        return None

    unseen = Seen(up=False, problems=_problems(StoreProblem.NO_ANSWER))
    return Gauges(look, unseen, service.policy, sandbox=service.sandbox)


def _problems(*there: StoreProblem) -> dict[str, bool]:
    return {problem.value: problem in there for problem in StoreProblem}


@router.get("/metrics", operation_id="metrics", responses=_METRICS, **NO_KEY)
async def metrics(request: Request) -> Response:
    """Get the metrics.

    Counters have what all workers have done since the service started, whichever of them answers. Gauges say what holds now.
    """
    counted: Metrics = request.scope["state"]["metrics"]
    gauges: Gauges = request.scope["state"]["gauges"]
    text, media_type = counted.text(request.headers.get("Accept", ""), await gauges.collect())
    return Response(text, headers={"Cache-Control": "no-store", "Content-Type": media_type})
