"""What a person typed: its digits, in any spelling. The store compares the last of them, and says where there are too few."""

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
        ("+7 (495) 765-01-23", "74957650123"),
        ("84957650123", "84957650123"),
        ("٠١٢٣", "0123"),
        ("０１２３", "0123"),
        ("0\u200b123", "0123"),
        ("code: 0123", "0123"),
        ("12 3", "123"),
        ("", ""),
        ("abcd", ""),
        ("½¼¾²", ""),
        ("Ⅳ", ""),
    ],
)
def test_the_digits_count_in_any_spelling(typed: str, digits: str) -> None:
    assert typed_digits(typed) == digits


@given(st.text(max_size=64))
def test_any_text_gives_ascii_digits_alone(typed: str) -> None:
    digits = typed_digits(typed)
    assert not digits or (digits.isascii() and digits.isdecimal())
    assert len(digits) <= len(typed)
