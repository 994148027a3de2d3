"""`lastdigits policy`: what the settings in force add up to, in words and a table, and which setting changes what."""

import textwrap
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal

from app.settings import Settings
from app.store.coalesce import Coalescer
from app.store.connection import connect
from app.store.embedded import is_served
from app.store.redis_store import RedisStore
from app.verification.bounds import HOUR, Bounds, Step, bounds_of
from app.verification.code import MAX_DIGITS
from app.verification.errors import StoreUnavailable
from app.verification.guard import PAUSE, PROBES, Guard, GuardStatus
from app.verification.guess_budget import GuessBudget
from app.verification.money import SCALE
from app.verification.odds import Odds, odds_of
from app.verification.policy import Policy
from app.verification.rates import Rate

_WIDTH = 110
_PHONES = (10, 100, 1_000)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the running service has seen.

    Attributes:
        odds: how evenly codes are drawn, by their digits.
        standing: what is closed, and whether there is an alarm.
    """

    odds: Mapping[int, Odds]
    guard_status: GuardStatus


async def measured(settings: Settings) -> Measured | None:
    """Ask the store what was seen; None if none answers: the rules stand without it."""
    path = settings.embedded
    if path and not is_served(path):
        return None
    client = connect(settings.redis_url, settings.redis_timeout)
    async with client, aclosing(Coalescer(client, settings.redis_timeout)) as coalescer:
        store = RedisStore(coalescer, settings.policy)
        try:
            return Measured(odds_of(await store.sample({})), await store.guard_status())
        except StoreUnavailable:
            return None


def policy_report(settings: Settings, seen: Measured | None) -> str:
    """The report, for a person.

    Args:
        settings: those in force.
        seen: what the service that runs with them has seen; None if none does.
    """
    policy = settings.policy
    if seen:
        chances = {digits: odds.chance for digits, odds in seen.odds.items()}
        policy = replace(policy, guesses=policy.guesses.charging(chances))
    bounds = bounds_of(policy)
    parts = [
        _guessing(policy, bounds),
        _codes(policy, seen),
        _calling(policy, bounds),
        _money(settings, bounds),
        _table(policy),
    ]
    return "\n\n".join(parts) + "\n"


def _codes(policy: Policy, seen: Measured | None) -> str:
    if seen is None:
        told = [
            _paragraph(
                "Not known: the store does not answer. Guesses are charged as at evenly drawn codes until the service has seen some."
            )
        ]
        return "\n".join(["CODES AS DRAWN", *told])
    told = [f"    {_drawn(odds)}" for odds in seen.odds.values()]
    if policy.guesses.impossible:
        told.append(
            _paragraph(
                "NOBODY IS CALLED: not one guess at six digits fits under MAX_GUESS_PROBABILITY. Ask the provider for more numbers, or raise the bound to "
                f"at least {_chance(seen.odds[6].chance)}."
            )
        )
    closed = ", ".join(name for name, _ in seen.guard_status.closed)
    told.append(_paragraph(f"Closed at this moment (FRAUD_MIN_CONVERSION): {closed or 'nothing'}."))
    if seen.guard_status.alarm_until:
        told.append(_paragraph("THE SPRAY ALARM IS ON: somebody guesses at many phones (SPRAY_ALERT)."))
    return "\n".join(["CODES AS DRAWN, AND WHAT IS CLOSED", *told])


def _drawn(odds: Odds) -> str:
    found = "worse than evenly drawn" if odds.uneven else "nothing speaks against evenly drawn"
    return (
        f"{odds.digits} digits: {odds.drawn} codes seen, {found}; charged {_chance(odds.chance)} a guess, min-entropy "
        f"{odds.min_entropy:.2f} bits ({odds.low:.2f} to {odds.high:.2f})"
    )


def _guessing(policy: Policy, bounds: Bounds) -> str:
    several = ", ".join(f"any of {count:,}: {_chance(bounds.takeover_of_any(count))}" for count in _PHONES)
    return "\n".join(
        [
            "GUESSING",
            _paragraph(
                "Nobody, with any number of addresses, keys and verifications, takes over a given phone within 24 hours with more than "
                f"{_chance(bounds.takeover)} (MAX_GUESS_PROBABILITY). If many phones are attacked at once, the chance that one of them falls is at "
                f"most, {several}."
            ),
            _paragraph(
                f"Each verification bears {policy.max_attempts} wrong codes (MAX_ATTEMPTS). While somebody guesses at a phone, its codes grow:"
            ),
            *(f"    {_step(step)}" for step in bounds.steps),
            _paragraph(f"{_owner(policy.guesses)} An approval gives back what its own verification cost."),
        ]
    )


def _owner(guesses: GuessBudget) -> str:
    if guesses.guesses * guesses.cost(MAX_DIGITS) <= guesses.bound:
        return (
            "Six digits keep a part of the bound to themselves, as much as all calls that CALLS_PER_PHONE allows can use, so a stranger's "
            "guesses never keep the owner out."
        )
    return (
        f"Codes are drawn so badly that only {guesses.bound // guesses.cost(MAX_DIGITS)} guesses a day fit under the bound: a stranger who makes "
        "them keeps the owner out."
    )


def _step(step: Step) -> str:
    chance = f"each guess is right with {step.chance:.6f}"
    if step.verifications is None:
        return f"{step.code_length} digits, {chance}: all that follow"
    return (
        f"{step.code_length} digits, {chance}: {step.verifications} verifications in which nobody types the right code"
    )


def _calling(policy: Policy, bounds: Bounds) -> str:
    cooldowns = ", ".join(f"{step} s" for step in policy.cooldowns)
    return "\n".join(
        [
            "CALLS",
            _paragraph(
                f"One phone gets at most {bounds.calls_per_hour} calls in any hour and {bounds.calls_per_day} in any 24 hours "
                f"(CALLS_PER_PHONE), the next one after {cooldowns} (RESEND_COOLDOWNS)."
            ),
            _paragraph(
                f"One address, an IPv6 /64 being one, has at most {bounds.address_calls_per_hour} calls placed in any hour (CALLS_PER_IP), "
                f"and at most {bounds.address_guesses_per_hour} wrong codes compared (WRONG_GUESSES_PER_IP). A backend that names no "
                "client_ip is bound by its client's own limits only (starts in CLIENTS_FILE)."
            ),
            _paragraph(
                f"Of one phone's calls one address has at most half: {', '.join(str(rate.half) for rate in policy.calls_per_phone)}. All calls "
                f"together are at most {', '.join(map(str, policy.calls_total))} (CALLS_TOTAL)."
            ),
            *_watches(policy.guard),
        ]
    )


def _watches(guard: Guard) -> list[str]:
    told = []
    if guard.range and guard.country:
        told.append(
            f"Toll fraud: ten thousand numbers of one range get at most {guard.range.floor} calls an hour (FRAUD_CALLS_PER_RANGE), and a country "
            f"{guard.country.floor} (FRAUD_CALLS_PER_COUNTRY), beyond what keeps {guard.range.share / 10:g} % of them confirmed (FRAUD_MIN_CONVERSION). Then "
            f"they are closed for {PAUSE // 60} minutes, and {PROBES} probes decide what follows."
        )
    if guard.spray:
        told.append(
            f"One guess at each of many: the log has the error spray_alert when more than {guard.spray.floor} verifications an hour have a wrong "
            "code (SPRAY_ALERT), and they are over half of those that are approved."
        )
    return [_paragraph(text) for text in told]


def _money(settings: Settings, bounds: Bounds) -> str:
    spending = settings.policy.spending
    price = Decimal(spending.price) / SCALE
    clients = [client for client, _ in settings.clients.listed()] if settings.clients else []
    capped = [(f"calls to {country}", caps) for country, caps in sorted(spending.by_country.items())]
    capped += [(f"client {client.id}", client.spend) for client in clients if client.spend]
    limited = [
        f"    client {client.id}: {', '.join(map(str, client.starts))} calls" for client in clients if client.starts
    ]
    return "\n".join(
        [
            "MONEY",
            _paragraph(
                f"All calls together cost at most {_caps(spending.caps)} in the provider's currency (SPEND_PER_HOUR, SPEND_PER_DAY), "
                f"over all workers and replicas. At {price} a call (EXPECTED_PRICE) that is {bounds.all_calls_per_hour} calls in any hour and "
                f"{bounds.all_calls_per_day} in any 24 hours; if calls cost more than that, those being placed at one moment may exceed a "
                "cap by the difference."
            ),
            _paragraph(
                f"One phone costs at most {price * bounds.calls_per_day} in 24 hours, and one address at most "
                f"{price * bounds.address_calls_per_hour} an hour."
            ),
            *(f"    {whose}: {_caps(caps)}" for whose, caps in capped),
            *limited,
        ]
    )


def _caps(caps: tuple[Rate, ...]) -> str:
    return " and ".join(
        f"{Decimal(cap.count) / SCALE} in any {'hour' if cap.seconds == HOUR else '24 hours'}" for cap in caps
    )


def _table(policy: Policy) -> str:
    rows = [
        ("CODE_LENGTH", f"{policy.code_length} to 6 digits"),
        ("MAX_ATTEMPTS", str(policy.max_attempts)),
        ("VERIFICATION_TTL", f"{policy.ttl} s"),
        ("APPROVAL_REPEAT_WINDOW", f"{policy.approval_repeat_window} s"),
        ("MAX_GUESS_PROBABILITY", _chance(bounds_of(policy).takeover)),
        ("RESEND_COOLDOWNS", ", ".join(map(str, policy.cooldowns))),
        ("CALLS_PER_PHONE", ", ".join(map(str, policy.calls_per_phone))),
        ("CALLS_PER_IP", ", ".join(map(str, policy.calls_per_ip))),
        ("CALLS_TOTAL", ", ".join(map(str, policy.calls_total))),
        ("WRONG_GUESSES_PER_IP", ", ".join(map(str, policy.wrong_guesses_per_ip))),
        ("SPEND_PER_HOUR, _DAY", ", ".join(str(Decimal(cap.count) / SCALE) for cap in policy.spending.caps)),
        ("EXPECTED_PRICE", str(Decimal(policy.spending.price) / SCALE)),
        ("FRAUD_MIN_CONVERSION", f"{policy.guard.range.share / 10:g} %" if policy.guard.range else "never closes"),
        ("SPRAY_ALERT", f"{policy.guard.spray.floor}/hour" if policy.guard.spray else "none"),
        ("CHALLENGE", policy.challenge.value),
        ("ALLOWED_COUNTRIES", ", ".join(sorted(policy.phones.allowed_countries))),
        ("TEST_NUMBERS", f"{len(policy.test_numbers)}, never called"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(["IN FORCE", *(f"  {name.ljust(width)}  {value}" for name, value in rows)])


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _chance(probability: float) -> str:
    return f"{probability * 100:.6g} %"
