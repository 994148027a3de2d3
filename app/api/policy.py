"""The route that returns the limits in force, what they add up to, and what is used of them. `lastdigits policy` renders the same."""

from dataclasses import replace
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.api.auth import SecretClient, TheService
from app.api.openapi import KEY_OF_A_BACKEND, SECRET_ONLY, answers, encoded
from app.api.schemas import Timestamp, rfc3339
from app.verification.challenge import When
from app.verification.client import Client
from app.verification.entropy import EntropyMonitor
from app.verification.limits import SCALE, Rate
from app.verification.policy import Bounds, LaneBounds, Policy, bounds_of
from app.verification.ports import CodeBias, GuardStatus, Suspended

router = APIRouter(tags=["backend"])


class StepAnswer(BaseModel):
    """How many verifications of one phone a day allows before its codes grow, if no one types a right code."""

    code_length: Annotated[int, Field(examples=[4])]
    verifications: Annotated[int | None, Field(description="null: as many as the limits on calls allow.", examples=[3])]
    chance: Annotated[float, Field(description="That one guess at one of these codes is right.", examples=[0.0001])]


class LaneAnswer(BaseModel):
    """What a lane can use up at most, whatever an attacker does."""

    takeover_per_phone_and_day: Annotated[
        float,
        Field(
            description="Chance that all its guesses against one phone in any 24 hours are right once.",
            examples=[0.0005],
        ),
    ]
    code_lengths: list[StepAnswer]
    calls_per_hour: Annotated[
        int | None, Field(description="By the caps on money; null if calls cost nothing.", examples=[142])
    ]
    calls_per_day: Annotated[int | None, Field(examples=[1428])]
    calls_per_phone_and_hour: Annotated[int, Field(examples=[2])]
    calls_per_phone_and_day: Annotated[int, Field(examples=[5])]


class BoundsAnswer(BaseModel):
    """What the limits add up to: upper bounds."""

    public: Annotated[LaneAnswer, Field(description="What strangers with a public key can use up.")]
    all: Annotated[
        LaneAnswer,
        Field(description="Both lanes together: what backends and known devices have while strangers use nothing."),
    ]
    calls_per_address_and_hour: Annotated[int, Field(description="Calls that no approval gave back.", examples=[20])]


class UsageAnswer(BaseModel):
    """What is used of one limit now."""

    limit: Annotated[
        str,
        Field(
            description="`calls_total`, `spend`, `spend_client`, `spend_country:KZ`, `calls_per_client`.",
            examples=["spend"],
        ),
    ]
    period: Annotated[str, Field(examples=["hour"])]
    max: Annotated[str, Field(description="Calls, or money in the provider's currency.", examples=["100"])]
    public: Annotated[str, Field(description="Used by the public lane.", examples=["12.25"])]
    trusted: Annotated[str, Field(description="Used by the trusted lane.", examples=["3.5"])]
    frees_in: Annotated[
        int, Field(description="Seconds until some of it is free again; 0 if nothing is used.", examples=[2700])
    ]


class CodesAnswer(BaseModel):
    """How codes of so many digits are distributed, as measured."""

    code_length: Annotated[int, Field(examples=[4])]
    codes: Annotated[int, Field(description="How many were looked at, 16,384 at most.", examples=[2048])]
    biased: Annotated[
        bool, Field(description="They recur more often than uniformly distributed ones can.", examples=[False])
    ]
    chance: Annotated[
        float, Field(description="What a guess at one of them costs of the guess budget.", examples=[0.0001])
    ]
    min_entropy: Annotated[float, Field(description="Bits: of that chance.", examples=[13.29])]
    min_entropy_low: Annotated[
        float, Field(description="Bits: the low end of its confidence interval.", examples=[9.1])
    ]
    min_entropy_high: Annotated[float, Field(examples=[13.29])]


class FraudAnswer(BaseModel):
    """When destinations are suspended: calls that are not converted are toll fraud."""

    min_conversion: Annotated[float, Field(description="Share of calls that must lead to an approval.", examples=[0.2])]
    calls_per_range: Annotated[
        int, Field(description="An hour to ten thousand numbers, before that share is required.", examples=[50])
    ]
    calls_per_country: Annotated[int, Field(examples=[1000])]


class SuspendedAnswer(BaseModel):
    """A destination that is suspended for a lane."""

    destination: Annotated[
        str, Field(description="A country, or the first digits of its numbers.", examples=["+7999123"])
    ]
    lane: Annotated[str, Field(examples=["public"])]
    until: Annotated[Timestamp, Field(examples=["2026-11-22T09:15:00Z"])]


class PolicyAnswer(BaseModel):
    """The limits in force, the bounds that follow from them, and what is used of each budget now."""

    code_length: Annotated[int, Field(description="The fewest digits of a code.", examples=[4])]
    max_attempts: Annotated[int, Field(examples=[3])]
    verification_ttl: Annotated[int, Field(description="Seconds.", examples=[300])]
    approval_repeat_window: Annotated[int, Field(description="Seconds.", examples=[60])]
    resend_cooldowns: Annotated[list[int], Field(description="Seconds.", examples=[[30, 60, 300]])]
    calls_per_phone: Annotated[str, Field(examples=["5/hour, 10/day"])]
    calls_per_ip: Annotated[str, Field(examples=["20/hour"])]
    calls_per_client: Annotated[
        str | None, Field(description="The caller's own; null for none.", examples=["1000/hour"])
    ]
    calls_total: Annotated[str, Field(description="Of all clients.", examples=["100/second"])]
    public_share: Annotated[
        float, Field(description="How much of every shared budget the public lane may use.", examples=[0.5])
    ]
    spend_per_hour: Annotated[str, Field(description="Of all clients, in the provider's currency.", examples=["100"])]
    spend_per_day: Annotated[str, Field(examples=["1000"])]
    expected_price: Annotated[str, Field(description="Of a call.", examples=["0.35"])]
    fraud: Annotated[FraudAnswer | None, Field(description="null: no destination is ever suspended.")]
    challenge: Annotated[When, Field(description="When the public lane must solve a challenge.", examples=["auto"])]
    spray_alert: Annotated[
        int | None,
        Field(description="Verifications an hour with a wrong code that raise the alert; null: none.", examples=[100]),
    ]
    allowed_countries: Annotated[list[str], Field(examples=[["RU"]])]
    test_numbers: Annotated[
        int, Field(description="How many numbers are never called and have a fixed code.", examples=[0])
    ]
    bounds: BoundsAnswer
    codes: Annotated[list[CodesAnswer], Field(description="How the provider's codes are distributed, as measured.")]
    used: list[UsageAnswer]
    suspended: Annotated[list[SuspendedAnswer], Field(description="Now, the soonest to resume first, at most 100.")]
    spray_alert_until: Annotated[
        Timestamp | None, Field(description="While codes are guessed at over many phones; else null.", examples=[None])
    ]


@router.get(
    "/policy",
    operation_id="getPolicy",
    responses=answers(200, PolicyAnswer, "The limits in force.", *KEY_OF_A_BACKEND),
    **SECRET_ONLY,
)
async def policy(caller: SecretClient, service: TheService) -> Response:
    """Return the limits in force, what they add up to, and what is used of them now."""
    status = await service.verifications.status(caller.client)
    return encoded(200, policy_answer(service.policy, caller.client, service.entropy, status))


def policy_answer(
    settled: Policy, client: Client | None, entropy: EntropyMonitor, status: GuardStatus | None
) -> PolicyAnswer:
    """The policy as a client sees it; without a client, as the operator does; without a status, what is used is not known."""
    policy = replace(settled, guesses=entropy.guesses)
    guard = policy.guard
    return PolicyAnswer(
        code_length=policy.code_length,
        max_attempts=policy.max_attempts,
        verification_ttl=policy.ttl,
        approval_repeat_window=policy.approval_repeat_window,
        resend_cooldowns=list(policy.cooldowns),
        calls_per_phone=_rates(policy.calls_per_phone),
        calls_per_ip=_rates(policy.calls_per_ip),
        calls_per_client=_rates(client.calls) or None if client else None,
        calls_total=_rates(policy.calls_total),
        public_share=policy.public_share,
        spend_per_hour=_money(policy.spending.caps[0].count),
        spend_per_day=_money(policy.spending.caps[1].count),
        expected_price=_money(policy.spending.price),
        fraud=FraudAnswer(
            min_conversion=guard.min_conversion / 1000,
            calls_per_range=guard.calls_per_range,
            calls_per_country=guard.calls_per_country,
        )
        if guard.min_conversion
        else None,
        challenge=policy.challenge,
        spray_alert=guard.spray or None,
        allowed_countries=sorted(policy.phones.allowed_countries),
        test_numbers=len(policy.test_numbers),
        bounds=_bounds(bounds_of(policy)),
        codes=[_codes(bias) for bias in entropy.bias.values()],
        used=_used(policy, client, status) if status else [],
        suspended=[_suspended(entry) for entry in status.suspended] if status else [],
        spray_alert_until=rfc3339(status.alert_until) if status and status.alert_until else None,
    )


def _bounds(bounds: Bounds) -> BoundsAnswer:
    return BoundsAnswer(
        public=_lane(bounds.public), all=_lane(bounds.all), calls_per_address_and_hour=bounds.calls_per_address_and_hour
    )


def _lane(lane: LaneBounds) -> LaneAnswer:
    return LaneAnswer(
        takeover_per_phone_and_day=lane.takeover,
        code_lengths=[
            StepAnswer(code_length=step.code_length, verifications=step.verifications, chance=step.chance)
            for step in lane.steps
        ],
        calls_per_hour=lane.calls_per_hour,
        calls_per_day=lane.calls_per_day,
        calls_per_phone_and_hour=lane.calls_per_phone_and_hour,
        calls_per_phone_and_day=lane.calls_per_phone_and_day,
    )


def _codes(bias: CodeBias) -> CodesAnswer:
    return CodesAnswer(
        code_length=bias.digits,
        codes=bias.codes_seen,
        biased=bias.biased,
        chance=bias.chance,
        min_entropy=round(bias.min_entropy, 3),
        min_entropy_low=round(bias.min_entropy_low, 3),
        min_entropy_high=round(bias.min_entropy_high, 3),
    )


def _used(policy: Policy, client: Client | None, status: GuardStatus) -> list[UsageAnswer]:
    rates = {"calls_total": policy.calls_total, "spend": policy.spending.caps}
    rates |= {f"spend_country:{country}": caps for country, caps in policy.spending.by_country.items()}
    own = {"spend_client": client.spend, "calls_per_client": client.calls} if client else {}
    found = []
    for name, limits in (rates | own).items():
        shown = _money if name.startswith("spend") else str
        for rate in limits:
            usage = status.used[
                f"{name}:{client.id}/{rate.seconds}" if client and name in own else f"{name}/{rate.seconds}"
            ]
            found.append(
                UsageAnswer(
                    limit=name,
                    period=rate.period,
                    max=shown(rate.count),
                    public=shown(usage.public),
                    trusted=shown(usage.trusted),
                    frees_in=-(-usage.resets_in // 1000),
                )
            )
    return found


def _suspended(entry: Suspended) -> SuspendedAnswer:
    return SuspendedAnswer(destination=entry.destination, lane=entry.lane, until=rfc3339(entry.until))


def _money(units: int) -> str:
    return str(Decimal(units) / SCALE)


def _rates(rates: tuple[Rate, ...]) -> str:
    return ", ".join(map(str, rates))
