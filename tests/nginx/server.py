"""A real nginx in front of the service: the system's, run by the user who runs the tests, with nothing outside of the test's own directory."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.harness import Service

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
class Nginx:
    """A running nginx.

    Attributes:
        service: what stands behind it.
        url: where it listens on 127.0.0.1.
        url6: where it listens on ::1.
    """

    service: Service
    url: str
    url6: str

    def post(self, path: str, body: object, headers: dict[str, str] | None = None, *, address: str) -> httpx.Response:
        """Ask it as an app does, from an address of this machine."""
        url = self.url6 if ":" in address else self.url
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(base_url=url, transport=transport, timeout=30) as http:
            return http.post(path, json=body, headers=self.service.headers("app") | (headers or {}))


def free_port(host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        taken.bind((host, 0))
        return int(taken.getsockname()[1])


def prepare(directory: Path, site: str) -> list[str]:
    """Write a configuration; the command that runs it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "nginx.conf").write_text(MAIN, "utf-8")
    (directory / "site.conf").write_text(site, "utf-8")
    return [NGINX, "-p", str(directory), "-e", "error.log", "-c", "nginx.conf"]


@contextmanager
def run_nginx(directory: Path, site: str, port: int) -> Iterator[None]:
    """Run nginx until the block ends."""
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(prepare(directory, site), stdout=output, stderr=output)
    try:
        _await_port(process, port, directory)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _await_port(process: "subprocess.Popen[bytes]", port: int, directory: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    written = [(directory / name).read_text("utf-8") for name in ("output", "error.log") if (directory / name).exists()]
    raise AssertionError("nginx never listened:\n" + "\n".join(written))
