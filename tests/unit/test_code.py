"""What a person typed: the last digits, in any spelling; too few are no guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.code import typed_digits


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("0123", "0123"),
        (" 0123 ", "0123"),
        ("0-1-2-3", "0123"),
        ("+7 (495) 765-01-23", "0123"),
        ("84957650123", "0123"),
        ("٠١٢٣", "0123"),
        ("０１２３", "0123"),
        ("0\u200b123", "0123"),
        ("code: 0123", "0123"),
    ],
)
def test_the_last_digits_count_in_any_spelling(typed: str, digits: str) -> None:
    assert typed_digits(typed, 4) == digits


@pytest.mark.parametrize("typed", ["", "123", "abcd", "12 3", "½¼¾²", "Ⅳ"])
def test_too_few_digits_are_no_guess(typed: str) -> None:
    assert typed_digits(typed, 4) is None


@given(st.text(max_size=64), st.integers(4, 6))
def test_any_text_is_exactly_so_many_ascii_digits_or_none(typed: str, length: int) -> None:
    digits = typed_digits(typed, length)
    assert digits is None or (len(digits) == length and digits.isascii() and digits.isdecimal())
