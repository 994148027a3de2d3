"""Money: whole numbers, rounded to the safe side, and one notation for caps."""

from decimal import Decimal

import pytest

from app.verification.limits import Spending, cap_units, parse_caps, parse_country_caps, price_units


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


@pytest.mark.parametrize("text", ["KZ", "kz 5/day", "KZ 5/day; KZ 6/day", "KZ 5/week", "5/day"])
def test_what_is_no_countrys_cap_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(ValueError, match="write them like"):
        parse_country_caps(text)


def test_caps_by_country_are_read() -> None:
    assert parse_country_caps("KZ 50/hour, 200.5/day; BY 20/day") == {
        "KZ": parse_caps("50/hour, 200.5/day"),
        "BY": parse_caps("20/day"),
    }
