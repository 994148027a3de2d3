"""The address of a user behind a real nginx: no header that a stranger writes changes it."""

from dataclasses import replace

import pytest

from tests.nginx.server import STARTS, Site

pytestmark = pytest.mark.nginx

CLAIMS = [
    "198.51.100.1",
    "198.51.100.2, 127.0.0.1",
    "::ffff:198.51.100.3",
    "2001:db8:4::1",
    "unknown",
    "",
]


@pytest.fixture(params=["shipped", "appending"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


def test_nginxs_clients_are_distinguished_by_their_addresses(site: Site, address: str) -> None:
    assert [site.start(address) for _ in range(STARTS + 1)] == ["pending"] * STARTS + ["calls_per_ip"]
    assert site.start(f"127.1.1.{address.rpartition('.')[2]}") == "pending"


def test_an_ipv6_client_is_counted_too(site: Site) -> None:
    assert [site.start("::1") for _ in range(STARTS + 1)] == ["pending"] * STARTS + ["calls_per_ip"]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"])
def test_a_spoofed_header_changes_nothing(site: Site, address: str, name: str) -> None:
    """Each claim that counted would leave the address a start."""
    outcomes = [site.start(address, [(name, claim)]) for claim in CLAIMS]
    assert outcomes == ["pending"] * STARTS + ["calls_per_ip"] * (len(CLAIMS) - STARTS)
    assert site.start(address, [(name, claim) for claim in CLAIMS[:2]]) == "calls_per_ip", "several lines"


def test_who_goes_around_nginx_is_not_believed(site: Site, address: str) -> None:
    around = replace(site, url=site.service.url)
    claims = [[("X-Forwarded-For", claim), ("Forwarded", f"for={claim}")] for claim in CLAIMS]
    outcomes = [around.start(address, claim) for claim in claims]
    assert outcomes == ["pending"] * STARTS + ["calls_per_ip"] * (len(CLAIMS) - STARTS)
    assert site.start(address) == "calls_per_ip", "one address, on either way"
