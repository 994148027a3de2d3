"""Reading the provider's answer: a status and some bytes become one of a call's three outcomes.

Pure and total: no bytes make it raise. What the provider documents (description of the Call-Password API, "Отправка
запроса", section 3) is one of the shapes read here; the others were met by public clients of the same platform, so all
of them are accepted and none is relied upon.
"""

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from http import HTTPStatus

from app.verification.call import CallOutcome, Placed, Refusal, Refused, Unknown

MOST_BYTES = 64 * 1024
"""A longer answer is not the provider's: the documented one has about a hundred bytes."""

MOST_DETAIL = 200
"""Characters of an outcome's detail: a sentence for a log line."""

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
"""What each `error_code` means; any other text is `Refusal.OTHER`.

The provider documents only that it describes the error: these were met by clients.
"""

_REFUSAL_OF_STATUS: dict[int, Refusal] = {
    401: Refusal.CREDENTIALS,
    403: Refusal.CREDENTIALS,
    # Not BUSY: that promises that nothing was sent, and names our own pool as the cause.
    429: Refusal.OTHER,
}
"""What a 4xx without a readable answer means; any other is `Refusal.MALFORMED`."""

_PRICE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,12})?")
_LONG_NUMBER = re.compile(r"\+?(?:[0-9][ ()\-.]{0,2}){7,}")


class _Written(str):
    """A JSON number as it was written: no digit, sign or size is lost before it is judged."""

    __slots__ = ()


_READER = json.JSONDecoder(parse_int=_Written, parse_float=_Written, parse_constant=_Written)


def read_answer(status: int, body: bytes, code_length: int, secrets: Iterable[str]) -> CallOutcome:
    """Tell what became of a call.

    Args:
        status: of the HTTP answer.
        body: of the HTTP answer; more than `MOST_BYTES` are not read.
        code_length: how many digits were asked for.
        secrets: what must not be repeated from the provider's words.
    """
    answer = _parse(body)
    match answer.get("result"):
        case "ok":
            return _taken(status, answer, code_length)
        case "error":
            return _refused(status, answer.get("error_code"), secrets)
        case _:
            return _without_result(status, len(body))


def log_words(words: str, secrets: Iterable[str]) -> str:
    """Words of a foreign origin, fit for a log line: one line, printable, without our secrets, cut short."""
    kept = "".join(letter if letter.isprintable() else " " if letter.isspace() else "" for letter in words)
    for secret in filter(None, secrets):
        kept = re.sub(re.escape(secret), "[secret]", kept, flags=re.IGNORECASE)
    line = " ".join(kept.split())
    return line if len(line) <= MOST_DETAIL else line[: MOST_DETAIL - 1] + "…"


def _parse(body: bytes) -> dict[str, object]:
    """The answer's JSON object; an empty one where there is none.

    Bytes that are no UTF-8 are replaced rather than refused: a refusal in another charset is still a refusal.
    """
    if len(body) > MOST_BYTES:
        return {}
    text = body.decode("utf-8-sig", "replace")
    try:
        answer = _READER.decode(text)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _taken(status: int, answer: dict[str, object], code_length: int) -> Placed | Unknown:
    # No word of this answer is repeated in a detail: its code is the secret that the person is asked for.
    if not 200 <= status < 300:  # noqa: PLR2004  a success by RFC 9110, 15.3
        return Unknown(f"HTTP {status} with a result of ok")
    code = _code(answer.get("code"), code_length)
    if code is None:
        return Unknown(f"the answer has no code of {code_length} digits")
    return Placed(code, _call_id(answer.get("id")), _price(answer.get("price")))


def _code(value: object, code_length: int) -> str | None:
    """The code; None where it can't be one. As a JSON number it has lost its leading zeros."""
    text = value.rjust(code_length, "0") if isinstance(value, _Written) else value
    whole = isinstance(text, str) and len(text) == code_length and text.isascii() and text.isdigit()
    return str(text) if whole else None


def _call_id(value: object) -> str | None:
    return log_words(value, ()) or None if isinstance(value, str) else None


def _price(value: object) -> Decimal | None:
    """The price; None where it is absent or no sum of money, so that the expected price stands."""
    if not isinstance(value, str) or not _PRICE.fullmatch(value.strip()):
        return None
    return Decimal(value.strip())


def _refused(status: int, error_code: object, secrets: Iterable[str]) -> Refused:
    words = error_code if isinstance(error_code, str) else ""
    reason = REFUSAL_OF.get(words.strip().lower(), Refusal.OTHER)
    # The subscriber's number, in whatever spelling: a log shows it masked or not at all.
    detail = log_words(_LONG_NUMBER.sub("[number]", words), secrets)
    return Refused(reason, detail or f"HTTP {status} with a result of error and no error_code")


def _without_result(status: int, size: int) -> Refused | Unknown:
    unreadable = f"HTTP {status} and no answer that can be read ({size} bytes)"
    if 300 <= status < 400:  # noqa: PLR2004  a redirect by RFC 9110, 15.4
        return Refused(Refusal.MALFORMED, f"HTTP {status}: PROVIDER_URL redirects: set it to where the redirect leads")
    if status == HTTPStatus.REQUEST_TIMEOUT:
        # A balancer may say so of a request that it has handed on.
        return Unknown(unreadable)
    if 400 <= status < 500:  # noqa: PLR2004  a client error by RFC 9110, 15.5
        return Refused(_REFUSAL_OF_STATUS.get(status, Refusal.MALFORMED), unreadable)
    return Unknown(unreadable)
