"""Where the hosted page may return to with a token: to what a client lists, compared character by character, and nowhere else."""

import re
from typing import NamedTuple

from app.api.origins import LOCALHOST_ORIGINS, allows, canonical_origin

_MAX_LENGTH = 1000
# No user, no star, no fragment (the token may come there), and in the path nothing that ends a source of a Content-Security-Policy.
_URL = re.compile(r"(https?://[^\s/?#@*\\]+)((?:/[A-Za-z0-9._~!$&()+=:@%/-]*)?)(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?")
_HOW = "write the whole address of a page, like https://shop.example/verified: ASCII, without a user, a fragment, commas and semicolons"


class ReturnUrl(NamedTuple):
    """An address that is one.

    Attributes:
        site: its host, and the port if it has one, as it is written: for people.
        source: for `form-action` of a Content-Security-Policy.
        secure: whether it is HTTPS.
        local: whether it is of this machine.
    """

    site: str
    source: str
    secure: bool
    local: bool


def read_return_url(text: str) -> ReturnUrl:
    """Read an address to return to.

    Raises:
        ValueError: it is none; the message says how to write it.
    """
    match = _URL.fullmatch(text)
    if match is None or len(text) > _MAX_LENGTH:
        raise ValueError(f"{text[:_MAX_LENGTH]!r} is no return URL: {_HOW}")
    origin = canonical_origin(match[1])
    local = allows(frozenset(LOCALHOST_ORIGINS), origin)
    return ReturnUrl(match[1].partition("://")[2], origin + match[2], origin.startswith("https:"), local)


def listed_return_url(text: str) -> str:
    """A return URL that a clients file may list.

    Raises:
        ValueError: it is none, or not HTTPS; the message says how to write it.
    """
    if not read_return_url(text).secure:
        raise ValueError(
            f"{text!r} must be https. A sandbox returns to every page of localhost, also by http, without an entry"
        )
    return text
