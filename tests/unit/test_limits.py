"""The one notation of limits, and money: whole numbers, rounded to the safe side. What an address counts as."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.client import Networks, networks_of
from app.verification.limits import (
    Rate,
    Spending,
    cap_units,
    max_calls,
    parse_caps,
    parse_country_caps,
    parse_rates,
    price_units,
)


def test_limits_are_read_in_one_notation_and_shown_in_it() -> None:
    assert parse_rates(" 10/day,5 / hour ") == (Rate(5, 3600), Rate(10, 86400))
    assert ", ".join(map(str, parse_rates("2/minute, 5/hour, 10/day"))) == "2/minute, 5/hour, 10/day"


@pytest.mark.parametrize("text", ["", "5", "5/week", "0/hour", "-1/day", "5/hour, 6/hour", "5/hour,", "five/hour"])
def test_what_is_no_limit_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(ValueError, match=r"5/hour|smaller count"):
        parse_rates(text)


@pytest.mark.parametrize(
    ("count", "share", "shared"), [(5, 0.5, 2), (10, 0.5, 5), (100, 0.29, 29), (1, 0.99, 0), (7, 1, 7), (7, 0, 0)]
)
def test_a_share_of_a_limit_is_rounded_down(count: int, share: float, shared: int) -> None:
    assert Rate(count, 3600).share(share) == Rate(shared, 3600)


@pytest.mark.parametrize(("count", "own"), [(0, 0), (1, 1), (2, 2), (3, 2), (5, 2), (6, 3), (10, 5)])
def test_one_address_has_half_of_a_limit_and_at_least_a_call_and_its_resend(count: int, own: int) -> None:
    assert Rate(count, 3600).per_address == Rate(own, 3600)


@pytest.mark.parametrize(
    ("rates", "seconds", "calls"),
    [
        ("5/hour, 10/day", 3600, 5),
        ("5/hour, 10/day", 86400, 10),
        ("5/hour, 10/day", 93600, 20),
        ("1/minute", 3600, 60),
        ("7/day", 60, 7),
    ],
)
def test_the_most_calls_of_any_so_many_seconds(rates: str, seconds: int, calls: int) -> None:
    assert max_calls(parse_rates(rates), seconds) == calls


def test_money_is_rounded_to_the_safe_side() -> None:
    assert price_units(Decimal("0.00001")) == 1
    assert cap_units(Decimal("99.99999")) == 999_999
    spending = Spending(3500, parse_caps("100/hour, 1000/day"))
    assert [spending.calls(86_400), spending.calls(86_400, 0.5), spending.calls(3600)] == [2857, 1428, 285]
    assert Spending(0, parse_caps("100/hour")).calls(86_400) is None


@pytest.mark.parametrize(
    "text", ["", "100", "100/week", "-1/hour", "1e3/hour", "0.00001/hour", "400001/day", "1/hour, 2/hour", "NaN/day"]
)
def test_what_is_no_cap_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(ValueError, match="cap"):
        parse_caps(text)


def test_caps_by_country_are_read() -> None:
    found = parse_country_caps("KZ 50/hour, 200.5/day; BY 20/day")
    assert found == {"KZ": parse_caps("50/hour, 200.5/day"), "BY": parse_caps("20/day")}


@pytest.mark.parametrize("text", ["KZ", "kz 5/day", "KZ 5/day; KZ 6/day", "KZ 5/week", "5/day"])
def test_what_is_no_countrys_cap_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(ValueError, match="write them like"):
        parse_country_caps(text)


# ---- addresses


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


@given(st.text(max_size=60))
def test_no_text_that_is_no_address_raises(text: str) -> None:
    assert networks_of(text).host is not None
