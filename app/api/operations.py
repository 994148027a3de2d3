"""The routes for operators: is the process alive, can the service do its work, what has it done."""

from importlib.metadata import version
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from app.api.auth import TheService
from app.api.lean import LeanRoute
from app.api.openapi import NO_KEY, answers, encoded
from app.api.problems import RequestError, request_problem
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

    It can do its work where Redis is reachable, new enough, writable, and drops no counters.
    """
    health = await service.examine()
    if not health.ready:
        structlog.get_logger().warning("not_ready", problems=health.problems, detail=health.detail)
        return request_problem(RequestError.NOT_READY, "Fix what `problems` lists.", problems=list(health.problems))
    return encoded(200, ReadyAnswer(status="ready", sandbox=service.sandbox, store=health.server))


def _scrape(request: Request) -> tuple[bytes, str]:
    """The metrics in the format that a request accepts, and its media type."""
    metrics: Metrics = request.scope["state"]["metrics"]
    return metrics.text(request.headers.get("Accept", ""))


@router.get("/metrics", operation_id="metrics", responses=_TEXT, **NO_KEY)
async def metrics(scrape: Annotated[tuple[bytes, str], Depends(_scrape)]) -> Response:
    """Get the metrics.

    They count what the service's workers have done since it was started: of all of them, whichever answers.
    """
    text, media_type = scrape
    return Response(text, headers={"Cache-Control": "no-store", "Content-Type": media_type})
