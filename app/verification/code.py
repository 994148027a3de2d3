"""The code: the last digits of the number that called, however a person types them."""

import unicodedata

MIN_DIGITS = 4
MAX_DIGITS = 6
"""The provider's `capacity`: 4 to 6 last digits of the calling number."""

MAX_SPELLING = 64
"""Characters: a whole calling number in any spelling fits."""


def typed_digits(typed: str, length: int) -> str | None:
    """The code in what a person typed: its last `length` digits.

    A whole number that called counts as well as its end, with spaces, brackets and dashes, in digits of any script.

    Args:
        typed: what the person typed.
        length: the verification's code length.

    Returns:
        Exactly `length` ASCII digits, or None if fewer were typed.
    """
    digits = (
        typed
        if typed.isascii() and typed.isdecimal()
        else "".join(str(unicodedata.decimal(c)) for c in typed if unicodedata.category(c) == "Nd")
    )
    return digits[-length:] if len(digits) >= length else None
