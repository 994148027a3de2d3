"""`lastdigits doctor`: can this service, with these settings, on this machine, do its work? It calls no phone."""

import asyncio
import ssl
import time
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.settings import Settings
from app.store.connection import connect, examine
from app.store.embedded import EmbeddedStoreError, embedded_server, is_served
from app.verification.signing_keys import parse_signing_keys

CLOCK_TOLERANCE = 2.0
"""Seconds that this machine's clock and Redis's may differ: nothing is decided by this machine's, but logs would mislead."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    good: bool
    subject: str
    sentence: str


async def examine_all(settings: Settings) -> list[Finding]:
    """Look at everything; the findings in the order of their importance."""
    return [
        Finding(good=True, subject="settings", sentence=_mode(settings)),
        *[Finding(good=True, subject="settings", sentence=f"note: {warning}") for warning in settings.warnings],
        *await _store(settings),
        await _provider(settings),
        _clients(settings),
        _signing(settings),
    ]


def _mode(settings: Settings) -> str:
    return "sandbox: calls go to the simulator" if settings.sandbox else "real calls: a provider is set"


async def _store(settings: Settings) -> list[Finding]:
    # A service that runs already serves the embedded store; else it is started for the look.
    path = settings.embedded
    try:
        with embedded_server(path) if path and not is_served(path) else nullcontext():
            async with connect(settings.redis_url, settings.redis_timeout) as client:
                return await _answers_of(client)
    except EmbeddedStoreError as fault:
        return [Finding(good=False, subject="redis", sentence=str(fault))]


async def _answers_of(client: "Redis") -> list[Finding]:
    asked_at = time.monotonic()
    health = await examine(client, settings.key_prefix)
    took = (time.monotonic() - asked_at) * 1000
    if not health.ready:
        reason = f" ({health.detail})" if health.detail else ""
        return [Finding(good=False, subject="redis", sentence=f"{fault}{reason}") for fault in health.problems]
    good = Finding(
        good=True, subject="redis", sentence=f"{health.server} answers in {took:.1f} ms, and drops no counters"
    )
    try:
        seconds, micros = await client.time()
    except RedisError as fault:
        return [good, Finding(good=False, subject="clock", sentence=f"Redis does not tell its time: {fault}")]
    apart = abs(seconds + micros / 1e6 - time.time())
    sentence = f"Redis and this machine are {apart:.1f} s apart"
    if apart > CLOCK_TOLERANCE:
        return [good, Finding(good=False, subject="clock", sentence=f"{sentence}: run an NTP service on both")]
    return [good, Finding(good=True, subject="clock", sentence=sentence)]


async def _provider(settings: Settings) -> Finding:
    if settings.provider is None:
        return Finding(good=True, subject="provider", sentence="none: the simulator takes its place")
    parts = urlsplit(settings.provider.url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(settings.provider.connect_timeout):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context() if secure else None)
    except (OSError, TimeoutError) as fault:
        reason = str(fault) or type(fault).__name__
        return Finding(
            good=False,
            subject="provider",
            sentence=f"{where} can't be reached ({reason}): see to DNS, firewall and PROVIDER_URL",
        )
    writer.close()
    # Whether the key is right can't be asked without placing a call: the provider has no route for it.
    return Finding(
        good=True,
        subject="provider",
        sentence=f"{where} is reachable{' over TLS' if secure else ''}; its key is tried by the first call",
    )


def _clients(settings: Settings) -> Finding:
    if settings.clients is None:
        return Finding(good=True, subject="clients", sentence="none configured: the sandbox makes keys at its start")
    return Finding(good=True, subject="clients", sentence=f"{len(settings.clients)} in the clients file")


def _signing(settings: Settings) -> Finding:
    if settings.signing_keys is None:
        return Finding(good=True, subject="proofs", sentence="no keys configured: the service makes and keeps its own")
    keys = parse_signing_keys(settings.signing_keys.get_secret_value())
    others = f", {len(keys) - 1} more published" if len(keys) > 1 else ""
    return Finding(good=True, subject="proofs", sentence=f"signed with {keys[0].algorithm}, key {keys[0].kid}{others}")
