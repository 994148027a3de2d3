"""A page that strangers use too, behind a proxy that the tests play, with a backend beside it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.attacks.strangers import address_of_its_own
from tests.harness import DEFAULTS, Service, Simulator, passing_time, serving

SHOP = {"Origin": "https://shop.example"}
TEST_NUMBER = "+79990000001"


@dataclass
class Page:
    """What a page asks, each time from another address unless one is given."""

    service: Service
    simulator: Simulator

    def start(
        self, phone: str, address: str | None = None, headers: dict[str, str] | None = None, **members: Any
    ) -> httpx.Response:
        return self._post("/verify/start", {"phone": phone, **members}, address, headers)

    def resend(self, verification: str, address: str | None = None, **members: Any) -> httpx.Response:
        return self._post("/verify/resend", {"id": verification, **members}, address, None)

    def check(self, verification: str, code: str) -> httpx.Response:
        return self._post("/verify/check", {"id": verification, "code": code}, None, None)

    def approved(self, phone: str, address: str | None = None) -> dict[str, Any]:
        """Verify a phone, and return the answer."""
        begun = self.start(phone, address)
        assert begun.status_code == 201, begun.text
        checked = self.check(begun.json()["id"], self.simulator.code(phone))
        assert checked.status_code == 200, checked.text
        return dict(checked.json())

    def use_up(self, phone: str) -> None:
        """Use up the calls that strangers may place to a phone in an hour."""
        for _ in range(2):
            assert self.start(phone).status_code == 201
            self.later(60)
        assert self.start(phone).json()["limit"] == "calls_per_phone"

    def later(self, seconds: float) -> None:
        """As if so much time had passed."""

        async def run() -> None:
            async with passing_time(self.service) as time:
                await time(seconds)

        asyncio.run(run())

    def _post(
        self, path: str, body: dict[str, Any], address: str | None, headers: dict[str, str] | None
    ) -> httpx.Response:
        sent = SHOP | {"X-Forwarded-For": address or address_of_its_own()} | (headers or {})
        return self.service.post(path, body, "web", headers=sent)


@contextmanager
def lanes_of(directory: Path, simulator: Simulator, **settings: str) -> Iterator[Page]:
    """A service with the defaults."""
    given = DEFAULTS | {"TRUSTED_PROXIES": "127.0.0.1"} | settings
    with serving(directory, simulator.send_url, **given) as service:
        yield Page(service, simulator)
