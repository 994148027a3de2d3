"""What can go wrong. None of these contains a token, a code or a key."""

from typing import Any


class LastdigitsError(Exception):
    """Every error of this package."""


class Problem(LastdigitsError):  # noqa: N818  the API's own word
    """The service answered with problem details (RFC 9457), or something that is not the service refused.

    Attributes:
        status: the HTTP status, never a 2xx.
        code: what to build on (docs/errors.md); `unexpected_answer` if the answer is not the service's.
        retry_after: seconds to wait, where waiting helps.
        members: the whole answer, with `attempts_left`, `limit`, `min_code_length` and the like.
        idempotency_key: of the request, if it had one.
    """

    def __init__(self, status: int, members: dict[str, Any], idempotency_key: str | None = None) -> None:
        self.status = status
        self.code = str(members.get("code", "unexpected_answer"))
        self.retry_after: int | None = members.get("retry_after")
        self.members = members
        self.idempotency_key = idempotency_key
        super().__init__(f"{status} {self.code}")


class NoAnswer(LastdigitsError):  # noqa: N818  reads as what happened
    """The service did not answer. Something else may have, with a 2xx.

    Attributes:
        sent: whether the request may have been processed.
        idempotency_key: the same one asks for the answer of the same call again, instead of a second call.
    """

    def __init__(self, *, sent: bool, idempotency_key: str | None) -> None:
        self.sent = sent
        self.idempotency_key = idempotency_key
        super().__init__("no answer" if sent else "not reachable")


class TokenRefused(LastdigitsError):  # noqa: N818  the same
    """The token does not verify this phone for this purpose. The reason is for your log; answer all of them the same way."""
