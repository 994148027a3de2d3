"""One number, however it is spelled, is one number; what is not a mobile phone of an allowed country is not called."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.phone import PhoneError, PhoneRules, Rejected, load_regions, mask_phone, parse_phone

RU = PhoneRules("RU", frozenset({"RU"}))
CANONICAL = "+79991234567"

SPELLINGS = [
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
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_human_spelling_is_the_same_number(spelling: str) -> None:
    assert parse_phone(spelling, RU) == CANONICAL


@pytest.mark.parametrize(
    "spelling",
    [
        "+7 999 123 45 67 доб. 5",
        "+7 999 123 45 67 ext 5",
        "+7 999 123-45-67,,5",
        "+79991234567#5",
        "+79991234567;ext=5",
        "+79991234567x5",
    ],
)
def test_an_extension_is_refused_and_never_dropped(spelling: str) -> None:
    rejected = parse_phone(spelling, RU)
    assert isinstance(rejected, Rejected)
    assert rejected.error is PhoneError.EXTENSION


@pytest.mark.parametrize(
    ("spelling", "error"),
    [
        ("", PhoneError.INVALID),
        ("hello", PhoneError.INVALID),
        ("+", PhoneError.INVALID),
        ("8-800-FLOWERS", PhoneError.INVALID),
        ("123", PhoneError.INVALID),
        ("+7999123456", PhoneError.INVALID),
        ("+799912345678", PhoneError.INVALID),
        ("+7 999 123 45 67 / 68", PhoneError.INVALID),
        ("+79991234567\x00", PhoneError.INVALID),
        ("9" * 65, PhoneError.INVALID),
        ("\ud800", PhoneError.INVALID),
        ("+7 495 123 45 67", PhoneError.NOT_MOBILE),
        ("8 800 555 35 35", PhoneError.NOT_MOBILE),
        ("+7 809 123 45 67", PhoneError.NOT_MOBILE),
        ("+7 701 123 45 67", PhoneError.COUNTRY_NOT_ALLOWED),
        ("+1 202 555 0123", PhoneError.COUNTRY_NOT_ALLOWED),
        ("+882 16 1234567", PhoneError.COUNTRY_NOT_ALLOWED),
    ],
)
def test_what_is_not_called_says_why(spelling: str, error: PhoneError) -> None:
    rejected = parse_phone(spelling, RU)
    assert isinstance(rejected, Rejected), rejected
    assert rejected.error is error


def test_an_allowed_country_beside_the_default_one_is_called() -> None:
    assert parse_phone("+7 701 123 45 67", PhoneRules("RU", frozenset({"RU", "KZ"}))) == "+77011234567"


def test_national_spellings_follow_the_default_region() -> None:
    assert parse_phone("029 123 45 67", PhoneRules("BY", frozenset({"BY"}))) == "+375291234567"


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
    assert parsed == plain or isinstance(parsed, Rejected)


def test_a_mask_shows_the_operator_and_the_last_two_digits() -> None:
    assert mask_phone(CANONICAL) == "+7999*****67"


def test_no_country_is_left_to_be_read_when_its_first_number_comes() -> None:
    """A reading that fails would keep its lock, and block the process indefinitely."""
    load_regions()
    known = phonenumbers.PhoneMetadata
    assert not any(known._region_available.values())
    assert not any(known._country_code_available.values())


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
    ],
)
def test_spellings_that_programs_and_people_really_write_are_read(spelling: str, phone: str) -> None:
    assert parse_phone(spelling, PhoneRules("RU", frozenset({"RU", "BY", "KZ"}))) == phone


def test_a_doubled_prefix_never_changes_a_number_that_is_valid() -> None:
    both = PhoneRules("RU", frozenset({"RU", "KZ"}))
    assert parse_phone("+7 701 123 45 67", both) == "+77011234567"
    assert parse_phone("+7 800 555 35 35", both) != "+75553535"


def test_a_country_that_is_not_called_is_named() -> None:
    rejected = parse_phone("+1 202 555 0123", RU)
    assert isinstance(rejected, Rejected)
    assert "US" in rejected.detail
