"""Reads the provider's response: an HTTP status and a body become one of a call's three outcomes.

Pure and total: no bytes make it raise. The provider documents one shape (description of the Call-Password API, "Отправка
запроса", section 3). Public clients of the same platform have met others: all are accepted, none is relied on.

The provider's words are foreign text. A log line gets them without our secrets, without digits (a code, a phone) and cut.
"""

import html
import json
import re
from collections.abc import Iterable
from decimal import Decimal
from http import HTTPStatus

from app.verification.model import Refusal
from app.verification.ports import CallOutcome, Placed, Refused, Unknown

MAX_BYTES = 64 * 1024
"""A longer body is not the provider's: the documented one has about a hundred bytes."""

MAX_WORDS = 120
"""Characters of the provider's words in a log line."""

MAX_UNREADABLE_PRICE = 40
"""Characters of a price that can't be read, in a log line."""

REFUSAL_OF: dict[str, Refusal] = {
    "authorisation_failed": Refusal.CREDENTIALS,
    "user_disabled": Refusal.CREDENTIALS,
    "not_enough_money": Refusal.BALANCE,
    "number_is_empty": Refusal.NOT_A_NUMBER,
    "number_not_valid": Refusal.NOT_A_NUMBER,
    "number_not_permitted": Refusal.NOT_PERMITTED,
    "number_in_spam_list": Refusal.CALLED_TOO_OFTEN,
    "unknown_request": Refusal.MALFORMED,
    "code_not_valid": Refusal.MALFORMED,
    "ani_phone_not_valid": Refusal.MALFORMED,
}
"""What each `error_code` means; any other text is `Refusal.OTHER`. The provider documents none: clients have met these."""

_REFUSAL_OF_STATUS: dict[int, Refusal] = {
    401: Refusal.CREDENTIALS,
    403: Refusal.CREDENTIALS,
    # Not BUSY: that means that our own pool is full and that nothing was sent.
    429: Refusal.OTHER,
}
"""What a 4xx without a readable body means; any other is `Refusal.MALFORMED`."""

_CALL_ID = re.compile(r"[A-Za-z0-9._-]{1,40}")
_PHONE_IN_ID = re.compile(r"(?:[0-9][._-]?){7}")
_MARKUP = re.compile(
    r"<(script|style)\b.*?(?=</\1|\Z)|<!--.*?(?:-->|\Z)|<[/a-z!?][^>]*(?:>|\Z)", re.DOTALL | re.IGNORECASE
)

_CURRENCY = (
    r"(?:[₽$€₸₴₼₾֏]|RUB|RUR|USD|EUR|KZT|BYN|UAH|UZS|KGS|TJS|AMD|AZN|GEL|MDL|руб(?:\.|л(?:ь|я|ей))?|[рp]\.?|тенге|тг\.?)"
)
_AROUND_AMOUNT = re.compile(rf"^{_CURRENCY} ?| ?{_CURRENCY}$", re.IGNORECASE)
_AMOUNT = re.compile(r"(?P<whole>[0-9]{0,6}|[1-9][0-9]{0,2} [0-9]{3})(?:[.,](?P<fraction>[0-9]{1,20}))?")
"""`3`, `3.50`, `3,50`, `,5`, `1 234,50`. Twenty decimals: what a binary fraction becomes in JSON."""
_AMBIGUOUS_AMOUNT = re.compile(r"[1-9][0-9]{0,2},[0-9]{3}")
"""`1,234`: a thousand, or one and a quarter."""


class _Number(str):
    """A JSON number as it was written: no digit, sign or size is lost before it is judged."""

    __slots__ = ()


_READER = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def read_response(status: int, body: bytes, code_length: int, secrets: Iterable[str]) -> CallOutcome:
    """Find out what became of a call.

    Args:
        status: of the HTTP response.
        body: of the HTTP response; if it has more than `MAX_BYTES`, only its beginning is quoted.
        code_length: digits.
        secrets: words that the outcome must not contain, longest first.
    """
    answer = _parse(body)
    match answer.get("result"):
        case "ok":
            return _accepted(status, answer, code_length, secrets)
        case "error":
            return _refused(status, answer.get("error_code"), secrets)
        case _:
            return _without_result(status, body, secrets)


def one_line(words: str, secrets: Iterable[str], limit: int = MAX_WORDS) -> str:
    """Foreign words as one printable line without our secrets, cut to `limit` characters."""
    printable = "".join(letter if letter.isprintable() else " " if letter.isspace() else "" for letter in words)
    for secret in filter(None, secrets):
        printable = re.sub(re.escape(secret), "[secret]", printable, flags=re.IGNORECASE)
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def masked_line(words: str, secrets: Iterable[str], limit: int = MAX_WORDS) -> str:
    """The same without any digit: foreign words may contain a code or a phone."""
    # The secrets go first: the mask would hide a part of each and show the rest.
    line = one_line(words, secrets, len(words) + MAX_WORDS)
    digitless = "".join("#" if letter.isnumeric() else letter for letter in line)
    return one_line(re.sub("#+", "#", digitless), (), limit)


def _parse(body: bytes) -> dict[str, object]:
    """The JSON object of a body; an empty one if there is none."""
    if len(body) > MAX_BYTES:
        return {}
    try:
        # Bytes that are not UTF-8 are replaced, not refused: a refusal in another charset is still a refusal.
        answer = _READER.decode(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _accepted(status: int, answer: dict[str, object], code_length: int, secrets: Iterable[str]) -> Placed | Unknown:
    # No detail quotes this answer: it contains the code, which is the secret that the person is asked for.
    if not 200 <= status < 300:  # noqa: PLR2004  a success by RFC 9110, 15.3
        return Unknown(f"HTTP {status} with a result of ok")
    code = _code(answer.get("code"), code_length)
    if code is None:
        return Unknown(f"the answer has no code of {code_length} digits")
    call_id = _call_id(answer.get("id"), (code, *secrets))
    price, unreadable = _price(answer.get("price"), code, secrets)
    return Placed(code, call_id, price, unreadable)


def _price(value: object, code: str, secrets: Iterable[str]) -> tuple[Decimal | None, str | None]:
    """The price, in any form that people write it; and what can't be read, or in two ways, for the operator's log.

    Neither if it is absent, blank or 0: then the expected price counts.
    """
    text = "" if value is None else " ".join(value.split()) if isinstance(value, str) else type(value).__name__
    if not text:
        return None, None
    amount = _AROUND_AMOUNT.sub("", text)
    match = _AMOUNT.fullmatch(amount) if amount and not _AMBIGUOUS_AMOUNT.fullmatch(amount) else None
    if match:
        price = Decimal(f"{match['whole'].replace(' ', '') or 0}.{match['fraction'] or ''}")
        # A price is logged as it is: one that contains the code can't be.
        if code not in str(int(price)):
            return price or None, None
    # Four digits could be a code: then no digit is shown.
    shown = one_line if sum(map(str.isnumeric, text)) < 4 else masked_line  # noqa: PLR2004
    return None, shown(text, secrets, MAX_UNREADABLE_PRICE) or "unprintable"


def _code(value: object, code_length: int) -> str | None:
    """The code; None if it can't be one. As a JSON number it has lost its leading zeros."""
    text = value.rjust(code_length, "0") if isinstance(value, _Number) else value
    whole = isinstance(text, str) and len(text) == code_length and text.isascii() and text.isdigit()
    return str(text) if whole else None


def _call_id(value: object, secrets: Iterable[str]) -> str | None:
    """The provider's id of the call; None if it does not look like an id, or may contain a phone, the code or a key."""
    if not isinstance(value, str) or not _CALL_ID.fullmatch(value) or _PHONE_IN_ID.search(value):
        return None
    plain = re.sub("[._-]", "", value).lower()
    hidden = (re.sub("[._-]", "", secret).lower() for secret in secrets)
    return None if any(secret in plain for secret in hidden if secret) else str(value)


def _refused(status: int, error_code: object, secrets: Iterable[str]) -> Refused:
    words = error_code if isinstance(error_code, str) else ""
    known = words.strip().lower()
    if known in REFUSAL_OF:
        return Refused(REFUSAL_OF[known], known)
    detail = masked_line(words, secrets)
    return Refused(Refusal.OTHER, detail or f"HTTP {status} with a result of error and no error_code")


def _without_result(status: int, body: bytes, secrets: Iterable[str]) -> Refused | Unknown:
    if 300 <= status < 400:  # noqa: PLR2004  a redirect by RFC 9110, 15.4
        return Refused(Refusal.MALFORMED, f"HTTP {status}: set PROVIDER_URL to the address where the redirect leads")
    size = f"{len(body)} bytes" if len(body) <= MAX_BYTES else f"more than {MAX_BYTES} bytes"
    detail = f"HTTP {status} and no answer that can be read ({size}){_snippet(body, secrets)}"
    # A balancer may answer 408 to a request that it has passed on.
    if 400 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:  # noqa: PLR2004  a client error by RFC 9110, 15.5
        return Refused(_REFUSAL_OF_STATUS.get(status, Refusal.MALFORMED), detail)
    return Unknown(detail)


def _snippet(body: bytes, secrets: Iterable[str]) -> str:
    """The first words of a body for people, as a balancer sends it: what the operator can search for."""
    text = _MARKUP.sub(" ", body[:MAX_BYTES].decode("utf-8", "replace"))
    words = masked_line(html.unescape(text), secrets)
    return f": {words}" if words else ""
