"""Round trips to the store: one for a check, two for a start, with idempotency keys, addresses and limits and all."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.harness import Service, Simulator, fresh_phone, serving, wait_out_the_cooldown, wrong
from tests.server import Server


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[tuple[Service, "redis.Redis"]]:
    """A service alone on a server that counts its commands."""
    server = Server(tmp_path_factory.mktemp("counted-server"))
    settings = {"REDIS_URL": server.url, "WORKERS": "1", "CALLS_PER_IP": "9999/hour"}
    try:
        with (
            serving(tmp_path_factory.mktemp("counted"), simulator.send_url, **settings) as service,
            redis.Redis.from_url(server.url) as client,
        ):
            yield service, client
    finally:
        server.stop()


@pytest.mark.parametrize("client_name", ["backend", "app"])
async def test_a_verification_asks_the_store_as_often_as_promised(
    counted: tuple[Service, "redis.Redis"], simulator: Simulator, phone: str, client_name: str
) -> None:
    service, client = counted
    simulator.behave(phone, digits="7305")

    def asked(path: str, body: dict[str, str], key: str | None = None) -> tuple[int, int, dict[str, Any]]:
        """The status, how many scripts the server ran meanwhile, a round trip each, and the answer."""
        client.config_resetstat()
        headers = {"Idempotency-Key": key} if key else {}
        name = "backend" if path == "redeem" else client_name
        answer = service.post(f"/verify/{path}", body, name, headers=headers)
        stats: dict[str, Any] = client.info("commandstats")
        # The service's own look at the server, every few seconds, is an EVAL.
        return answer.status_code, int(stats["cmdstat_evalsha"]["calls"]), answer.json()

    # The first of each kind brings its script along.
    warm = service.start(fresh_phone(), client_name).json()["id"]
    service.check(warm, "9999", client_name)
    service.post("/verify/resend", {"id": warm}, client_name)

    key = str(uuid.uuid4())
    *start, body = asked("start", {"phone": phone}, key)
    assert start == [201, 2]
    verification = {"id": body["id"]}
    assert asked("start", {"phone": phone}, key)[:2] == (201, 1), "a replay calls no one and records nothing"
    assert asked("check", verification | {"code": wrong("7305")})[:2] == (422, 1)
    await wait_out_the_cooldown(service, verification["id"])
    assert asked("resend", verification, str(uuid.uuid4()))[:2] == (200, 2)
    *check, approved = asked("check", verification | {"code": "7305"})
    assert check == [200, 1]
    token = {"token": approved["token"]}
    assert service.post("/verify/redeem", token).status_code == 200
    assert asked("redeem", token)[:2] == (409, 1)
