"""A second, independent client of the provider on the standard library alone.

Written from the provider's own document alone, and it must stay independent of `app`: it shares no code, model or
library with the service, so that a misreading of the document in one is not repeated in the other. It accepts the
documented answers only: what real clients have met besides is for the service to bear, not for this one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NoReturn
from urllib.parse import urlsplit

_OK_FIELDS = frozenset({"result", "id", "number", "price", "code"})
_ERROR_FIELDS = frozenset({"result", "error_code"})
_PRICE = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DIGITS = re.compile(r"[0-9]+")


class ProtocolError(Exception):
    """The answer is not as the provider's document shows it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A call that was placed: the subscriber types `code`, the last digits of the number that called."""

    id: str
    number: str
    price: Decimal
    code: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that the provider refused, with its words for why."""

    error_code: str


def send(
    url: str,
    number: str,
    capacity: str,
    *,
    header_key: str | None = None,
    body_key: str | None = None,
    login: str | None = None,
    password: str | None = None,
    timeout: float = 10.0,
) -> dict[str, object]:
    """Send one request as the document's sample does and return the JSON object that came back, unjudged.

    Sends exactly what it is given, a wrong mixture of credentials too. Like the sample it does not look at the HTTP
    status, of which the document says nothing. Raises ProtocolError when no whole JSON object came back.
    """
    security = {
        name: value
        for name, value in (("login", login), ("password", password), ("apiKey", body_key))
        if value is not None
    }
    request: dict[str, object] = {"security": security} if security else {}
    request |= {"number": number, "capacity": capacity}
    headers = {"Content-Type": "application/json"}
    if header_key is not None:
        headers["Authorization"] = header_key
    return _json_object(_post(url, json.dumps(request).encode(), headers, timeout))


def read_answer(answer: dict[str, object], *, number: str, capacity: str) -> Answer | Refusal:
    """Judge an answer to a request for this number and capacity; ProtocolError when it is not as documented."""
    result = _string(answer, "result")
    if result == "error":
        _only(answer, _ERROR_FIELDS)
        return Refusal(_string(answer, "error_code"))
    if result != "ok":
        raise ProtocolError(f"result is neither ok nor error: {result!r}")
    _only(answer, _OK_FIELDS)
    price = _string(answer, "price")
    if not _PRICE.fullmatch(price):
        raise ProtocolError(f"price is not a decimal: {price!r}")
    code = _string(answer, "code")
    if not _DIGITS.fullmatch(code) or len(code) != int(capacity):
        raise ProtocolError(f"code is not {capacity} digits: {code!r}")
    subscriber = _string(answer, "number")
    if subscriber != number:
        raise ProtocolError(f"number is not the subscriber's: {subscriber!r}")
    return Answer(id=_string(answer, "id"), number=subscriber, price=Decimal(price), code=code)


def _post(url: str, body: bytes, headers: dict[str, str], timeout: float) -> bytes:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or parts.hostname is None:
        raise ValueError(f"not an http or https URL: {url!r}")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout)
    target = parts.path or "/"
    try:
        connection.request("POST", f"{target}?{parts.query}" if parts.query else target, body, headers)
        with connection.getresponse() as response:
            return response.read()
    except HTTPException as error:
        raise ProtocolError(f"no whole HTTP answer: {error!r}") from error
    finally:
        connection.close()


def _json_object(raw: bytes) -> dict[str, object]:
    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            raise ProtocolError(f"a field was given twice: {[name for name, _ in items]}")
        return found

    def constant(name: str) -> NoReturn:
        raise ProtocolError(f"not JSON: {name}")

    try:
        parsed: object = json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the answer is not JSON in UTF-8: {raw[:200]!r}") from error
    if not isinstance(parsed, dict):
        raise ProtocolError(f"the answer is not a JSON object: {raw[:200]!r}")
    return parsed


def _string(answer: dict[str, object], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise ProtocolError(f"{name} is not a string with something in it: {value!r}")
    return value


def _only(answer: dict[str, object], documented: frozenset[str]) -> None:
    strange = sorted(answer.keys() - documented)
    if strange:
        raise ProtocolError(f"undocumented fields: {strange}")
