"""The address of a user behind a real nginx: no header that a stranger writes changes it."""

import itertools

import httpx
import pytest

from tests.harness import fresh_phone
from tests.nginx.server import STARTS, Nginx

pytestmark = pytest.mark.nginx

_hosts = itertools.count(2)


@pytest.fixture
def address() -> str:
    """A client's address that no other test uses. 127.0.0.1 is nginx's own, on the way to the service."""
    return f"127.0.0.{next(_hosts)}"


def _outcome(answer: httpx.Response) -> str:
    body = answer.json()
    return str(body.get("limit") or body.get("code") or body["status"])


def _start(nginx: Nginx, address: str, headers: dict[str, str] | None = None) -> str:
    return _outcome(nginx.post("/verify/start", {"phone": fresh_phone()}, headers, address=address))


def _use_up_starts(nginx: Nginx, address: str) -> None:
    assert [_start(nginx, address) for _ in range(STARTS)] == ["pending"] * STARTS
    assert _start(nginx, address) == "calls_per_ip"


def test_nginxs_clients_are_distinguished_by_their_addresses(proxy: Nginx, address: str) -> None:
    _use_up_starts(proxy, address)
    assert _start(proxy, f"127.1.0.{address.rpartition('.')[2]}") == "pending"


def test_an_ipv6_client_is_counted_too(proxy: Nginx) -> None:
    _use_up_starts(proxy, "::1")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"])
@pytest.mark.parametrize(
    "claim", ["198.51.100.{}", "198.51.100.{}, 127.0.0.1", "::ffff:198.51.100.{}", "2001:db8:{}::1", "unknown", ""]
)
def test_a_spoofed_header_changes_nothing(proxy: Nginx, address: str, name: str, claim: str) -> None:
    outcomes = [_start(proxy, address, {name: claim.format(n)}) for n in range(1, STARTS + 3)]
    assert outcomes == ["pending"] * STARTS + ["calls_per_ip"] * 2


def test_several_spoofed_lines_change_nothing(proxy: Nginx, address: str) -> None:
    lines = [("Authorization", proxy.service.headers("app")["Authorization"])]
    lines += [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "198.51.100.2, 127.0.0.1")]
    _use_up_starts(proxy, address)
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=proxy.url, transport=transport, timeout=30) as http:
        answer = http.post("/verify/start", json={"phone": fresh_phone()}, headers=lines)
    assert _outcome(answer) == "calls_per_ip"


def test_who_goes_around_nginx_is_not_believed(proxy: Nginx, address: str) -> None:
    around = Nginx(proxy.service, proxy.service.url, "")
    claims = [{"X-Forwarded-For": f"198.51.100.{n}", "Forwarded": f"for=198.51.100.{n}"} for n in range(STARTS + 2)]
    outcomes = [_start(around, address, headers) for headers in claims]
    assert outcomes == ["pending"] * STARTS + ["calls_per_ip"] * 2
    assert _start(proxy, address) == "calls_per_ip", "one address, on either way"
