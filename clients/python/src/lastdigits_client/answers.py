"""What the service answers, typed."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Answer:
    """Any answer."""

    @classmethod
    def read(cls, body: dict[str, Any]) -> Self:
        """Take the members that this version knows.

        Raises:
            KeyError: one of them is missing.
        """
        return cls(**{each.name: _value(each.name, body[each.name]) for each in fields(cls)})


def _value(name: str, value: Any) -> Any:  # noqa: ANN401  JSON
    return datetime.fromisoformat(value) if name.endswith("_at") and value is not None else value


@dataclass(frozen=True, slots=True)
class Pending(Answer):
    """A verification whose phone was called. Durations are seconds from now."""

    id: str
    status: str
    phone: str
    code_length: int
    attempts_left: int
    created_at: datetime
    expires_at: datetime
    expires_in: int
    resend_at: datetime | None
    resend_in: int | None


@dataclass(frozen=True, slots=True)
class State(Pending):
    """The whole state of a verification."""

    calls: int
    purpose: str | None
    approved_at: datetime | None
    test: bool


@dataclass(frozen=True, slots=True)
class Approved(Answer):
    """The phone is verified."""

    id: str
    phone: str
    approved_at: datetime
    token_expires_in: int
    token: str = field(repr=False)
    device: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Redeemed(Answer):
    """The token is valid, and used up. `test`: no phone was called."""

    id: str
    phone: str
    purpose: str | None
    approved_at: datetime
    test: bool
