"""What observes the core's events and writes logs; metrics.py counts them.

No line holds a code, a key or a whole phone: events have none but the phone, which is masked here, in one place.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import get_args

import structlog

from app.telemetry.logging import Refusals
from app.verification import model
from app.verification.limits import SCALE
from app.verification.model import Responsibility
from app.verification.phone import mask_phone
from app.verification.ports import (
    BiasMeasured,
    BreakerChanged,
    BreakerState,
    CallEnded,
    CallOutcome,
    CodeBias,
    Event,
    Observer,
    OperationEnded,
    Placed,
    Refused,
    Unknown,
)

MAX_LINES = 100
"""Lines in ten seconds for one operation and outcome that anyone can cause without end."""

_UNBOUNDED = (model.Pending, model.Approved, model.Found, model.Canceled, model.Redeemed)
"""Outcomes that each have their line: they are bounded by what calls cost, or a backend asked for them."""

_ID_SHOWN = 12
"""Characters of a verification's id in a log: enough to find it again, too few to check a code with it."""

_NAMES = {each: re.sub("(?<!^)(?=[A-Z])", "_", each.__name__).lower() for each in get_args(model.Outcome)} | {
    model.Pending: "placed"
}


def outcome_name(outcome: type[model.Outcome]) -> str:
    """An outcome's name in logs and metrics: `CodeIncorrect` is `code_incorrect`."""
    return _NAMES[outcome]


class Observers:
    """Hands each event to each observer. The trouble of one (a log on a full disk) costs no call its code: it is logged once, and counted."""

    def __init__(self, observers: Sequence[Observer], count_failure: Callable[[], None]) -> None:
        self._observers, self._count_failure = observers, count_failure
        self._reported: set[tuple[str, str]] = set()

    def __call__(self, event: Event) -> None:
        """Hand an event on."""
        for observe in self._observers:
            try:
                observe(event)
            except Exception as error:  # noqa: BLE001  as the class says
                self._count_failure()
                self._report(type(observe).__name__, type(error).__name__)

    def _report(self, observer: str, error: str) -> None:
        if (observer, error) not in self._reported:
            with suppress(Exception):  # it may be the log that fails: then it is tried again with the next event
                structlog.get_logger().error("observer_failed", observer=observer, error=error)
                self._reported.add((observer, error))


class LogObserver:
    """Writes each event of the core as one line, and not so many of refusals that they fill the disk."""

    def __init__(self) -> None:
        self._log = structlog.get_logger().bind()
        self._refusals = Refusals(MAX_LINES)

    def __call__(self, event: Event) -> None:
        """Write a line at the level of the event's weight."""
        match event:
            case OperationEnded():
                self._ended(event)
            case CallEnded(outcome=outcome):
                level, line = _call(outcome)
                ms = round(event.seconds * 1000)
                getattr(self._log, level)("call", id=event.id[:_ID_SHOWN], phone=mask_phone(event.phone), ms=ms, **line)
                if isinstance(outcome, Placed):
                    self._price(outcome, Decimal(event.expected) / SCALE)
            case BiasMeasured():
                for bias in event.bias.values():
                    if event.worse and bias.biased:
                        self._log.error("codes_biased", **_bias(bias, impossible=event.impossible))
            case BreakerChanged(state=BreakerState.OPEN):
                detail = "this process asks the provider for no calls; after the pause one call finds out whether it works again"
                self._log.error("breaker_open", reason=event.reason, pause=event.pause, detail=detail)
            case BreakerChanged(state=BreakerState.HALF_OPEN):
                self._log.info("breaker_half_open")
            case BreakerChanged():
                self._log.info("breaker_closed")

    def _ended(self, event: OperationEnded) -> None:
        match event.outcome:
            case model.DestinationSuspended(scope=scope, destination=destination, just_now=True):
                # A range beside a phone, even a masked one, would leave but a hundred numbers.
                lane = event.lane and event.lane.value
                self._log.warning("destination_suspended", scope=scope.value, destination=destination, lane=lane)
            case model.CodeIncorrect(alert=True):
                self._log.error("spray_alert", **_operation(event))
            case _ if not self._allows(event):
                pass
            case model.SpendCapReached():
                # No call is placed until the window moves on or the cap is raised: the operator must hear of it.
                self._log.error("spend_cap", operation=event.operation, **_operation(event), **_cap(event.outcome))
            case model.ChallengeUnavailable(reason=reason):
                self._log.error("challenge_unavailable", reason=reason, **_operation(event))
            case _:
                self._log.info(event.operation, **_operation(event))

    def _allows(self, event: OperationEnded) -> bool:
        outcome = type(event.outcome)
        return outcome in _UNBOUNDED or self._refusals.allow(f"{event.operation} {outcome_name(outcome)}")

    def _price(self, placed: Placed, expected: Decimal) -> None:
        """Log a price that does not fit the operator's expectation: caps hold only as well as prices are known."""
        if placed.unreadable_price is not None:
            detail = f"the provider's price can't be read: the call counts as {expected} (EXPECTED_PRICE)"
            self._log.error("price_unreadable", price=placed.unreadable_price, detail=detail)
        elif placed.price is not None and placed.price > expected:
            detail = "set EXPECTED_PRICE to the provider's price: until then caps are reached sooner"
            price = str(placed.price)
            self._log.warning("price_higher_than_expected", price=price, expected=str(expected), detail=detail)


def _call(outcome: CallOutcome) -> tuple[str, dict[str, object]]:
    """The level and the line of a call. A refusal that only the operator or we can fix is an error; an unknown outcome is a warning."""
    match outcome:
        case Placed(call_id=call_id, price=price):
            return "info", {"outcome": "placed", "call_id": call_id, "price": None if price is None else str(price)}
        case Refused(reason=reason, detail=detail):
            levels = {Responsibility.CALLER: "info", Responsibility.PROVIDER: "warning"}
            line = {"reason": reason.value, "responsibility": reason.responsibility.value, "detail": detail}
            return levels.get(reason.responsibility, "error"), {"outcome": "refused", **line}
        case Unknown(detail=detail):
            return "warning", {"outcome": "unknown", "detail": detail}


def _cap(outcome: model.SpendCapReached) -> dict[str, object]:
    window = "HOUR" if outcome.seconds == 3600 else "DAY"  # noqa: PLR2004  the two windows that caps have
    settings = {model.Cap.ALL: f"SPEND_PER_{window}", model.Cap.COUNTRY: "SPEND_PER_COUNTRY"}
    setting = settings.get(outcome.cap, "spend in CLIENTS_FILE")
    share = ", and the public lane has used its share of it (PUBLIC_SHARE)" if outcome.public else ""
    return {
        "cap": outcome.cap.value,
        "setting": setting,
        "window_seconds": outcome.seconds,
        "max": str(Decimal(outcome.max) / SCALE),
        "used": str(Decimal(outcome.used) / SCALE),
        "detail": f"calls have cost as much as {setting} allows{share}; there is money again in {outcome.retry_after} s",
    }


def _operation(event: OperationEnded) -> dict[str, object]:
    # The outcome of a replayed request is logged as it was then.
    outcome = event.outcome.first if isinstance(event.outcome, model.Replayed) else event.outcome
    line: dict[str, object] = {"outcome": outcome_name(type(outcome)), "client": event.client}
    if event.id:
        line["id"] = event.id[:_ID_SHOWN]
    if event.lane:
        line["lane"] = event.lane.value
    # The log names a range when it is suspended: beside it a masked phone would leave but a hundred numbers.
    if event.phone and not isinstance(outcome, model.DestinationSuspended):
        line["phone"] = mask_phone(event.phone)
    for name in ("error", "limit", "refusal", "attempts_left", "retry_after"):
        if (value := getattr(outcome, name, None)) is not None:
            line[name] = value
    if isinstance(outcome, model.PhoneRejected) and outcome.error is model.PhoneError.COUNTRY_NOT_ALLOWED:
        line |= {"detail": outcome.detail, "setting": "LASTDIGITS_ALLOWED_COUNTRIES"}
    marks = {
        "test": event.test,
        "repeated": isinstance(outcome, model.Approved) and outcome.approval.repeated,
        "replayed": isinstance(event.outcome, model.Replayed),
    }
    return line | {name: True for name, holds in marks.items() if holds}


def _bias(bias: CodeBias, *, impossible: bool) -> dict[str, object]:
    line: dict[str, object] = {
        "code_length": bias.digits,
        "codes": bias.codes_seen,
        "chance": bias.chance,
        "min_entropy": round(bias.min_entropy, 2),
    }
    if impossible:
        line["detail"] = (
            "no verification fits under MAX_GUESS_PROBABILITY, so no one is called: ask the provider for more numbers, or raise the probability"
        )
    return line
