"""The route that tells the limits in force, and what they add up to."""

from dataclasses import replace
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.api.auth import SecretClient, TheService
from app.api.lean import LeanRoute
from app.api.openapi import KEY_OF_A_BACKEND, SECRET_ONLY, answers, encoded
from app.api.schemas import rfc3339
from app.verification.bounds import bounds_of
from app.verification.challenge import When
from app.verification.client import Client
from app.verification.draws import Draws
from app.verification.guard import Guard, GuardStatus
from app.verification.money import SCALE
from app.verification.odds import Odds
from app.verification.policy import Policy
from app.verification.rates import Rate

router = APIRouter(tags=["internal"], route_class=LeanRoute)


class StepAnswer(BaseModel):
    """How many verifications of one phone a day bears before codes grow, if nobody types a right code."""

    code_length: Annotated[int, Field(examples=[4])]
    verifications: Annotated[
        int | None, Field(description="null: as many as the limits on calls let through.", examples=[2])
    ]
    chance: Annotated[float, Field(description="That one guess at one of these codes is right.", examples=[0.0001])]


class BoundsAnswer(BaseModel):
    """What the limits add up to: upper bounds, whatever an attacker does."""

    takeover_per_phone_and_day: Annotated[
        float,
        Field(
            description="Chance that all guesses against one phone in any 24 hours are right once.", examples=[0.001]
        ),
    ]
    code_lengths: list[StepAnswer]
    calls_per_hour: Annotated[
        int | None,
        Field(description="Of all clients, by the caps on money; null if calls cost nothing.", examples=[285]),
    ]
    calls_per_day: Annotated[int | None, Field(examples=[2857])]
    calls_per_phone_and_hour: Annotated[int, Field(examples=[5])]
    calls_per_phone_and_day: Annotated[int, Field(examples=[10])]
    calls_per_address_and_hour: Annotated[int, Field(examples=[20])]
    wrong_guesses_per_address_and_hour: Annotated[int, Field(examples=[30])]


class OddsAnswer(BaseModel):
    """How evenly codes of so many digits are drawn."""

    code_length: Annotated[int, Field(examples=[4])]
    codes: Annotated[int, Field(description="How many were looked at, 16,384 at most.", examples=[2048])]
    uneven: Annotated[bool, Field(description="They recur more often than evenly drawn ones can.", examples=[False])]
    chance: Annotated[float, Field(description="What a guess at one of them is charged.", examples=[0.0001])]
    min_entropy: Annotated[float, Field(description="Bits: of that chance.", examples=[13.29])]
    min_entropy_low: Annotated[
        float, Field(description="Bits: the low end of its confidence interval.", examples=[9.1])
    ]
    min_entropy_high: Annotated[float, Field(examples=[13.29])]


class GuardAnswer(BaseModel):
    """When destinations close: calls that nobody confirms are toll fraud."""

    share: Annotated[float, Field(description="Of calls, that must be confirmed.", examples=[0.2])]
    calls_per_range: Annotated[
        int, Field(description="An hour to ten thousand numbers, before that share is asked for.", examples=[50])
    ]
    calls_per_country: Annotated[int, Field(examples=[1000])]


class ClosedAnswer(BaseModel):
    """A destination that is closed."""

    destination: Annotated[
        str, Field(description="A country, or the first digits of its numbers.", examples=["+7999123"])
    ]
    until: Annotated[str, Field(description="RFC 3339, UTC.", examples=["2026-11-22T09:15:00Z"])]


class PolicyAnswer(BaseModel):
    """The limits in force and the bounds that follow from them."""

    codes_drawn: Annotated[list[OddsAnswer], Field(description="How evenly the provider draws its codes, as measured.")]
    code_length: Annotated[int, Field(description="The fewest digits of a code.", examples=[4])]
    max_attempts: Annotated[int, Field(examples=[3])]
    verification_ttl: Annotated[int, Field(description="Seconds.", examples=[300])]
    resend_cooldowns: Annotated[list[int], Field(description="Seconds.", examples=[[30, 60, 300]])]
    calls_per_phone: Annotated[str, Field(examples=["5/hour, 10/day"])]
    calls_per_ip: Annotated[str, Field(examples=["20/hour"])]
    calls_per_client: Annotated[
        str | None, Field(description="The caller's own; null for none.", examples=["1000/hour"])
    ]
    calls_total: Annotated[str, Field(description="Of all clients.", examples=["100/second"])]
    wrong_guesses_per_ip: Annotated[str, Field(examples=["30/hour"])]
    guard: Annotated[GuardAnswer | None, Field(description="null: no destination ever closes.")]
    closed: Annotated[list[ClosedAnswer], Field(description="At this moment, the soonest open first, at most 100.")]
    challenge: Annotated[When, Field(description="When public clients must solve a challenge.", examples=["auto"])]
    spray_alert: Annotated[
        int | None,
        Field(description="Verifications an hour with a wrong code that raise the alarm; null: none.", examples=[100]),
    ]
    spray_alarm_until: Annotated[
        str | None, Field(description="RFC 3339, UTC: while somebody guesses at many phones.", examples=[None])
    ]
    spend_per_hour: Annotated[str, Field(description="Of all clients, in the provider's currency.", examples=["100"])]
    spend_per_day: Annotated[str, Field(examples=["1000"])]
    expected_price: Annotated[str, Field(description="Of a call.", examples=["0.35"])]
    allowed_countries: Annotated[list[str], Field(examples=[["RU"]])]
    bounds: BoundsAnswer


@router.get(
    "/policy",
    responses=answers(200, PolicyAnswer, "The limits in force.", *KEY_OF_A_BACKEND),
    **SECRET_ONLY,
)
async def policy(caller: SecretClient, service: TheService) -> Response:
    """Tell the limits in force, and what they add up to. `lastdigits policy` says the same in words."""
    return encoded(
        200, _answer(service.policy, caller.client, service.draws, await service.verifications.guard_status())
    )


def _answer(settled: Policy, client: Client, draws: Draws, guard_status: GuardStatus) -> PolicyAnswer:
    """What `policy` answers a client."""
    policy = replace(settled, guesses=draws.guesses)
    bounds = bounds_of(policy)
    return PolicyAnswer(
        codes_drawn=[_odds(odds) for odds in draws.odds.values()],
        code_length=policy.code_length,
        max_attempts=policy.max_attempts,
        verification_ttl=policy.ttl,
        resend_cooldowns=list(policy.cooldowns),
        calls_per_phone=_rates(policy.calls_per_phone),
        calls_per_ip=_rates(policy.calls_per_ip),
        calls_per_client=_rates(client.starts) or None,
        calls_total=_rates(policy.calls_total),
        wrong_guesses_per_ip=_rates(policy.wrong_guesses_per_ip),
        guard=_guard(policy.guard),
        closed=[ClosedAnswer(destination=name, until=rfc3339(until)) for name, until in guard_status.closed],
        challenge=policy.challenge,
        spray_alert=policy.guard.spray.floor if policy.guard.spray else None,
        spray_alarm_until=rfc3339(guard_status.alarm_until) if guard_status.alarm_until else None,
        spend_per_hour=_money(policy.spending.caps[0].count),
        spend_per_day=_money(policy.spending.caps[1].count),
        expected_price=_money(policy.spending.price),
        allowed_countries=sorted(policy.phones.allowed_countries),
        bounds=BoundsAnswer(
            takeover_per_phone_and_day=bounds.takeover,
            code_lengths=[
                StepAnswer(code_length=step.code_length, verifications=step.verifications, chance=step.chance)
                for step in bounds.steps
            ],
            calls_per_hour=bounds.all_calls_per_hour,
            calls_per_day=bounds.all_calls_per_day,
            calls_per_phone_and_hour=bounds.calls_per_hour,
            calls_per_phone_and_day=bounds.calls_per_day,
            calls_per_address_and_hour=bounds.address_calls_per_hour,
            wrong_guesses_per_address_and_hour=bounds.address_guesses_per_hour,
        ),
    )


def _odds(odds: Odds) -> OddsAnswer:
    return OddsAnswer(
        code_length=odds.digits,
        codes=odds.drawn,
        uneven=odds.uneven,
        chance=odds.chance,
        min_entropy=round(odds.min_entropy, 3),
        min_entropy_low=round(odds.low, 3),
        min_entropy_high=round(odds.high, 3),
    )


def _guard(guard: Guard) -> GuardAnswer | None:
    if guard.range is None or guard.country is None:
        return None
    return GuardAnswer(
        share=guard.range.share / 1000, calls_per_range=guard.range.floor, calls_per_country=guard.country.floor
    )


def _money(units: int) -> str:
    return str(Decimal(units) / SCALE)


def _rates(rates: tuple[Rate, ...]) -> str:
    return ", ".join(map(str, rates))
