"""The headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11): the limits of a request, and what is left of them.

`RateLimit` has the caller's own limits only. Of those that others share, a phone's or all clients', it has a denial and nothing else: what is left of
a phone's calls would show a stranger how often its owner asked.
"""

from collections.abc import Iterable
from functools import cache

from starlette.responses import Response

from app.verification.client import Caller
from app.verification.limits import Rate
from app.verification.model import Limit, LimitReached, Pending, RemainingQuota
from app.verification.policy import Policy

POLICY = "RateLimit-Policy"
LEFT = "RateLimit"

_Limits = tuple[tuple[Limit, tuple[Rate, ...]], ...]


class Quotas:
    """Adds the headers to the answers of start and resend."""

    def __init__(self, policy: Policy) -> None:
        """Take the limits in force."""
        self._share = policy.public_share
        self._of_phone = {True: policy.public_calls_per_phone, False: policy.calls_per_phone}
        self._per_ip = policy.calls_per_ip

    def of_call(self, answer: Response, caller: Caller, outcome: object) -> Response:
        """Add the limits of a start or resend. A known device may use more of a phone's calls than its public key alone."""
        of_phone = self._of_phone[caller.client.public]
        limits: _Limits = ((Limit.CALLS_PER_PHONE, of_phone),)
        if caller.address:
            halves = tuple(rate.per_address for rate in of_phone)
            limits = (*limits, (Limit.CALLS_PER_PHONE_AND_IP, halves), (Limit.CALLS_PER_IP, self._per_ip))
        if own := caller.client.calls:
            own = tuple(rate.share(self._share) for rate in own) if caller.client.public else own
            limits = (*limits, (Limit.CALLS_PER_CLIENT, own))
        return _add(answer, limits, _quotas(outcome))


def _quotas(outcome: object) -> Iterable[RemainingQuota]:
    match outcome:
        case Pending(quotas=quotas):
            return quotas
        case LimitReached(limit=limit, place=int(place), retry_after=retry_after):
            return (RemainingQuota(limit, place, 0, retry_after),)
        case _:
            return ()


def _add(answer: Response, limits: _Limits, quotas: Iterable[RemainingQuota]) -> Response:
    policy, names = _described(limits)
    answer.headers.append(POLICY, policy)
    left = ", ".join(
        f"{names[quota.limit, quota.place]};r={quota.left};t={quota.reset}"
        for quota in quotas
        if (quota.limit, quota.place) in names
    )
    if left:
        answer.headers.append(LEFT, left)
    return answer


@cache
def _described(limits: _Limits) -> tuple[str, dict[tuple[Limit, int], str]]:
    """The policy header, and the name in it of each rate: the limit's own, with its period where it has several."""
    names, members = {}, []
    for limit, rates in limits:
        for place, rate in enumerate(rates):
            names[limit, place] = f'"{limit}"' if len(rates) == 1 else f'"{limit}/{rate.period}"'
            members.append(f"{names[limit, place]};q={rate.count};w={rate.seconds}")
    return ", ".join(members), names
