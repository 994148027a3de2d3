"""`lastdigits policy`: what the settings in force add up to, in words and a table, and which setting changes what."""

import textwrap

from app.settings import Settings
from app.verification.bounds import Bounds, Step, bounds_of
from app.verification.policy import Policy

_WIDTH = 110
_PHONES = (10, 100, 1_000)


def policy_report(settings: Settings) -> str:
    """The report, for a person."""
    bounds = bounds_of(settings.policy)
    parts = [
        _guessing(settings.policy, bounds),
        _calling(settings.policy, bounds),
        _money(settings, bounds),
        _table(settings.policy),
    ]
    return "\n\n".join(parts) + "\n"


def _guessing(policy: Policy, bounds: Bounds) -> str:
    several = ", ".join(f"any of {count:,}: {_chance(bounds.takeover_of_any(count))}" for count in _PHONES)
    return "\n".join(
        [
            "GUESSING",
            _paragraph(
                "Nobody, with any number of addresses, keys and verifications, takes over a given phone within 24 hours with more than "
                f"{_chance(bounds.takeover)} (GUESS_BOUND). If many phones are attacked at once, the chance that one of them falls is at "
                f"most, {several}."
            ),
            _paragraph(
                f"Each verification bears {policy.max_attempts} wrong codes (MAX_ATTEMPTS). While somebody guesses at a phone, its codes grow:"
            ),
            *(f"    {_step(step)}" for step in bounds.steps),
            _paragraph(
                "Six digits keep a part of the bound to themselves, as much as all calls that STARTS_PER_PHONE allows can use, so a "
                "stranger's guesses never keep the owner out. An approval gives back what its own verification cost."
            ),
        ]
    )


def _step(step: Step) -> str:
    chance = f"each guess is right with {step.chance:.6f}"
    if step.verifications is None:
        return f"{step.code_length} digits, {chance}: all that follow"
    return (
        f"{step.code_length} digits, {chance}: {step.verifications} verifications in which nobody types the right code"
    )


def _calling(policy: Policy, bounds: Bounds) -> str:
    ladder = ", ".join(f"{step} s" for step in policy.ladder)
    return "\n".join(
        [
            "CALLS",
            _paragraph(
                f"One phone gets at most {bounds.calls_per_hour} calls in any hour and {bounds.calls_per_day} in any 24 hours "
                f"(STARTS_PER_PHONE), the next one after {ladder} (RESEND_LADDER)."
            ),
            _paragraph(
                f"One address, an IPv6 /64 being one, has at most {bounds.address_calls_per_hour} calls placed in any hour (STARTS_PER_IP), "
                f"and at most {bounds.address_guesses_per_hour} wrong codes compared (WRONG_GUESSES_PER_IP). A backend that names no client_ip is bound by its "
                "client's own limits only (starts in CLIENTS_FILE)."
            ),
        ]
    )


def _money(settings: Settings, bounds: Bounds) -> str:
    price = settings.expected_price
    clients = [client for client, _ in settings.clients.listed()] if settings.clients else []
    rows = [f"    {client.id}: {', '.join(map(str, client.starts)) or 'no limit of its own'}" for client in clients]
    return "\n".join(
        [
            "MONEY",
            _paragraph(
                f"At {price} a call (EXPECTED_PRICE), one phone costs at most {price * bounds.calls_per_day} in 24 hours, and one address at most "
                f"{price * bounds.address_calls_per_hour} an hour. Nothing caps what all together cost: this version does not act on "
                "SPEND_PER_HOUR and SPEND_PER_DAY yet. The nearest thing to a cap are the clients' own limits:"
            ),
            *(rows or ["    no client is configured: the sandbox makes two, without limits"]),
        ]
    )


def _table(policy: Policy) -> str:
    rows = [
        ("CODE_LENGTH", f"{policy.code_length} to 6 digits"),
        ("MAX_ATTEMPTS", str(policy.max_attempts)),
        ("VERIFICATION_TTL", f"{policy.ttl} s"),
        ("APPROVAL_GRACE", f"{policy.approval_grace} s"),
        ("GUESS_BOUND", _chance(bounds_of(policy).takeover)),
        ("RESEND_LADDER", ", ".join(map(str, policy.ladder))),
        ("STARTS_PER_PHONE", ", ".join(map(str, policy.starts_per_phone))),
        ("STARTS_PER_IP", ", ".join(map(str, policy.starts_per_ip))),
        ("WRONG_GUESSES_PER_IP", ", ".join(map(str, policy.wrong_guesses_per_ip))),
        ("ALLOWED_COUNTRIES", ", ".join(sorted(policy.phones.allowed_countries))),
        ("TEST_NUMBERS", f"{len(policy.test_numbers)}, never called"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(["IN FORCE", *(f"  {name.ljust(width)}  {value}" for name, value in rows)])


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _chance(probability: float) -> str:
    return f"{probability * 100:.6g} %"
