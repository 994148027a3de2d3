"""The routes for operators: is the process alive, can the service do its work."""

from importlib.metadata import version

import structlog
from fastapi import APIRouter
from starlette.responses import Response

from app.api.bodies import HealthAnswer, ReadyAnswer
from app.api.caller import TheService
from app.api.documented import answers, encoded
from app.api.lean import LeanRoute
from app.api.problems import FAULTS, Fault, faulty

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
            Fault.NOT_READY,
            "Mend what faults names.",
            retry_after=FAULTS[Fault.NOT_READY].extras["retry_after"],
            faults=list(health.faults),
        )
    return encoded(200, ReadyAnswer(status="ready", sandbox=service.sandbox, store=health.server))
