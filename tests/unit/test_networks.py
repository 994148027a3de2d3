"""What an address counts as."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.client import Networks, networks_of


@pytest.mark.parametrize(
    ("address", "host", "site", "site_limited"),
    [
        ("203.0.113.77", "203.0.113.77/32", "203.0.113.0/24", False),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48", True),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64", "2001:db8:1::/48", True),
        ("::ffff:203.0.113.77", "203.0.113.77/32", "203.0.113.0/24", False),
        ("::ffff:cb00:714d", "203.0.113.77/32", "203.0.113.0/24", False),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48", True),
        ("::1", "::/64", "::/48", True),
        ("testclient", "testclient", "testclient", False),
        ("203.0.113.077", "203.0.113.077", "203.0.113.077", False),
        ("", "", "", False),
    ],
)
def test_an_address_counts_as_its_networks(address: str, host: str, site: str, *, site_limited: bool) -> None:
    assert networks_of(address) == Networks(host, site, site_limited)


@given(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_host_chooses_nothing_of_what_it_counts_as(network: int, one: int, other: int) -> None:
    assert networks_of(str(IPv6Address(network << 64 | one))) == networks_of(str(IPv6Address(network << 64 | other)))


@given(st.text(max_size=60))
def test_no_text_raises(text: str) -> None:
    assert networks_of(text).host is not None
