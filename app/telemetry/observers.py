"""The observers of the core's events that write logs; metrics.py has the other one. Phones are masked, ids cut short.

No line holds a code, a key or a whole phone: events carry none but the phone, which is masked here, in one place.
"""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import get_args

import structlog

from app.telemetry.logging import Refusals
from app.verification.call import Placed, Refused, Responsibility, Unknown
from app.verification.entropy import CodeBias
from app.verification.model import (
    Approved,
    Canceled,
    Cap,
    ChallengeUnavailable,
    CodeIncorrect,
    DestinationSuspended,
    Found,
    Outcome,
    Pending,
    PhoneRejected,
    Redeemed,
    Replayed,
    SpendCapReached,
)
from app.verification.money import SCALE
from app.verification.phone import PhoneError, mask_phone
from app.verification.ports import (
    BiasMeasured,
    BreakerChanged,
    BreakerState,
    CallEnded,
    Event,
    Observer,
    OperationEnded,
)

_ID_SHOWN = 12
"""Characters of a verification's id in a log: enough to find it again, too few to check a code with it."""


class Observers:
    """Hands each event to each observer. The trouble of one (a log on a full disk) costs no call its code: it is logged once, and counted.

    Args:
        observers: who observes.
        count_failure: called whenever one of them fails.
    """

    def __init__(self, observers: Sequence[Observer], count_failure: Callable[[], None]) -> None:
        self._observers = observers
        self._count_failure = count_failure
        self._reported: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Hand an event on."""
        for observe in self._observers:
            try:
                observe(event)
            except Exception as error:  # noqa: BLE001  as the class says
                self._count_failure()
                self._report(type(observe).__name__, error)

    def _report(self, observer: str, error: Exception) -> None:
        name = f"{observer}: {type(error).__name__}"
        if name not in self._reported:
            with suppress(Exception):  # it may be the log that fails: then it is tried again with the next event
                structlog.get_logger().error("observer_failed", observer=observer, error=type(error).__name__)
                self._reported.add(name)


_LEVELS = logging.getLevelNamesMapping() | {
    name.lower(): level for name, level in logging.getLevelNamesMapping().items()
}


_UNBOUNDED = (Pending, Approved, Found, Canceled, Redeemed)
"""Outcomes that each have their line: they are bounded by what calls cost, or a backend asked for them. Anyone can cause the others without end."""

MAX_LINES = 100
"""Lines in ten seconds for one operation and outcome of the others."""


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
            case BiasMeasured():
                for bias in event.bias.values() if event.worse else ():
                    if bias.biased:
                        self._log.error("codes_biased", **_bias(bias, impossible=event.impossible))
            case BreakerChanged():
                self._breaker(event)
            case CallEnded():
                level = _level(event)
                if self._log.is_enabled_for(_LEVELS[level]):
                    getattr(self._log, level)("call", **_call(event))
                self._price(event)

    def _ended(self, event: OperationEnded) -> None:
        match event.outcome:
            case DestinationSuspended(scope=scope, destination=destination, just_now=True):
                # A range beside a phone, even a masked one, would leave but a hundred numbers.
                lane = event.lane and event.lane.value
                self._log.warning("destination_suspended", scope=scope.value, destination=destination, lane=lane)
            case CodeIncorrect(alert=True):
                self._log.error("spray_alert", **_operation(event))
            case _ if not self._allows(event):
                pass
            case SpendCapReached():
                # No call is placed until the window moves on or the cap is raised: the operator must hear of it.
                self._log.error("spend_cap", operation=event.operation, **_operation(event), **_cap(event.outcome))
            case ChallengeUnavailable(reason=reason):
                self._log.error("challenge_unavailable", reason=reason, **_operation(event))
            case _:
                # A check must not pay for a line that is not written.
                if self._log.is_enabled_for(logging.INFO):
                    self._log.info(event.operation, **_operation(event))

    def _allows(self, event: OperationEnded) -> bool:
        outcome = type(event.outcome)
        return outcome in _UNBOUNDED or self._refusals.allow(f"{event.operation} {outcome_name(outcome)}")

    def _breaker(self, event: BreakerChanged) -> None:
        match event.state:
            case BreakerState.OPEN:
                detail = "this process asks the provider for no calls; after the pause one call finds out whether it works again"
                self._log.error("breaker_open", reason=event.reason, pause=event.pause, detail=detail)
            case BreakerState.HALF_OPEN:
                self._log.info("breaker_half_open")
            case BreakerState.CLOSED:
                self._log.info("breaker_closed")

    def _price(self, event: CallEnded) -> None:
        """Log a price that does not fit the operator's expectation: caps hold only as well as prices are known."""
        if not isinstance(event.outcome, Placed):
            return
        expected = Decimal(event.expected) / SCALE
        if event.outcome.unreadable_price is not None:
            self._log.error(
                "price_unreadable",
                price=event.outcome.unreadable_price,
                detail=f"the provider's price can't be read: the call counts as {expected} (EXPECTED_PRICE)",
            )
        elif event.outcome.price is not None and event.outcome.price > expected:
            self._log.warning(
                "price_higher_than_expected",
                price=str(event.outcome.price),
                expected=str(expected),
                detail="set EXPECTED_PRICE to the provider's price: until then caps are reached sooner",
            )


def _cap(outcome: SpendCapReached) -> dict[str, object]:
    window = "HOUR" if outcome.seconds == 3600 else "DAY"  # noqa: PLR2004  the two windows that caps have
    setting = {Cap.ALL: f"SPEND_PER_{window}", Cap.COUNTRY: "SPEND_PER_COUNTRY", Cap.CLIENT: "spend in CLIENTS_FILE"}[
        outcome.cap
    ]
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
    outcome = event.outcome.first if isinstance(event.outcome, Replayed) else event.outcome
    line: dict[str, object] = {"outcome": outcome_name(type(outcome)), "client": event.client}
    if event.id:
        line["id"] = event.id[:_ID_SHOWN]
    if event.lane:
        line["lane"] = event.lane.value
    # The log names a range when it is suspended: beside it a masked phone would leave but a hundred numbers.
    if event.phone and not isinstance(outcome, DestinationSuspended):
        line["phone"] = mask_phone(event.phone)
    for name in ("error", "limit", "refusal", "attempts_left", "retry_after"):
        if (value := getattr(outcome, name, None)) is not None:
            line[name] = value
    if isinstance(outcome, PhoneRejected) and outcome.error is PhoneError.COUNTRY_NOT_ALLOWED:
        line |= {"detail": outcome.detail, "setting": "LASTDIGITS_ALLOWED_COUNTRIES"}
    marks = {
        "test": event.test,
        "repeated": isinstance(outcome, Approved) and outcome.approval.repeated,
        "replayed": isinstance(event.outcome, Replayed),
    }
    return line | {name: True for name, holds in marks.items() if holds}


def outcome_name(outcome: type[Outcome]) -> str:
    """An outcome's name in logs and metrics: `CodeIncorrect` is `code_incorrect`."""
    return _NAMES[outcome]


_NAMES = {each: re.sub("(?<!^)(?=[A-Z])", "_", each.__name__).lower() for each in get_args(Outcome)} | {
    Pending: "placed"
}


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


def _level(event: CallEnded) -> str:
    """A refusal that only the operator or we can fix is an error; an unknown outcome is a warning; the rest is daily business."""
    match event.outcome:
        case Placed():
            return "info"
        case Unknown():
            return "warning"
        case Refused():
            return {Responsibility.CALLER: "info", Responsibility.PROVIDER: "warning"}.get(
                event.outcome.responsibility, "error"
            )


def _call(event: CallEnded) -> dict[str, object]:
    line: dict[str, object] = {
        "id": event.id[:_ID_SHOWN],
        "phone": mask_phone(event.phone),
        "ms": round(event.seconds * 1000),
    }
    match event.outcome:
        case Placed(call_id=call_id, price=price):
            return line | {"outcome": "placed", "call_id": call_id, "price": None if price is None else str(price)}
        case Refused(reason=reason, detail=detail):
            return line | {
                "outcome": "refused",
                "reason": reason.value,
                "responsibility": event.outcome.responsibility.value,
                "detail": detail,
            }
        case Unknown(detail=detail):
            return line | {"outcome": "unknown", "detail": detail}
