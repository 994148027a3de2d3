"""`RateLimit-Policy` and `RateLimit`: the limits that a caller has, and no more of them than its own."""

from dataclasses import replace

import pytest
from starlette.responses import Response

from app.api.schemas import add_limits
from app.verification.client import Caller, Client
from app.verification.limits import parse_rates
from app.verification.model import Limit, LimitReached
from tests.contract.conftest import POLICY

OWN = parse_rates("10/hour, 90/day")
LIMITED = replace(POLICY, calls_per_phone=parse_rates("7/hour"), calls_per_ip=parse_rates("3/hour, 5/day"))
BACKEND, PAGE = Caller(Client("shop", "shop", calls=OWN)), Caller(Client("web", "shop", calls=OWN, public=True))


def _headers(caller: Caller, outcome: object = None) -> tuple[str, str | None]:
    headers = add_limits(Response(), LIMITED, caller, outcome).headers
    return headers["RateLimit-Policy"], headers.get("RateLimit")


def test_a_public_client_has_its_share_of_its_own_limits_and_a_backend_all() -> None:
    own = '"calls_per_client/hour";q={};w=3600, "calls_per_client/day";q={};w=86400'
    assert _headers(BACKEND)[0] == f'"calls_per_phone";q=7;w=3600, {own.format(10, 90)}'
    assert _headers(PAGE)[0].endswith(own.format(5, 45))


@pytest.mark.parametrize(
    ("reached", "shown"),
    [
        (LimitReached(Limit.CALLS_PER_CLIENT, 60, 0), '"calls_per_client/hour";r=0;t=60'),
        (LimitReached(Limit.CALLS_PER_CLIENT, 60, 1), '"calls_per_client/day";r=0;t=60'),
        (LimitReached(Limit.CALLS_PER_PHONE, 60, 0), '"calls_per_phone";r=0;t=60'),
        (LimitReached(Limit.RESEND_COOLDOWN, 60), None),
        (LimitReached(Limit.CALLS_TOTAL, 60, 0), None),
    ],
)
def test_the_limit_that_denies_is_named_by_its_window_if_it_has_several(
    reached: LimitReached, shown: str | None
) -> None:
    assert _headers(BACKEND, reached)[1] == shown
