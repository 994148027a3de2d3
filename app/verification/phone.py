"""One canonical phone number out of any human spelling.

Every limit, budget and digest hangs on the E.164 form made here, so two spellings of one number must never make two.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType

from app.verification.code import MAX_DIGITS, MIN_DIGITS

MAX_SPELLING = 64
"""Characters: an E.164 number has at most 15 digits (ITU-T E.164, 6.1); the rest is room for spaces and brackets."""

_MOBILE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
_ALLOWED = re.compile(r"\+?[0-9 ()\-./]*[0-9][0-9 ()\-./]*")
_CANONICAL = re.compile(r"\+[1-9][0-9]{6,14}")
_EXTENSION = re.compile(r"(?i)[,;#x*]|ext|доб|вн")


class PhoneError(StrEnum):
    """Why a phone is not called."""

    INVALID = "phone_invalid"
    EXTENSION = "phone_extension"
    NOT_MOBILE = "phone_not_mobile"
    COUNTRY_NOT_ALLOWED = "country_not_allowed"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A phone that is not called, and a sentence for whoever typed it."""

    fault: PhoneError
    detail: str


@dataclass(frozen=True, slots=True)
class PhoneRules:
    """Which phones are called.

    Attributes:
        default_region: ISO 3166-1 alpha-2: whose national spelling a number without a country code is read in.
        allowed_countries: ISO 3166-1 alpha-2 codes of the countries that are called.
        test_numbers: E.164 numbers that are never called, and so are taken whatever they are.
    """

    default_region: str
    allowed_countries: frozenset[str]
    test_numbers: frozenset[str] = frozenset()


def parse_phone(spelling: str, rules: PhoneRules) -> str | Rejected:
    """Read a phone in any human spelling and judge whether we call it.

    Args:
        spelling: what a person typed: spaces, brackets, dashes, digits of any script, invisible characters.
        rules: the region of national spellings, and the countries that are called.

    Returns:
        E.164 with the plus (`+79991234567`), or why the phone is not called.
    """
    if len(spelling) > MAX_SPELLING:
        return Rejected(PhoneError.INVALID, f"A phone number has at most {MAX_SPELLING} characters.")
    plain = _plain(spelling)
    if not _ALLOWED.fullmatch(plain):
        if _EXTENSION.search(plain):
            return Rejected(PhoneError.EXTENSION, "A flash call cannot reach an extension: give the number without it.")
        return Rejected(PhoneError.INVALID, "This is not a phone number: digits, spaces, brackets and dashes only.")
    try:
        number = phonenumbers.parse(plain, rules.default_region)
    except NumberParseException:
        return Rejected(PhoneError.INVALID, "This is not a phone number.")
    return _judge(number, rules)


def load_regions() -> None:
    """Load what is known of all countries' numbers, some 60 ms, once in a process.

    phonenumbers reads a country's file when its first number comes, with a lock in its hand that it keeps for ever if the reading fails: one number
    at a moment without free file descriptors, and every later one of a new country would block its process.
    """
    phonenumbers.PhoneMetadata.load_all()


def country_of(phone: str) -> str | None:
    """The country of an E.164 number, as ISO 3166-1 alpha-2."""
    country: str | None = phonenumbers.region_code_for_number(phonenumbers.parse(phone, None))
    return country


def parse_test_numbers(text: str) -> dict[str, str]:
    """Read test numbers with their fixed codes: `+79990000001=0000,+79990000002=123456`.

    Raises:
        ValueError: it is not that, or one number stands twice; the message names the mend.
    """
    pairs = [(phone.strip(), code.strip()) for phone, _, code in (part.partition("=") for part in text.split(","))]
    for phone, code in pairs:
        digits = code.isascii() and code.isdecimal() and MIN_DIGITS <= len(code) <= MAX_DIGITS
        if not (_CANONICAL.fullmatch(phone) and _is_e164(phone) and digits):
            msg = (
                f"{phone!r} is no number with a code of {MIN_DIGITS} to {MAX_DIGITS} digits: write them in E.164, "
                "like +79990000001=0000,+79990000002=123456"
            )
            raise ValueError(msg)
    if len(dict(pairs)) < len(pairs):
        raise ValueError("one number stands twice: keep one code for each")
    return dict(pairs)


def _is_e164(phone: str) -> bool:
    """Whether the number is read back as it is written: else no request could ever name it."""
    try:
        return _canonical(phonenumbers.parse(phone, None)) == phone
    except NumberParseException:
        return False


def mask_phone(phone: str) -> str:
    """A number that a log may show: country and operator, and the last two digits."""
    return f"{phone[:5]}{'*' * max(len(phone) - 7, 0)}{phone[-2:]}"


def _plain(spelling: str) -> str:
    """ASCII digits and dashes; no invisible characters; one spelling of the international prefix.

    NFKC folds full-width forms; `Cf` is the category of zero-width and direction marks (Unicode 15, table 4-4); `Pd` are the dashes.
    """
    plain = (spelling if spelling.isascii() else _in_ascii(spelling)).strip()
    if plain[:4].lower() == "tel:":  # RFC 3966: the scheme's case does not matter
        plain = plain[4:].strip()
    # ITU-T E.164 recommends 00 as the prefix of international calls; no region's own plan here starts with it.
    return "+" + plain[2:] if plain.startswith("00") else plain


def _in_ascii(spelling: str) -> str:
    kept = []
    for character in unicodedata.normalize("NFKC", spelling):
        category = unicodedata.category(character)
        if category == "Nd":
            kept.append(str(unicodedata.decimal(character)))
        elif category == "Pd":
            kept.append("-")
        elif category == "Zs":
            kept.append(" ")
        elif category not in {"Cf", "Mn"}:
            kept.append(character)
    return "".join(kept)


def _judge(number: phonenumbers.PhoneNumber, rules: PhoneRules) -> str | Rejected:
    if rules.test_numbers and (canonical := _canonical(number)) in rules.test_numbers:
        return canonical
    # A number is valid if its type is known: asked once, since each answer takes 7 µs.
    kind = phonenumbers.number_type(number)
    if kind == PhoneNumberType.UNKNOWN:
        return Rejected(PhoneError.INVALID, "No phone has this number: check the digits.")
    if phonenumbers.region_code_for_number(number) not in rules.allowed_countries:
        return Rejected(PhoneError.COUNTRY_NOT_ALLOWED, "Numbers of this country are not called here.")
    if kind not in _MOBILE:
        return Rejected(PhoneError.NOT_MOBILE, "Only a mobile phone can be called.")
    canonical = _canonical(number)
    # An Italian leading zero or a national oddity must not smuggle in a form that a digest would not share.
    if not _CANONICAL.fullmatch(canonical):
        return Rejected(PhoneError.INVALID, "This is not a phone number.")
    return canonical


def _canonical(number: phonenumbers.PhoneNumber) -> str:
    canonical: str = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return canonical
