"""One number, however it is spelled, is one number; what is not a mobile phone of an allowed country is not called. And the digits that a person types."""

import sys

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.code import typed_digits
from app.verification.model import PhoneError, PhoneRejected
from app.verification.phone import PhoneRules, load_regions, mask_phone, parse_phone

RU = PhoneRules("RU", frozenset({"RU"}))
NEIGHBOURS = PhoneRules("RU", frozenset({"RU", "BY", "KZ"}))
CANONICAL = "+79991234567"


@pytest.mark.parametrize(
    "spelling",
    [
        "+79991234567",
        "+7 999 123-45-67",
        "+7 (999) 123 45 67",
        "8 999 123-45-67",
        "8(999)1234567",
        "79991234567",
        "9991234567",
        "007 999 123 45 67",
        "810 7 999 123 45 67",
        "tel:+7-999-123-45-67",
        "TEL:+7-999-123-45-67",
        "+7.999.123.45.67",
        "+7 999 123–45—67",
        "＋７９９９１２３４５６７",
        "+٧٩٩٩١٢٣٤٥٦٧",
        "+७९९९१२३४५६७",
        "+7\u200b999\u200c123\u200d45\ufeff67",
        "\u202d+7 999 123-45-67\u202c",
        "+7\u00a0999\u202f123\u200945 67",
        "  +79991234567  ",
        "+7️9️9️9️1️2️3️4️5️6️7️",
    ],
)
def test_every_human_spelling_is_the_same_number(spelling: str) -> None:
    assert parse_phone(spelling, RU) == CANONICAL


@pytest.mark.parametrize(
    ("spelling", "phone"),
    [
        ("8~10 375 29 111 22 05", "+375291112205"),  # as libphonenumber itself prints it
        ("+7\N{MINUS SIGN}901\N{MINUS SIGN}111\N{MINUS SIGN}33\N{MINUS SIGN}04", "+79011113304"),
        ("8\t901 111 33 04", "+79011113304"),
        ("+79011113304,", "+79011113304"),
        ("+79011113304;", "+79011113304"),
        ("tel:9011113304;phone-context=+7", "+79011113304"),
        ("+7 7901 111 33 04", "+79011113304"),
        ("+7 8 901 111 33 04", "+79011113304"),
        ("375 29 111 22 05", "+375291112205"),
        ("77011234567", "+77011234567"),
        ("+7 701 123 45 67", "+77011234567"),  # a doubled prefix never changes a number that is valid
    ],
)
def test_spellings_that_programs_and_people_really_write_are_read(spelling: str, phone: str) -> None:
    assert parse_phone(spelling, NEIGHBOURS) == phone


def test_national_spellings_follow_the_default_region() -> None:
    assert parse_phone("029 123 45 67", PhoneRules("BY", frozenset({"BY"}))) == "+375291234567"


@pytest.mark.parametrize(
    ("error", "spellings"),
    [
        (
            PhoneError.EXTENSION,
            [
                "+7 999 123 45 67 доб. 5",
                "+7 999 123 45 67 ext 5",
                "+7 999 123-45-67,,5",
                "+79991234567#5",
                "+79991234567;ext=5",
                "+79991234567x5",
            ],
        ),
        (
            PhoneError.INVALID,
            [
                "",
                "hello",
                "+",
                "8-800-FLOWERS",
                "123",
                "+7999123456",
                "+799912345678",
                "+7 999 123 45 67 / 68",
                "+79991234567\x00",
                "9" * 65,
                "\ud800",
            ],
        ),
        (PhoneError.NOT_MOBILE, ["+7 495 123 45 67", "8 800 555 35 35", "+7 809 123 45 67", "+7 800 555 35 35"]),
        (PhoneError.COUNTRY_NOT_ALLOWED, ["+7 701 123 45 67", "+1 202 555 0123", "+882 16 1234567"]),
    ],
)
def test_what_is_not_called_says_why(error: PhoneError, spellings: list[str]) -> None:
    for spelling in spellings:
        rejected = parse_phone(spelling, RU)
        assert isinstance(rejected, PhoneRejected), spelling
        assert rejected.error is error, spelling


def test_a_country_that_is_not_called_is_named() -> None:
    rejected = parse_phone("+1 202 555 0123", RU)
    assert isinstance(rejected, PhoneRejected)
    assert "US" in rejected.detail


@given(st.text(max_size=80))
def test_any_text_is_a_canonical_number_or_rejected(text: str) -> None:
    parsed = parse_phone(text, RU)
    if isinstance(parsed, str):
        assert parse_phone(parsed, RU) == parsed


@given(st.integers(0, 9_999_999), st.text(alphabet=" ()-.\u200b\u00a0\u2011", max_size=3))
def test_separators_and_digits_of_any_script_never_make_a_second_number(rest: int, between: str) -> None:
    digits = f"916{rest:07d}"
    plain = parse_phone(f"+7{digits}", RU)
    spelled = "+7" + between.join(chr(0x966 + int(d)) for d in digits)
    parsed = parse_phone(spelled, RU)
    assert parsed == plain or isinstance(parsed, PhoneRejected)


def test_a_mask_shows_the_operator_and_the_last_two_digits() -> None:
    assert mask_phone(CANONICAL) == "+7999*****67"


def test_no_country_is_left_to_be_read_when_its_first_number_comes() -> None:
    """A reading that fails would keep its lock, and block the process indefinitely."""
    load_regions()
    loaded = {name for name in sys.modules if name.startswith("phonenumbers.data.region_")}
    assert len(loaded) >= len(phonenumbers.SUPPORTED_REGIONS) > 200


# ---- codes


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
