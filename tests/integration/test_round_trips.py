"""Round trips to the store: one for a check, two for a start, with idempotency keys, addresses and limits and all."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.harness import Service, Simulator, fresh_phone, serving, wait_out_the_cooldown, wrong
from tests.server import Server


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[tuple[Service, "redis.Redis"]]:
    """A service alone on a server that counts its commands."""
    server = Server(tmp_path_factory.mktemp("counted-server"))
    try:
        with (
            serving(
                Path(tmp_path_factory.mktemp("counted")),
                simulator.send_url,
                REDIS_URL=server.url,
                WORKERS="1",
                CALLS_PER_IP="9999/hour",
            ) as service,
            redis.Redis.from_url(server.url) as client,
        ):
            yield service, client
    finally:
        server.stop()


def _commands(client: "redis.Redis", do: Any) -> tuple[Any, int]:
    """What it returns, and how many scripts the server ran meanwhile: a round trip each."""
    client.config_resetstat()
    done = do()
    stats: dict[str, Any] = client.info("commandstats")
    # The service's own look at the server, every few seconds, is an EVAL.
    return done, int(stats["cmdstat_evalsha"]["calls"])


@pytest.mark.parametrize("client_name", ["backend", "app"])
async def test_a_verification_asks_the_store_as_often_as_promised(
    counted: tuple[Service, "redis.Redis"], simulator: Simulator, phone: str, client_name: str
) -> None:
    service, client = counted
    simulator.behave(phone, digits="7305")

    def keyed() -> dict[str, str]:
        return {"Idempotency-Key": str(uuid.uuid4())}

    # The first of each kind brings its script along.
    warm = service.start(fresh_phone(), client_name).json()["id"]
    service.check(warm, "9999", client_name)
    service.post("/verify/resend", {"id": warm}, client_name)

    headers = keyed()
    started, trips = _commands(
        client, lambda: service.post("/verify/start", {"phone": phone}, client_name, headers=headers)
    )
    assert (started.status_code, trips) == (201, 2)
    verification = started.json()["id"]
    _, trips = _commands(client, lambda: service.post("/verify/start", {"phone": phone}, client_name, headers=headers))
    assert trips == 1, "a replay calls no one and records nothing"
    refused, trips = _commands(client, lambda: service.check(verification, wrong("7305"), client_name))
    assert (refused.status_code, trips) == (422, 1)
    await wait_out_the_cooldown(service, verification)
    resent, trips = _commands(
        client, lambda: service.post("/verify/resend", {"id": verification}, client_name, headers=keyed())
    )
    assert (resent.status_code, trips) == (200, 2)
    approved, trips = _commands(client, lambda: service.check(verification, "7305", client_name))
    assert (approved.status_code, trips) == (200, 1)
    token = {"token": approved.json()["token"]}
    assert service.post("/verify/redeem", token).status_code == 200
    _, trips = _commands(client, lambda: service.post("/verify/redeem", token))
    assert trips == 1
