"""`lastdigits policy`: what `GET /policy` returns, in words."""

import argparse
import asyncio
import textwrap
from contextlib import aclosing, suppress

from app.api.policy import BoundsAnswer, LaneAnswer, PolicyAnswer, StepAnswer, UsageAnswer, policy_answer
from app.cli import complain, say
from app.processes import StartError, ownership
from app.settings import Settings, load_settings
from app.store.connection import connect
from app.store.embedded import is_served
from app.store.health import Watch
from app.store.pipelines import Pipelines
from app.store.redis_store import RedisStore
from app.verification.challenge import When
from app.verification.entropy import EntropyMonitor
from app.verification.errors import StoreUnavailable
from app.verification.ids import MIN_PEPPER_BYTES, IdCodec


def configure(_: argparse.ArgumentParser) -> None:
    """It has no arguments."""


def run(_: argparse.Namespace) -> int:
    """Print what the settings add up to, and what is used of it if a store answers."""
    settings = load_settings()
    answer, measured = asyncio.run(collected(settings))
    say(render(answer, measured=measured).rstrip("\n"))
    for warning in settings.warnings:
        complain(warning)
    return 0


def _pepper(settings: Settings) -> bytes:
    """The digest key in force. Before a first start there is none, and nothing is used."""
    made = settings.keys / "pepper" if settings.keys else None
    if settings.pepper:
        return settings.pepper.get_secret_value().encode()
    if not made:
        return bytes(MIN_PEPPER_BYTES)
    try:
        return made.read_bytes().strip()
    except (FileNotFoundError, NotADirectoryError):
        return bytes(MIN_PEPPER_BYTES)
    except OSError as error:
        raise StartError(f"{made} can't be read ({error.strerror}): {ownership(made)}") from error


async def collected(settings: Settings) -> tuple[PolicyAnswer, bool]:
    """What the settings add up to, and what is used of it now; whether the store answered."""
    codec = IdCodec(_pepper(settings))
    timeout, path, prefix = settings.redis_timeout, settings.embedded, settings.key_prefix
    connected = aclosing(connect(settings.redis_url, timeout))
    async with connected as client, aclosing(Pipelines(client, timeout)) as pipelines:
        store = RedisStore(pipelines, Watch(client, prefix), codec, settings.policy, prefix, timeout)
        entropy = EntropyMonitor(store, codec, settings.policy.guesses, lambda _: None)
        status = None
        if not path or is_served(path):
            with suppress(StoreUnavailable):
                await entropy.measure()
                status = await store.status()
        return policy_answer(settings.policy, None, entropy, status), status is not None


# ---- the text

_CHALLENGED = {
    When.NEVER: "never",
    When.ALWAYS: "always",
    When.AUTO: "while too few of its calls lead to an approval, half of its money is used, codes are sprayed, or half of the calls that strangers may "
    "place to the phone in a day led to none. The work doubles with each such call to the phone and from the network",
}
_WIDTH = 110


def render(policy: PolicyAnswer, *, measured: bool) -> str:
    """What `GET /policy` returns, for a person. Not `measured`, if the store did not answer: what is used, suspended and known of codes is left out."""
    parts = [_lanes(policy), _guessing(policy.bounds), _calling(policy), _money(policy), _watches(policy)]
    parts += (
        [_codes(policy), _used(policy)] if measured else [_section("USED NOW", "Not known: the store does not answer.")]
    )
    return "\n\n".join(parts) + "\n"


def _section(title: str, *texts: str) -> str:
    """A title and its texts; those that begin with two spaces are list items."""
    wrapped = (
        textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="    " if text.startswith("  ") else "  ")
        for text in texts
    )
    return "\n".join([title, *wrapped])


def _lanes(policy: PolicyAnswer) -> str:
    return _section(
        "TWO LANES",
        f"The public lane is what comes with a public key: strangers too. It may use {_percent(policy.public_share)} of every shared budget (PUBLIC_SHARE). "
        "The trusted lane is what comes with a secret key, or with the `device` token of an earlier approval. It has all that is left, and nothing that "
        "the public lane does suspends a destination for it, or makes it solve a challenge.",
    )


def _guessing(bounds: BoundsAnswer) -> str:
    total = bounds.all.takeover_per_phone_and_day
    several = ", ".join(f"any of {count:,}: {_percent(min(1, count * total))}" for count in (10, 100, 1_000))
    return _section(
        "GUESSING",
        f"No one, with any number of addresses, keys and verifications, takes over a given phone within 24 hours with more than {_percent(total)} "
        f"(MAX_GUESS_PROBABILITY), strangers with no more than {_percent(bounds.public.takeover_per_phone_and_day)}. If many phones are attacked at once, the "
        f"chance that one of them falls is at most, {several}.",
        "While strangers guess at a phone, its codes grow:",
        *map(_step, bounds.public.code_lengths),
        "A call is placed only if all guesses at its code fit. So a right code is never refused because others typed wrong ones. An approval gives back "
        "what its own verification cost.",
    )


def _step(step: StepAnswer) -> str:
    what = "all that follow" if step.verifications is None else f"{step.verifications} verifications with no right code"
    return f"  {step.code_length} digits, each guess is right with {step.chance:.6f}: {what}"


def _calling(policy: PolicyAnswer) -> str:
    bounds = policy.bounds
    cooldowns = ", ".join(f"{step} s" for step in policy.resend_cooldowns)
    return _section(
        "CALLS",
        f"One phone gets at most {_calls_per_phone(bounds.all)} (CALLS_PER_PHONE), from strangers {_calls_per_phone(bounds.public)}; the next one after "
        f"{cooldowns} (RESEND_COOLDOWNS). One address gets at most half of what its lane allows, and at least a call and its resend.",
        f"One address, an IPv6 /64 being one, has at most {bounds.calls_per_address_and_hour} calls an hour in each lane that no approval gave back "
        "(CALLS_PER_IP); an IPv6 /48 has four times as many. A backend that names no client_ip is bound by its client's own limits only (`calls` in "
        "CLIENTS_FILE).",
        f"All calls together are at most {policy.calls_total} (CALLS_TOTAL).",
    )


def _calls_per_phone(lane: LaneAnswer) -> str:
    return f"{lane.calls_per_phone_and_hour} calls an hour and {lane.calls_per_phone_and_day} a day"


def _money(policy: PolicyAnswer) -> str:
    both, public = policy.bounds.all, policy.bounds.public
    return _section(
        "MONEY",
        f"All calls together cost at most {policy.spend_per_hour} in any hour and {policy.spend_per_day} in any 24 hours, in the provider's currency "
        f"(SPEND_PER_HOUR, SPEND_PER_DAY), over all workers and replicas. At {policy.expected_price} a call (EXPECTED_PRICE) that is "
        f"{both.calls_per_hour} calls an hour and {both.calls_per_day} a day; strangers get {public.calls_per_hour} and {public.calls_per_day} of them.",
    )


def _watches(policy: PolicyAnswer) -> str:
    said = []
    if fraud := policy.fraud:
        said.append(
            f"Toll fraud: in an hour a range of ten thousand numbers gets {fraud.calls_per_range} calls and a country {fraud.calls_per_country} "
            f"whatever becomes of them (FRAUD_CALLS_PER_RANGE, FRAUD_CALLS_PER_COUNTRY), strangers {_percent(policy.public_share)} of that besides. Beyond "
            f"that {_percent(fraud.min_conversion)} must lead to an approval (FRAUD_MIN_CONVERSION), else the destination is suspended for a while."
        )
    if policy.spray_alert:
        said.append(
            f"Spray alert: more than {policy.spray_alert} verifications an hour with a wrong code, and over half of the approved ones (SPRAY_ALERT)."
        )
    challenge = (
        f"A start of the public lane must bring a solved challenge (CHALLENGE): {_CHALLENGED[policy.challenge]}."
    )
    return _section("WATCHES", *said, challenge)


def _codes(policy: PolicyAnswer) -> str:
    lines = [
        f"  {codes.code_length} digits: {codes.codes} seen, {'BIASED' if codes.biased else 'not biased'}; a guess costs {_percent(codes.chance)}, "
        f"min-entropy {codes.min_entropy:.2f} bits ({codes.min_entropy_low:.2f} to {codes.min_entropy_high:.2f})"
        for codes in policy.codes
    ]
    return _section("CODES AS MEASURED", *lines)


def _used(policy: PolicyAnswer) -> str:
    used = [f"  {usage_line(usage)}" for usage in policy.used]
    suspended = [
        f"  suspended for the {each.lane} lane until {each.until}: {each.destination}" for each in policy.suspended
    ]
    alert = [f"THE SPRAY ALERT IS ON until {policy.spray_alert_until}."] if policy.spray_alert_until else []
    return _section("USED NOW", *used, *(suspended or ["  suspended: nothing"]), *alert)


def usage_line(usage: UsageAnswer) -> str:
    """What is used of one limit now, in words."""
    frees = f"; some is free again in {usage.frees_in} s" if usage.frees_in else ""
    return f"{usage.limit} per {usage.period}: {usage.public} public and {usage.trusted} trusted of {usage.max}{frees}"


def _percent(probability: float) -> str:
    return f"{probability * 100:.6g} %"
