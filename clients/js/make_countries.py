# ruff: noqa: INP001  a script of its own, in no package
"""Writes how mobile numbers of each country are grouped, from libphonenumber's metadata.

libphonenumber-js's own formatter is 13 KB compressed without any metadata, nearly as much as the whole widget may have; this table is 2 KB for all
countries. The service still judges each number: the table only groups what is typed.

    python clients/js/make_countries.py clients/js
"""

import json
import re
import sys
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberFormat, PhoneNumberType

BUILT_IN = ("BY", "KZ", "RU", "UZ")
"""The countries whose rows are part of the widget; those of others are loaded when a page names one."""

_TAILS = ("000000000000", "234567890123", "555555555555", "999999999999")


def _first_digits(pattern: str, lengths: tuple[int, ...]) -> str:
    """The digits that mobile numbers begin with, found by trying all beginnings of four digits."""
    matches = re.compile(pattern).fullmatch

    def begins(digit: int) -> bool:
        starts = (f"{digit}{rest:03d}" for rest in range(1000))
        return any(matches((start + tail)[:length]) for start in starts for tail in _TAILS for length in lengths)

    return "".join(str(digit) for digit in range(10) if begins(digit))


def _row(region: str) -> str | None:
    """Calling code, pattern of a mobile number, what is dialled before it at home, and the digits that it begins with."""
    example = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    metadata = PhoneMetadata.metadata_for_region(region)
    if example is None or metadata is None or metadata.mobile is None:
        return None
    written = phonenumbers.format_number(example, PhoneNumberFormat.INTERNATIONAL)
    code = str(example.country_code)
    pattern = re.sub(r"\d", "#", written.removeprefix(f"+{code}").strip())
    lengths = metadata.mobile.possible_length or metadata.general_desc.possible_length
    first = _first_digits(metadata.mobile.national_number_pattern, tuple(lengths))
    return "|".join((code, pattern, metadata.national_prefix or "", first))


def main(directory: Path) -> None:
    """Write both files."""
    rows = {region: row for region in sorted(phonenumbers.SUPPORTED_REGIONS) if (row := _row(region))}
    for name, regions in (
        ("countries.json", BUILT_IN),
        ("countries-all.json", rows),
    ):
        chosen = {region: rows[region] for region in regions}
        (directory / name).write_text(json.dumps(chosen, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
