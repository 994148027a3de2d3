"""Two replicas behind nginx are restarted one after the other under load, as docs/operations.md says: no request is lost, and no one is called twice."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.api.clients import Kind, new_key
from tests.failover.people import people_during
from tests.failover.topologies import until
from tests.harness import Service, Simulator, serving
from tests.nginx.conftest import SHIPPED
from tests.nginx.server import prepare, run_nginx
from tests.server import Server, free_port

pytestmark = pytest.mark.nginx

KEEPALIVE = next(line.strip() for line in SHIPPED.splitlines() if "keepalive_timeout" in line)

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


def _children(process: int) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()}


def test_no_request_is_lost_while_replicas_restart_one_after_the_other(tmp_path: Path, simulator: Simulator) -> None:
    keys, directory = {"backend": new_key(Kind.SECRET)}, tmp_path / "nginx"
    port, ports = free_port(), [free_port(), free_port()]

    def site(out: int | None = None) -> str:
        """A balance of both replicas, of which one may be out."""
        servers = "\n".join(f"server 127.0.0.1:{each}{' down' if each == out else ''};" for each in ports)
        return SITE.format(servers=servers, keepalive=KEEPALIVE, port=port)

    def reload(out: int | None = None) -> None:
        """Have nginx read its file again, and wait until the workers of before have ended."""
        master = int((directory / "pid").read_text("ascii"))
        before = _children(master)
        prepare(directory, site(out))
        os.kill(master, signal.SIGHUP)
        until(lambda: _children(master) and not before & _children(master), "nginx lets its old workers go")

    with ExitStack() as stack:
        server = Server(tmp_path / "store")
        stack.callback(server.stop)
        replicas = [stack.enter_context(ExitStack()) for _ in ports]

        def start(number: int) -> Service:
            settings = {"REDIS_URL": server.url, "PORT": str(ports[number]), "WORKERS": "1"}
            running = serving(tmp_path / str(number), simulator.send_url, keys, **settings)
            return replicas[number].enter_context(running)

        def restart_all() -> None:
            for number, replica in enumerate(replicas):
                reload(out=ports[number])
                replica.close()
                start(number)
                reload()

        service, _ = start(0), start(1)
        stack.enter_context(run_nginx(directory, site(), port))
        # A connection for each request, as those of many phones.
        limits = httpx.Limits(max_keepalive_connections=0)
        url = f"http://127.0.0.1:{port}"
        http = httpx.AsyncClient(base_url=url, headers=service.headers(), timeout=40, limits=limits)
        answered = people_during(restart_all, http, simulator)
    assert len(answered) > 20
    assert {answer.status_code for answer in answered.values()} == {201}
