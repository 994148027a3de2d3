"""More requests than can be answered in time: some are, the others are refused at once, and operators' routes answer always."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.store.redis_store import MAX_UNDER_WAY
from tests.exposition import scrape, series
from tests.harness import Service, Simulator, fresh_phone, serving
from tests.server import Server

MORE = 50


@pytest.fixture
def patient(tmp_path: Path, simulator: Simulator, own_server: Server) -> Iterator[Service]:
    """A service that waits for its store for longer than the test takes."""
    # Connections of a proxy have no bound.
    settings = {"REDIS_URL": own_server.url, "REDIS_TIMEOUT": "30", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(tmp_path, simulator.send_url, WORKERS="1", **settings) as service:
        yield service


async def test_behind_a_store_that_hangs_so_many_requests_wait_and_the_others_are_refused_at_once(
    patient: Service, simulator: Simulator, own_server: Server
) -> None:
    phone = fresh_phone()
    check = {"id": patient.start(phone).json()["id"], "code": simulator.code(phone)}
    page = {"Authorization": f"Bearer {patient.keys['web']}", "Origin": "https://shop.example"}
    limits = httpx.Limits(max_connections=MAX_UNDER_WAY + MORE)
    async with httpx.AsyncClient(base_url=patient.url, headers=patient.headers(), timeout=60, limits=limits) as http:
        own_server.freeze()
        try:
            answers = [
                asyncio.ensure_future(http.post("/verify/check", json=check)) for _ in range(MAX_UNDER_WAY + MORE)
            ]
            while sum(answer.done() for answer in answers) < MORE:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.02)
            refused = [answer.result() for answer in answers if answer.done()]
            assert Counter((answer.status_code, answer.json()["code"]) for answer in refused) == {
                (503, "overloaded"): MORE
            }
            assert {answer.headers["Retry-After"] for answer in refused} == {"2"}
            readable = await http.post("/verify/start", json={"phone": fresh_phone()}, headers=page)
            assert readable.json()["code"] == "overloaded"
            assert readable.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            for path in ("/healthz", "/metrics"):
                assert (await http.get(path)).status_code == 200
        finally:
            own_server.thaw()
        assert Counter([(await answer).status_code for answer in answers]) == {200: MAX_UNDER_WAY, 503: MORE}
        labels = {"route": "/verify/check", "method": "POST", "status": "503", "code": "overloaded"}
        assert scrape(patient.url)[series("lastdigits_http_requests_total", **labels)] == MORE
        assert (await http.post("/verify/check", json=check)).status_code == 200
