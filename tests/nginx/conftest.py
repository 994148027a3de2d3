"""The service behind a real nginx that forwards addresses: as deploy/nginx.conf does, or as most do."""

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.contract.test_mobilgroup_tls import identity
from tests.harness import ROOT, Simulator, serving
from tests.nginx.server import STARTS, Site, run_nginx
from tests.server import free_port

SHIPPED = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
APPENDING = """
server {{
  listen 127.0.0.1:{port};
  listen [::1]:{port};
  location / {{
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_pass http://127.0.0.1:{service};
  }}
}}
"""

_hosts = itertools.count(2)


@pytest.fixture
def address() -> str:
    """A client's address that no other test uses. 127.0.0.1 is nginx's own, on the way to the service."""
    return f"127.0.1.{next(_hosts)}"


def shipped_site(service: int, port: int) -> str:
    """The shipped file with this machine's addresses and files. Without TLS, nginx listens on the next port."""
    places = [
        (r"listen 80;", f"listen 127.0.0.1:{port + 1};"),
        (r"listen \[::\]:80;", f"listen [::1]:{port + 1};"),
        (r"listen 443 ", f"listen 127.0.0.1:{port} "),
        (r"listen \[::\]:443 ", f"listen [::1]:{port} "),
        (r"(ssl_certificate +)/\S+;", r"\1certificate.pem;"),
        (r"(ssl_certificate_key +)/\S+;", r"\1key.pem;"),
        (r"access_log /\S+;", "access_log access.log;"),
        (r"server 127\.0\.0\.1:8000;", f"server 127.0.0.1:{service};"),
    ]
    text = SHIPPED
    for pattern, replacement in places:
        text, found = re.subn(pattern, replacement, text)
        assert found == 1, pattern
    return text


@contextmanager
def _site(
    directory: Path, simulator: Simulator, trusted: str, write: Callable[[int, int], str], scheme: str
) -> Iterator[Site]:
    """The service, which trusts the address that nginx connects from and no other, behind nginx."""
    identity(directory, "verify.example.com", "127.0.0.1", "::1")
    settings = {"CALLS_PER_IP": f"{STARTS}/hour", "TRUSTED_PROXIES": trusted}
    with serving(directory / "service", simulator.send_url, **settings) as service:
        port = free_port()
        with run_nginx(directory, write(urlsplit(service.url).port or 0, port), port):
            yield Site(service, directory, f"{scheme}://{{host}}:{port}")


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Site]:
    """deploy/nginx.conf, and the address that it says to trust."""
    trusted = re.search(r"LASTDIGITS_TRUSTED_PROXIES must name[^.]* here ([\d.]+\d)", SHIPPED.replace("\n# ", " "))
    assert trusted
    with _site(tmp_path_factory.mktemp("shipped"), simulator, trusted[1], shipped_site, "https") as site:
        yield site


@pytest.fixture(scope="session")
def appending(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Site]:
    """An nginx that appends to X-Forwarded-For, as most do."""

    def write(service: int, port: int) -> str:
        return APPENDING.format(service=service, port=port)

    with _site(tmp_path_factory.mktemp("appending"), simulator, "127.0.0.1", write, "http") as site:
        yield site
