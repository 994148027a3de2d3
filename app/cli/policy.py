"""`lastdigits policy`: what `GET /policy` returns, in words."""

import argparse
import asyncio
from contextlib import aclosing, suppress

from app.api.policy import PolicyAnswer, policy_answer
from app.cli import complain, say
from app.policy_report import render
from app.settings import Settings, load_settings
from app.store.connection import connect
from app.store.embedded import is_served
from app.store.health import Watch
from app.store.pipelines import Pipelines
from app.store.redis_store import RedisStore
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
    return made.read_bytes().strip() if made and made.exists() else bytes(MIN_PEPPER_BYTES)


async def collected(settings: Settings) -> tuple[PolicyAnswer, bool]:
    """What the settings add up to, and what is used of it now; whether the store answered."""
    codec = IdCodec(_pepper(settings))
    timeout, path = settings.redis_timeout, settings.embedded
    connected = aclosing(connect(settings.redis_url, timeout))
    async with connected as client, aclosing(Pipelines(client, timeout)) as pipelines:
        watch = Watch(client, settings.key_prefix)
        store = RedisStore(pipelines, watch, codec, settings.policy, settings.key_prefix, timeout)
        entropy = EntropyMonitor(store, codec, settings.policy.guesses, lambda _: None)
        status = None
        if not path or is_served(path):
            with suppress(StoreUnavailable):
                await entropy.measure()
                status = await store.status()
        return policy_answer(settings.policy, None, entropy, status), status is not None
