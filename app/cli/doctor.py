"""`lastdigits doctor`: can the service, with these settings, on this machine, do its work?

It changes nothing and calls no phone, except with `--call`, which places one call, and `--forget-codes`, which removes samples.
"""

import argparse
import asyncio
import ssl
import sys
import time
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import assert_never
from urllib.parse import urlsplit

from app.cli import complain, say
from app.cli.policy import collected, usage_line
from app.processes import StartError, ownership, usable
from app.settings import ProviderSettings, Settings, SettingsError, load_settings
from app.store.connection import FAILURES, Client, connect
from app.store.embedded import embedded_server, is_served, server_binary, store_directory
from app.store.health import examine, read_clock
from app.verification.model import PhoneRejected
from app.verification.phone import parse_phone
from app.verification.ports import Placed, Refused, Unknown
from app.verification.signing_keys import parse_signing_keys

CLOCK_TOLERANCE = 2.0
"""Seconds that this machine's clock and Redis's may differ: nothing is decided by this machine's, but logs would mislead."""

Finding = tuple[bool, str, str]
"""One thing that was looked at: whether it is good, what it is, a sentence."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    action = parser.add_mutually_exclusive_group()
    call = "place one real call: +7…; it costs what a call costs, and no limit counts it"
    action.add_argument("--call", metavar="PHONE", help=call)
    forget = "remove the samples by which codes are judged predictable"
    action.add_argument("--forget-codes", action="store_true", help=forget)
    parser.add_argument("--yes", action="store_true", help="with --call: do not ask")


def run(options: argparse.Namespace) -> int:
    """Print what was found; 0 if all is good."""
    try:
        settings = load_settings()
    except SettingsError as error:
        say(*_read_from(error.sources))
        raise
    if options.forget_codes:
        return asyncio.run(_forget_codes(settings))
    if options.call:
        return _call(settings, options.call, sure=options.yes)
    say(*_read_from(settings.sources))
    findings = asyncio.run(_examine_all(settings))
    say(*(f"{'ok  ' if good else 'FAIL'}  {subject:<10} {sentence}" for good, subject, sentence in findings))
    return 0 if all(good for good, *_ in findings) else 1


def _read_from(sources: tuple[str, ...]) -> list[str]:
    head = "Settings of this shell and directory; a service that runs elsewhere may have others. Read from, the first wins:"
    return [head, *(f"  {source}" for source in sources)]


async def _examine_all(settings: Settings) -> list[Finding]:
    mode = "SANDBOX: calls go to the simulator, no phone rings" if settings.sandbox else "real calls: a provider is set"
    clients = "the sandbox makes two keys at its start"
    if settings.clients:
        clients = f"{len(settings.clients)} in the clients file"
    return [
        (True, "mode", mode),
        *[(True, "settings", f"note: {warning}") for warning in settings.warnings],
        *await _store(settings),
        await _provider(settings),
        (True, "clients", clients),
        _signing(settings),
    ]


# ---- the store


async def _store(settings: Settings) -> list[Finding]:
    try:
        if settings.embedded and not is_served(settings.embedded):
            return [_sleeping(settings.embedded)]
    except StartError as error:
        return [(False, "redis", str(error))]
    async with aclosing(connect(settings.redis_url, settings.redis_timeout)) as client:
        found = await _answers_of(client, settings.key_prefix, settings.replication.replicas)
    if all(good for good, *_ in found):
        answer, _ = await collected(settings)
        found += [(True, "used", usage_line(usage)) for usage in answer.used]
    return found


def _sleeping(path: Path) -> Finding:
    """The embedded store while no service runs it: it is not started for a look, which would write files, perhaps as another user."""
    server_binary()
    store = store_directory(path)
    hint = "`lastdigits serve` starts it, and doctor then looks into it"
    return _own(store, "redis", f"the embedded store ({store}) is not running: {hint}")


def _own(path: Path, subject: str, sentence: str) -> Finding:
    """What holds of a directory, if this user is the one who may use it."""
    if usable(path):
        return True, subject, sentence
    return False, subject, f"{ownership(path)}: run doctor and the service as the same user, or change the owner"


async def _answers_of(client: Client, prefix: str, replicas: int) -> list[Finding]:
    asked_at = time.monotonic()
    health = await examine(client, prefix, replicas)
    took = (time.monotonic() - asked_at) * 1000
    if not health.ready:
        reason = f" ({health.detail})" if health.detail else ""
        return [(False, "redis", f"{problem}{reason}") for problem in health.problems]
    good: Finding = (True, "redis", f"{health.server} answers in {took:.1f} ms, and drops no counters")
    try:
        there = await read_clock(client, prefix)
    except FAILURES as error:
        return [good, (False, "clock", f"Redis does not answer TIME: {error}")]
    apart = abs(there - time.time())
    fix = ": run an NTP service on both" if apart > CLOCK_TOLERANCE else ""
    return [good, (not fix, "clock", f"Redis and this machine are {apart:.1f} s apart{fix}")]


async def _forget_codes(settings: Settings) -> int:
    """Remove the samples of codes, of an embedded store too; the workers notice within a minute."""
    path = settings.embedded
    with embedded_server(path) if path and not is_served(path) else nullcontext():
        async with aclosing(connect(settings.redis_url, settings.redis_timeout)) as client:
            try:
                removed = await client.delete(*(f"{settings.key_prefix}codes:{digits}" for digits in (4, 5, 6)))
            except FAILURES as error:
                complain(f"the samples were not removed: {type(error).__name__}: {error}")
                return 1
    say(f"Removed {removed} samples of codes. The service judges by new ones within a minute.")
    return 0


# ---- the provider


async def _provider(settings: Settings) -> Finding:
    """Whether the provider, or the proxy on the way to it, can be connected to. Whether the key is right, only a call shows."""
    provider = settings.provider
    if settings.sandbox:
        return True, "provider", "none: the simulator takes its place"
    url = urlsplit(provider.proxy or provider.url)
    secure = url.scheme == "https"
    what, setting = ("the proxy", "PROVIDER_PROXY") if provider.proxy else ("the provider", "PROVIDER_URL")
    trust = ssl.create_default_context() if secure else None
    try:
        async with asyncio.timeout(provider.connect_timeout):
            _, writer = await asyncio.open_connection(url.hostname, url.port or (443 if secure else 80), ssl=trust)
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        fix = f"check DNS, firewall, SSL_CERT_FILE and {setting}"
        return False, "provider", f"{what} can't be reached ({reason}): {fix}"
    writer.close()
    reached = "can be reached over TLS" if secure else "can be reached"
    return True, "provider", f"{what} {reached}; `lastdigits doctor --call +7…` tries the key by a real call"


def _call(settings: Settings, spelling: str, *, sure: bool) -> int:
    """Place one call, and print how it ended, never the code."""
    phone = parse_phone(spelling, settings.policy.phones)
    if isinstance(phone, PhoneRejected):
        complain(f"--call: {phone.detail}")
        return 2
    if settings.sandbox or phone in settings.policy.test_numbers:
        complain("--call: no call is placed in a sandbox, nor to a number of TEST_NUMBERS")
        return 2
    if not sure:
        if not sys.stdin.isatty():
            complain("--call: say --yes to place a real call without a terminal")
            return 2
        answer = input(f"Place one real call to {phone}? It costs what a call costs. [y/N] ")
        if answer.strip().lower() not in {"y", "yes"}:
            return 1
    return asyncio.run(_placed(settings.provider, phone, settings.policy.code_length))


async def _placed(settings: ProviderSettings, phone: str, code_length: int) -> int:
    from app.main import provider_of  # noqa: PLC0415  brings the whole service with it: for this option only

    async with provider_of(settings) as provider:
        outcome = await provider.place(phone, code_length)
    match outcome:
        case Placed():
            say(f"Placed: {phone} rings now. Price: {outcome.price if outcome.price is not None else 'not given'}.")
            return 0
        case Refused():
            say(f"Refused, no phone rings: {outcome.reason}. The provider's words: {outcome.detail}")
        case Unknown():
            say(f"Unknown, the phone may ring: {outcome.detail}")
        case _:
            assert_never(outcome)
    return 1


# ---- the keys


def _signing(settings: Settings) -> Finding:
    if settings.signing_keys is None and settings.keys:
        made = f"signed with keys that the service makes and keeps in {settings.keys}"
        return _own(settings.keys, "tokens", made)
    keys = parse_signing_keys(settings.signing_keys.get_secret_value() if settings.signing_keys else "")
    others = f", {len(keys) - 1} more published" if len(keys) > 1 else ""
    return True, "tokens", f"signed with {keys[0].algorithm}, key {keys[0].kid}{others}"
