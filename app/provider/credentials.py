"""The three ways to authorise at the provider. No repr shows a secret.

Source: the provider's description of the Call-Password API, "Авторизация", sections 1 and 2.
"""

from dataclasses import dataclass, field
from typing import assert_never


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """The API key as the raw value of the `Authorization` header. The body then has no `security` (section 1)."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BodyKey:
    """The API key in the body's `security` (section 2)."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Login:
    """Login and password in the body's `security` (section 2)."""

    login: str = field(repr=False)
    password: str = field(repr=False)


Credentials = HeaderKey | BodyKey | Login


def authorisation(credentials: Credentials) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The headers of a request and the first members of its body. A key is in one of them, never in both.

    Raises:
        ValueError: a header can't hold the key. The message does not contain the key.
    """
    match credentials:
        case HeaderKey(key):
            if not key.isascii() or not key.isprintable() or key != key.strip():
                raise ValueError("the API key must be printable ASCII, without spaces around it, to go in a header")
            return {"Authorization": key}, {}
        case BodyKey(key):
            return {}, {"security": {"apiKey": key}}
        case Login(login, password):
            return {}, {"security": {"login": login, "password": password}}
        case _:
            assert_never(credentials)


def secret_words(credentials: Credentials) -> tuple[str, ...]:
    """The words that no log may contain, longest first: a login may be part of its password."""
    match credentials:
        case HeaderKey(key) | BodyKey(key):
            return (key,)
        case Login(login, password):
            return tuple(sorted((login, password), key=len, reverse=True))
        case _:
            assert_never(credentials)
