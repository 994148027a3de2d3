"""A real nginx in front of the service: the system's, run by the user who runs the tests, with nothing outside of the test's own directory."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.harness import Service, fresh_phone

STARTS = 3
"""Calls in an hour for one address, in all tests of this room."""

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") or "nginx"

# Workers of a master that is root would be another user, who may not enter the test's directory.
USER = "user root;" if os.geteuid() == 0 else ""
MAIN = (
    USER
    + """
daemon off;
worker_processes 1;
pid pid;
error_log error.log info;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  include site.conf;
}
"""
)


@dataclass(frozen=True)
class Site:
    """The service behind nginx, which listens on a port of 127.0.0.1 and ::1.

    Attributes:
        service: what stands behind it.
        directory: where its files are, its certificate too.
        url: with a place for the host: `http://{host}:8080`.
    """

    service: Service
    directory: Path
    url: str

    def client(self, address: str = "127.0.0.1") -> httpx.Client:
        """A client that connects from an address of this machine."""
        context = ssl.create_default_context(cafile=self.directory / "certificate.pem")
        transport = httpx.HTTPTransport(verify=context, local_address=address)
        url = self.url.format(host="[::1]" if ":" in address else "127.0.0.1")
        return httpx.Client(base_url=url, transport=transport, timeout=30)

    def ask(
        self, method: str, path: str, address: str = "127.0.0.1", *, client: str = "app", body: object = None,
        headers: list[tuple[str, str]] | None = None,
    ) -> httpx.Response:  # fmt: skip
        with self.client(address) as http:
            given = [*self.service.headers(client).items(), *(headers or [])]
            return http.request(method, path, json=body, headers=given)

    def start(self, address: str, headers: list[tuple[str, str]] | None = None) -> str:
        """Start a verification of a new phone; its status, or the limit that was reached."""
        answer = self.ask("POST", "/verify/start", address, body={"phone": fresh_phone()}, headers=headers).json()
        return str(answer.get("limit") or answer.get("code") or answer["status"])


def prepare(directory: Path, site: str) -> list[str]:
    """Write a configuration; the command that runs it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "nginx.conf").write_text(MAIN, "utf-8")
    (directory / "site.conf").write_text(site, "utf-8")
    return [NGINX, "-p", str(directory), "-e", "error.log", "-c", "nginx.conf"]


@contextmanager
def run_nginx(directory: Path, site: str, port: int) -> Iterator[None]:
    """Run nginx until the block ends."""
    command, log = prepare(directory, site), directory / "error.log"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while not _listens(port):
                alive = process.poll() is None and time.monotonic() < deadline
                assert alive, f"nginx never listened:\n{log.read_text('utf-8')}"
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False
