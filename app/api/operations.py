"""The routes for operators: is the process alive, can the service do its work, what has it done."""

from importlib.metadata import version
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.api.auth import TheService
from app.api.lean import LeanRoute
from app.api.openapi import answers, encoded
from app.api.problems import FAULTS, RequestError, faulty
from app.api.schemas import HealthAnswer, ReadyAnswer
from app.telemetry.metrics import Metrics

_TEXT: dict[int | str, dict[str, Any]] = {
    200: answers(200, HealthAnswer, "What all workers have counted, in Prometheus's text format or OpenMetrics.")[200]
    | {
        "model": None,
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": 'lastdigits_calls_total{outcome="placed",reason=""} 42.0\n',
            },
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
    }
}

router = APIRouter(tags=["operations"], route_class=LeanRoute)
VERSION = version("lastdigits")


@router.get("/healthz", responses=answers(200, HealthAnswer, "The process answers."), response_model=None)
async def healthz() -> Response:
    """Tell that the process answers. It says nothing of Redis: restarting this process would not mend that."""
    return encoded(200, HealthAnswer(status="ok", version=VERSION))


@router.get("/readyz", responses=answers(200, ReadyAnswer, "It can do its work.", "not_ready"), response_model=None)
async def readyz(service: TheService) -> Response:
    """Tell whether the service can do its work: Redis is reachable, new enough, writable, and drops no counters."""
    health = await service.examine()
    if not health.ready:
        structlog.get_logger().warning("not_ready", faults=health.faults, detail=health.detail)
        return faulty(
            RequestError.NOT_READY,
            "Mend what faults names.",
            retry_after=FAULTS[RequestError.NOT_READY].extras["retry_after"],
            faults=list(health.faults),
        )
    return encoded(200, ReadyAnswer(status="ready", sandbox=service.sandbox, store=health.server))


def _scrape(request: Request) -> tuple[bytes, str]:
    """What there is to tell to a request, and its media type."""
    metrics: Metrics = request.scope["state"]["metrics"]
    return metrics.text(request.headers.get("Accept", ""))


@router.get("/metrics", responses=_TEXT, response_model=None, response_class=PlainTextResponse)
async def metrics(scrape: Annotated[tuple[bytes, str], Depends(_scrape)]) -> Response:
    """Tell Prometheus what this service's workers have counted since it was started: of all of them, whichever answers."""
    text, media_type = scrape
    return Response(text, headers={"Cache-Control": "no-store", "Content-Type": media_type})
