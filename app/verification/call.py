"""A call's three outcomes: placed, refused, unknown."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Refusal(StrEnum):
    """Why a call was certainly not placed."""

    NOT_A_NUMBER = "not_a_number"  # the provider does not take it for a phone number
    NOT_PERMITTED = "not_permitted"  # the destination is closed for this account
    CALLED_TOO_OFTEN = "called_too_often"  # the provider's own limit on this number: again in a day
    CREDENTIALS = "credentials"  # our key or login is wrong, or the account is blocked
    BALANCE = "balance"  # the account has no money left
    MALFORMED = "malformed"  # the provider did not understand our request
    UNREACHABLE = "unreachable"  # no connection could be made: the request was never sent
    BUSY = "busy"  # all our connections are taken: the request was never sent
    OTHER = "other"  # an answer that says no in words we do not know


class Responsibility(StrEnum):
    """Who can fix a refusal."""

    CALLER = "caller"
    OPERATOR = "operator"
    US = "us"
    PROVIDER = "provider"


RESPONSIBILITY_OF: dict[Refusal, Responsibility] = {
    Refusal.NOT_A_NUMBER: Responsibility.CALLER,
    Refusal.NOT_PERMITTED: Responsibility.CALLER,
    Refusal.CALLED_TOO_OFTEN: Responsibility.CALLER,
    Refusal.CREDENTIALS: Responsibility.OPERATOR,
    Refusal.BALANCE: Responsibility.OPERATOR,
    Refusal.MALFORMED: Responsibility.US,
    Refusal.UNREACHABLE: Responsibility.PROVIDER,
    Refusal.BUSY: Responsibility.US,
    Refusal.OTHER: Responsibility.PROVIDER,
}


RETRY_AFTER: dict[Refusal, int | None] = {
    Refusal.NOT_A_NUMBER: None,
    Refusal.NOT_PERMITTED: None,
    Refusal.CALLED_TOO_OFTEN: 86400,
    Refusal.CREDENTIALS: 60,
    Refusal.BALANCE: 60,
    Refusal.MALFORMED: None,
    Refusal.UNREACHABLE: 5,
    Refusal.BUSY: 2,
    Refusal.OTHER: 30,
}
"""Seconds until another try may end otherwise; None where waiting does not help."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The provider took the call.

    Attributes:
        code: the last digits of the calling number: exactly as many ASCII digits as were asked for.
        call_id: the provider's own id of the call, for its support desk; None if it gave none that a log may show.
        price: what the call cost, in the provider's currency; None if the answer has no price, 0, or one that can't be read.
        unreadable_price: the price that can't be read, without code and phone, for the operator's log; else None.
    """

    code: str
    call_id: str | None
    price: Decimal | None
    unreadable_price: str | None = None

    def __repr__(self) -> str:
        """Leave the code out: a repr may end in a log."""
        return f"Placed(call_id={self.call_id!r}, price={self.price!r}, unreadable_price={self.unreadable_price!r})"


@dataclass(frozen=True, slots=True)
class Refused:
    """The call was certainly not placed: nothing rings and nothing is owed.

    Attributes:
        reason: why.
        detail: the provider's own words, cut short and free of secrets, for the operator's log and never the caller.
    """

    reason: Refusal
    detail: str

    @property
    def responsibility(self) -> Responsibility:
        """Who can fix it."""
        return RESPONSIBILITY_OF[self.reason]


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have arrived: the call may ring and may cost. Never dialled again by us.

    Attributes:
        detail: what happened, for the operator's log and never the caller.
    """

    detail: str


CallOutcome = Placed | Refused | Unknown
