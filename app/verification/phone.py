"""One canonical phone number out of any human spelling.

Every limit, budget and digest hangs on the E.164 form made here, so two spellings of one number must never make two.
"""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType

from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.model import PhoneError, PhoneRejected

MAX_SPELLING = 64
"""Characters: an E.164 number has at most 15 digits (ITU-T E.164, 6.1); the rest is room for spaces and brackets."""

RANGE_DIGITS = 4
"""Last digits of a number that its range leaves open: ten thousand numbers, the smallest block that numbering plans of the CIS hand out."""

_MOBILE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
_ALLOWED = re.compile(r"\+?[0-9 ()\-./~]*[0-9][0-9 ()\-./~]*")  # libphonenumber itself prints a tilde: 8~10 375 29 …
_CANONICAL = re.compile(r"\+[1-9][0-9]{6,14}")
_EXTENSION = re.compile(r"(?i)[,;#x*]|ext|доб|вн")


@dataclass(frozen=True, slots=True)
class PhoneRules:
    """Which phones are called."""

    default_region: str  # ISO 3166-1 alpha-2: whose national spelling a number without a country code is read in
    allowed_countries: frozenset[str]  # ISO 3166-1 alpha-2 codes of the countries that are called
    test_numbers: frozenset[str] = frozenset()  # E.164; they are never called, and so are taken whatever they are


def parse_phone(spelling: str, rules: PhoneRules) -> str | PhoneRejected:
    """Read a phone in any human spelling (spaces, brackets, dashes, digits of any script, invisible characters) and judge whether we call it.

    Returns E.164 with the plus (`+79991234567`), or why the phone is not called.
    """
    if len(spelling) > MAX_SPELLING:
        return PhoneRejected(PhoneError.INVALID, f"A phone number has at most {MAX_SPELLING} characters.")
    plain = _plain(spelling)
    if not _ALLOWED.fullmatch(plain):
        if _EXTENSION.search(plain):
            return PhoneRejected(
                PhoneError.EXTENSION, "A flash call cannot reach an extension: give the number without it."
            )
        return PhoneRejected(
            PhoneError.INVALID, "This is not a phone number: digits, spaces, brackets and dashes only."
        )
    judged = [_judge(number, rules) for number in _readings(plain, rules)]
    # The first reading that is a number decides; where none is, the first one says why.
    valid = (each for each in judged if isinstance(each, str) or each.error is not PhoneError.INVALID)
    return next(valid, judged[0] if judged else PhoneRejected(PhoneError.INVALID, "This is not a phone number."))


def _readings(plain: str, rules: PhoneRules) -> Iterator[phonenumbers.PhoneNumber]:
    """What a text may mean: first what it says; then with a prefix that was typed twice, or without the plus of a full foreign number."""
    digits = re.sub(r"[^0-9]", "", plain)
    texts = [plain]
    for code in {phonenumbers.country_code_for_region(region) for region in rules.allowed_countries}:
        prefix = str(code)
        if plain.startswith("+") and digits.startswith(prefix):
            rest = digits.removeprefix(prefix)
            texts += [f"+{prefix}{rest.removeprefix(twice)}" for twice in (prefix, "8") if rest.startswith(twice)]
        elif digits.startswith(prefix):
            texts.append("+" + digits)
    for text in texts:
        with suppress(NumberParseException):
            yield phonenumbers.parse(text, rules.default_region)


def load_regions() -> None:
    """Load what is known of all countries' numbers, some 60 ms, once in a process.

    phonenumbers reads a country's file when its first number comes, holding a lock that it keeps indefinitely if the reading fails: one number
    while no file descriptor is free, and every later one of a new country would block its process.
    """
    phonenumbers.PhoneMetadata.load_all()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a call goes."""

    country: str  # ISO 3166-1 alpha-2; `ZZ` where a number belongs to none
    range: str  # the first digits of its range, with the plus


@lru_cache(1024)
def _destination(first: str) -> Destination:
    number = phonenumbers.parse(first + "0" * RANGE_DIGITS, None)
    return Destination(phonenumbers.region_code_for_number(number) or "ZZ", first)


def destination_of(phone: str) -> Destination:
    """Where a call to an E.164 number goes. The numbers of one range are of one country."""
    return _destination(phone[:-RANGE_DIGITS])


def parse_test_numbers(text: str) -> dict[str, str]:
    """Read test numbers with their fixed codes: `+79990000001=0000,+79990000002=123456`.

    Raises:
        ValueError: it is not that, or one number stands twice; the message names the fix.
    """
    pairs = [(phone.strip(), code.strip()) for phone, _, code in (part.partition("=") for part in text.split(","))]
    for phone, code in pairs:
        digits = code.isascii() and code.isdecimal() and MIN_DIGITS <= len(code) <= MAX_DIGITS
        if not (_CANONICAL.fullmatch(phone) and _is_e164(phone) and digits):
            example = "write them in E.164, like +79990000001=0000,+79990000002=123456"
            raise ValueError(f"{phone!r} is no number with a code of {MIN_DIGITS} to {MAX_DIGITS} digits: {example}")
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
    plain = re.sub(r"\s", " ", spelling if spelling.isascii() else _in_ascii(spelling)).strip()
    if plain[:4].lower() == "tel:":  # RFC 3966: the scheme's case does not matter
        plain = plain[4:].strip()
    number, context, rest = plain.partition(";phone-context=")  # RFC 3966, section 5.1.5: the prefix of a local number
    if context:
        plain = (rest if rest.startswith("+") else "") + number
    plain = plain.rstrip(",;. ")
    # ITU-T E.164 recommends 00 as the prefix of international calls; no region's own plan here starts with it.
    return "+" + plain[2:] if plain.startswith("00") else plain


def _in_ascii(spelling: str) -> str:
    kept = []
    for character in unicodedata.normalize("NFKC", spelling):
        category = unicodedata.category(character)
        if category == "Nd":
            kept.append(str(unicodedata.decimal(character)))
        elif category == "Pd" or character == "\N{MINUS SIGN}":
            kept.append("-")
        elif category == "Zs":
            kept.append(" ")
        elif category not in {"Cf", "Mn"}:
            kept.append(character)
    return "".join(kept)


def _judge(number: phonenumbers.PhoneNumber, rules: PhoneRules) -> str | PhoneRejected:
    if rules.test_numbers and (canonical := _canonical(number)) in rules.test_numbers:
        return canonical
    # A number is valid if its type is known: asked once, since each answer takes 7 µs.
    kind = phonenumbers.number_type(number)
    if kind == PhoneNumberType.UNKNOWN:
        return PhoneRejected(PhoneError.INVALID, "No phone has this number: check the digits.")
    region = phonenumbers.region_code_for_number(number)
    if region not in rules.allowed_countries:
        detail = f"Numbers of this country ({region or 'unknown'}) are not called here."
        return PhoneRejected(PhoneError.COUNTRY_NOT_ALLOWED, detail)
    if kind not in _MOBILE:
        return PhoneRejected(PhoneError.NOT_MOBILE, "Only a mobile phone can be called.")
    canonical = _canonical(number)
    # An Italian leading zero or a national oddity must not smuggle in a form that a digest would not share.
    if not _CANONICAL.fullmatch(canonical):
        return PhoneRejected(PhoneError.INVALID, "This is not a phone number.")
    return canonical


def _canonical(number: phonenumbers.PhoneNumber) -> str:
    canonical: str = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return canonical
