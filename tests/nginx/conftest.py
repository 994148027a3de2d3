"""The service behind a real nginx, in the two ways that nginx is set up to forward addresses."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness import Simulator, serving
from tests.nginx.server import STARTS, Nginx, free_port, run_nginx

PROXYING = """
server {{
  listen 127.0.0.1:{port};
  listen [::1]:{port6};
  location / {{
    {forwarding}
    proxy_pass http://127.0.0.1:{service};
  }}
}}
"""


@contextmanager
def _proxied(directory: Path, simulator: Simulator, forwarding: str) -> Iterator[Nginx]:
    """The service, which trusts the address that nginx connects from and no other, behind nginx."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {"CALLS_PER_IP": f"{STARTS}/hour", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(directory / "service", simulator.send_url, **settings) as service:
        port, port6 = free_port(), free_port("::1")
        site = PROXYING.format(port=port, port6=port6, forwarding=forwarding, service=urlsplit(service.url).port)
        with run_nginx(directory, site, port):
            yield Nginx(service, f"http://127.0.0.1:{port}", f"http://[::1]:{port6}")


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Nginx]:
    """An nginx that sets X-Forwarded-For, as deploy/nginx.conf does."""
    forwarding = "proxy_set_header X-Forwarded-For $remote_addr;"
    with _proxied(tmp_path_factory.mktemp("setting"), simulator, forwarding) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def appending(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Nginx]:
    """An nginx that appends to X-Forwarded-For, as most do."""
    forwarding = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    with _proxied(tmp_path_factory.mktemp("appending"), simulator, forwarding) as nginx:
        yield nginx


@pytest.fixture(params=["setting", "appending"])
def proxy(request: pytest.FixtureRequest) -> Nginx:
    nginx: Nginx = request.getfixturevalue(request.param)
    return nginx
