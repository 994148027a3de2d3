"""A worker in this process, on a service's store, whose codes end when a test says so: what the service's own workers do ten minutes later."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from app.challenges.altcha import Altcha
from app.provider.admission import Admission
from app.provider.mobilgroup import Mobilgroup, header_key
from app.store.connection import connect
from app.store.health import Watch
from app.store.pipelines import Pipelines
from app.store.redis_store import RedisStore
from app.verification.entropy import EntropyMonitor
from app.verification.ids import IdCodec
from app.verification.policy import MAX_LIFETIME
from app.verification.service import VerificationService
from app.verification.signing_keys import new_signing_key
from app.verification.token import TokenIssuer
from tests.contract.conftest import POLICY
from tests.harness import PEPPER, PREFIX, PROVIDER_KEY


@dataclass
class Worker:
    """Verifications, and what is known of their codes."""

    verifications: VerificationService
    entropy: EntropyMonitor
    now: float = 0.0

    async def ten_minutes_later(self) -> None:
        """Add the codes to the samples that all workers share."""
        self.now += MAX_LIFETIME
        await self.entropy.measure()


@asynccontextmanager
async def worker(redis: str, provider_url: str = "http://127.0.0.1:9/") -> AsyncIterator[Worker]:
    """Open a worker."""
    async with (
        connect(redis, 5) as client,
        aclosing(Pipelines(client, 5)) as pipelines,
        Mobilgroup(provider_url, header_key(PROVIDER_KEY)) as telephone,
    ):
        codec = IdCodec(PEPPER.encode())
        store = RedisStore(pipelines, Watch(client, PREFIX), codec, POLICY, PREFIX, 5)
        entropy = EntropyMonitor(store, codec, POLICY.guesses, lambda _: None, lambda: opened.now)
        tokens, challenges = TokenIssuer((new_signing_key(),), "lastdigits"), Altcha(codec.challenge_key())
        provider = Admission(telephone, 100, 1, (0, 1), lambda _: None)
        verifications = VerificationService(store, provider, codec, POLICY, tokens, entropy, challenges, lambda _: None)
        opened = Worker(verifications, entropy)
        yield opened


async def add_to_samples(redis: str, codes: Iterable[str]) -> None:
    """Add codes to the samples of a service, which it reads when it starts and each minute."""
    async with worker(redis) as opened:
        for code in codes:
            opened.entropy.note(code)
        await opened.ten_minutes_later()
