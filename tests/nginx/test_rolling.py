"""Two replicas behind nginx are restarted one after the other under load, as docs/operations.md says: no request is lost, and no one is called twice."""

import asyncio
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.api.clients import Kind, new_key
from tests.harness import Service, Simulator, fresh_phone, serving
from tests.nginx.server import free_port, prepare, run_nginx
from tests.server import Server

pytestmark = pytest.mark.nginx

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx.conf"
KEEPALIVE = next(line.strip() for line in SHIPPED.read_text("utf-8").splitlines() if "keepalive_timeout" in line)

SITE = """
upstream lastdigits {{
  {servers}
  keepalive 32;
  {keepalive}
}}
server {{
  listen 127.0.0.1:{port};
  location / {{
    proxy_pass http://lastdigits;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_next_upstream off;
  }}
}}
"""


class Balanced:
    """nginx in front of replicas, each of which may be out of the balance."""

    def __init__(self, directory: Path, ports: list[int]) -> None:
        self.directory, self.ports, self.port = directory, ports, free_port()

    def site(self, out: int | None = None) -> str:
        servers = "\n".join(f"server 127.0.0.1:{port}{' down' if port == out else ''};" for port in self.ports)
        return SITE.format(servers=servers, keepalive=KEEPALIVE, port=self.port)

    def reload(self, out: int | None = None) -> None:
        """Have nginx read its file again, and wait until the workers of before have ended."""
        master = int((self.directory / "pid").read_text("ascii"))
        before = _children(master)
        prepare(self.directory, self.site(out))
        os.kill(master, signal.SIGHUP)
        deadline = time.monotonic() + 30
        while before & _children(master) or not _children(master):
            assert time.monotonic() < deadline, "nginx does not let its old workers go"
            time.sleep(0.05)


def _children(process: int) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()}


async def _load(url: str, service: Service, told: dict[str, int], ended: asyncio.Event) -> None:
    """Starts, each over a connection of its own, as those of many phones."""
    while not ended.is_set():
        phone = fresh_phone()
        async with httpx.AsyncClient(base_url=url, timeout=40) as http:
            try:
                answer = await http.post("/verify/start", json={"phone": phone}, headers=service.headers())
                told[phone] = answer.status_code
            except httpx.TransportError as error:
                told[f"{phone} {error!r}"] = 0
        await asyncio.sleep(0.05)


def test_no_request_is_lost_while_replicas_restart_one_after_the_other(tmp_path: Path, simulator: Simulator) -> None:
    server = Server(tmp_path / "store")
    keys = {"backend": new_key(Kind.SECRET)}
    ports = [free_port(), free_port()]
    stacks = [ExitStack(), ExitStack()]

    def start(number: int) -> Service:
        settings = {"REDIS_URL": server.url, "PORT": str(ports[number]), "WORKERS": "1"}
        return stacks[number].enter_context(serving(tmp_path / str(number), simulator.send_url, keys, **settings))

    balanced = Balanced(tmp_path / "nginx", ports)
    prepare(balanced.directory, balanced.site())

    async def run() -> dict[str, int]:
        told: dict[str, int] = {}
        ended = asyncio.Event()
        load = [
            asyncio.create_task(_load(f"http://127.0.0.1:{balanced.port}", services[0], told, ended)) for _ in range(4)
        ]
        for number, port in enumerate(ports):
            await _further(told)
            await asyncio.to_thread(balanced.reload, port)
            await asyncio.to_thread(stacks[number].close)
            await asyncio.to_thread(start, number)
            await asyncio.to_thread(balanced.reload)
        await _further(told)
        ended.set()
        await asyncio.gather(*load)
        return told

    try:
        services = [start(0), start(1)]
        with run_nginx(balanced.directory, balanced.site(), balanced.port):
            told = asyncio.run(run())
    finally:
        for stack in stacks:
            stack.close()
        server.stop()
    assert set(told.values()) == {201}, {phone: status for phone, status in told.items() if status != 201}
    assert {simulator.count(phone) for phone in told} == {1}


async def _further(told: dict[str, int]) -> None:
    """Wait for some answers more."""
    known = len(told)
    async with asyncio.timeout(30):
        while len(told) < known + 20:  # noqa: ASYNC110  no event tells of an answer
            await asyncio.sleep(0.02)
