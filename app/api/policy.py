"""The route that returns the limits in force, what they add up to, and what is used of them. `lastdigits policy` renders the same."""

from dataclasses import replace
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.auth import SecretClient, TheService
from app.api.openapi import KEY_OF_A_BACKEND, SECRET_ONLY, answers, encoded
from app.api.schemas import Timestamp, described, rfc3339, seconds_until
from app.verification.challenge import When
from app.verification.client import Client
from app.verification.entropy import EntropyMonitor
from app.verification.limits import SCALE, Rate
from app.verification.policy import Guard, Policy, bounds_of
from app.verification.ports import GuardStatus, Usage

router = APIRouter(tags=["backend"])


Bits = Annotated[float, AfterValidator(lambda bits: round(bits, 3))]


class _Read(BaseModel):
    """Read from an object of the core with the same attributes; `validation_alias` is another name there."""

    model_config = ConfigDict(from_attributes=True, validate_by_name=True)


class StepAnswer(_Read):
    """How many verifications of one phone a day allows before its codes grow, if no one types a right code."""

    code_length: int = Field(examples=[4])
    verifications: int | None = described("null: as many as the limits on calls allow.", 3)
    chance: float = described("That one guess at one of these codes is right.", 0.0001)


class LaneAnswer(_Read):
    """What a lane can use up at most, whatever an attacker does."""

    takeover_per_phone_and_day: float = described(
        "Chance that any of its guesses at one phone in any 24 hours is right.",
        0.0005,
        validation_alias="takeover",
    )
    code_lengths: list[StepAnswer] = Field(validation_alias="steps")
    calls_per_hour: int | None = described("By the caps on money; null if calls cost nothing.", 142)
    calls_per_day: int | None = Field(examples=[1428])
    calls_per_phone_and_hour: int = Field(examples=[2])
    calls_per_phone_and_day: int = Field(examples=[5])


class BoundsAnswer(_Read):
    """What the limits add up to: upper bounds."""

    public: LaneAnswer = Field(description="What strangers with a public key can use up.")
    all: LaneAnswer = Field(
        description="Both lanes together: what backends and known devices have while strangers use nothing."
    )
    calls_per_address_and_hour: int = described("Calls that no approval gave back.", 20)


class UsageAnswer(BaseModel):
    """What is used of one limit now."""

    limit: str = described("`calls_total`, `spend`, `spend_client`, `spend_country:KZ`, `calls_per_client`.", "spend")
    period: str = Field(examples=["hour"])
    max: str = described("Calls, or money in the provider's currency.", "100")
    public: str = described("Used by the public lane.", "12.25")
    trusted: str = described("Used by the trusted lane.", "3.5")
    frees_in: int = described("Seconds until some of it is free again; 0 if nothing is used.", 2700)


class CodesAnswer(_Read):
    """How codes of so many digits are distributed, as measured."""

    code_length: int = Field(examples=[4], validation_alias="digits")
    codes: int = described("How many were looked at, 16,384 at most.", 2048, validation_alias="codes_seen")
    biased: bool = described("They recur more often than uniformly distributed ones can.", example=False)
    chance: float = described("What a guess at one of them costs of the guess budget.", 0.0001)
    min_entropy: Bits = described("Bits: of that chance.", 13.29)
    min_entropy_low: Bits = described("Bits: the low end of its confidence interval.", 9.1)
    min_entropy_high: Bits = Field(examples=[13.29])


class FraudAnswer(BaseModel):
    """When destinations are suspended: calls that are not converted are toll fraud."""

    min_conversion: float = described("Share of calls that must lead to an approval.", 0.2)
    calls_per_range: int = described("Calls an hour to ten thousand numbers, before that share is required.", 50)
    calls_per_country: int = Field(examples=[1000])


class SuspendedAnswer(_Read):
    """A destination that is suspended for a lane."""

    destination: str = described("A country, or the first digits of its numbers.", "+7999123")
    lane: str = Field(examples=["public"])
    until: Timestamp = Field(examples=["2026-11-22T09:15:00Z"])


class PolicyAnswer(BaseModel):
    """The limits in force, the bounds that follow from them, and what is used of each budget now."""

    code_length: int = described("The fewest digits of a code.", 4)
    max_attempts: int = Field(examples=[3])
    verification_ttl: int = described("Seconds.", 300)
    approval_repeat_window: int = described("Seconds.", 60)
    resend_cooldowns: list[int] = described("Seconds.", [30, 60, 300])
    calls_per_phone: str = Field(examples=["5/hour, 10/day"])
    calls_per_ip: str = Field(examples=["20/hour"])
    calls_per_client: str | None = described("The caller's own; null for none.", "1000/hour")
    calls_total: str = described("Calls of all clients together.", "100/second")
    public_share: float = described("How much of every shared budget the public lane may use.", 0.5)
    spend_per_hour: str = described("What calls of all clients may cost in an hour, in the provider's currency.", "100")
    spend_per_day: str = Field(examples=["1000"])
    expected_price: str = described("What a call is expected to cost.", "0.35")
    fraud: FraudAnswer | None = Field(description="null: no destination is ever suspended.")
    challenge: When = described("When the public lane must solve a challenge.", "auto")
    spray_alert: int | None = described(
        "Verifications an hour with a wrong code that raise the alert; null: none.", 100
    )
    allowed_countries: list[str] = Field(examples=[["RU"]])
    test_numbers: int = described("How many numbers are never called and have a fixed code.", 0)
    bounds: BoundsAnswer
    codes: list[CodesAnswer] = Field(description="How the provider's codes are distributed, as measured.")
    used: list[UsageAnswer]
    suspended: list[SuspendedAnswer] = Field(description="Now, the soonest to resume first, at most 100.")
    spray_alert_until: Timestamp | None = described("While codes are guessed at over many phones; else null.", None)


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
    hour, day = policy.spending.caps[:2]
    return PolicyAnswer(
        code_length=policy.code_length,
        max_attempts=policy.max_attempts,
        verification_ttl=policy.ttl,
        approval_repeat_window=policy.approval_repeat_window,
        resend_cooldowns=list(policy.cooldowns),
        calls_per_phone=_rates(policy.calls_per_phone),
        calls_per_ip=_rates(policy.calls_per_ip),
        calls_per_client=_rates(client.calls) if client and client.calls else None,
        calls_total=_rates(policy.calls_total),
        public_share=policy.public_share,
        spend_per_hour=_money(hour.count),
        spend_per_day=_money(day.count),
        expected_price=_money(policy.spending.price),
        fraud=_fraud(policy.guard),
        challenge=policy.challenge,
        spray_alert=policy.guard.spray or None,
        allowed_countries=sorted(policy.phones.allowed_countries),
        test_numbers=len(policy.test_numbers),
        bounds=BoundsAnswer.model_validate(bounds_of(policy)),
        codes=[CodesAnswer.model_validate(bias) for bias in entropy.bias.values()],
        used=_used(policy, client, status) if status else [],
        suspended=[SuspendedAnswer.model_validate(each) for each in status.suspended] if status else [],
        spray_alert_until=rfc3339(status.alert_until) if status and status.alert_until else None,
    )


def _fraud(guard: Guard) -> FraudAnswer | None:
    if not guard.min_conversion:
        return None
    return FraudAnswer(
        min_conversion=guard.min_conversion / 1000,
        calls_per_range=guard.calls_per_range,
        calls_per_country=guard.calls_per_country,
    )


def _used(policy: Policy, client: Client | None, status: GuardStatus) -> list[UsageAnswer]:
    limits = {"calls_total": policy.calls_total, "spend": policy.spending.caps}
    limits |= {f"spend_country:{country}": caps for country, caps in policy.spending.by_country.items()}
    named = {name: (name, rates) for name, rates in limits.items()}
    if client:
        named |= {f"spend_client:{client.id}": ("spend_client", client.spend)}
        named |= {f"calls_per_client:{client.id}": ("calls_per_client", client.calls)}
    return [
        _usage(name, rate, status.used[f"{counter}/{rate.seconds}"])
        for counter, (name, rates) in named.items()
        for rate in rates
    ]


def _usage(name: str, rate: Rate, usage: Usage) -> UsageAnswer:
    shown = _money if name.startswith("spend") else str
    return UsageAnswer(
        limit=name,
        period=rate.period,
        max=shown(rate.count),
        public=shown(usage.public),
        trusted=shown(usage.trusted),
        frees_in=seconds_until(usage.resets_in, 0),
    )


def _money(units: int) -> str:
    return str(Decimal(units) / SCALE)


def _rates(rates: tuple[Rate, ...]) -> str:
    return ", ".join(map(str, rates))
