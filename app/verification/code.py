"""The code: the last digits of the number that called, however a person types them."""

import unicodedata

MIN_DIGITS = 4
MAX_DIGITS = 6
"""The provider's `capacity`: 4 to 6 last digits of the calling number."""

MAX_SPELLING = 64
"""Characters: a whole calling number in any spelling fits."""


def typed_digits(typed: str) -> str:
    """The digits in what a person typed, in ASCII: the code is the last of them.

    A whole number that called counts as well as its end, with spaces, brackets and dashes, in digits of any script.
    """
    if typed.isascii() and typed.isdecimal():
        return typed
    return "".join(
        str(unicodedata.decimal(character)) for character in typed if unicodedata.category(character) == "Nd"
    )
