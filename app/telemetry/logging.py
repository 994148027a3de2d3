"""Structured logs: one line an event, JSON where a machine reads it, phones masked, the request's id on each.

No line holds a code, a key or a whole phone: events carry none but the phone, which is masked here, in one place.
"""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

from app.telemetry.refusals import FewOfEach
from app.verification.call import Placed, Refused, Responsibility, Unknown
from app.verification.model import (
    Approved,
    CodeIncorrect,
    DestinationSuspended,
    Outcome,
    Pending,
    PhoneRejected,
    Replayed,
    SpendCapReached,
)
from app.verification.odds import Odds
from app.verification.phone import PhoneError, mask_phone
from app.verification.ports import CallEnded, Event, OddsMeasured, OperationEnded

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_ID_SHOWN = 12
"""Characters of a verification's id in a log: enough to find it again, too few to check a code with it."""


def configure_logs(form: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Set up structlog and the standard library's logging to write one kind of line.

    Args:
        form: `json`, `console`, or `auto`: console on a terminal, else JSON.
        level: `debug`, `info`, `warning` or `error`.
        stream: where to.
    """
    console = form == "console" or (form == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        _with_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks: the pretty ones print local variables, and those hold codes and keys.
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        # One write a line: the lines of several workers share a stream and must not run into each other.
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.INFO))
    logging.getLogger("uvicorn.error").filters = [FewOfEach()]  # it has a line for each request that is not HTTP
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"


def _with_request_id(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if name := request_id.get():
        line["request_id"] = name
    return line


_LEVELS = logging.getLevelNamesMapping() | {
    name.lower(): level for name, level in logging.getLevelNamesMapping().items()
}


class LogObserver:
    """Writes each event of the core as one line."""

    def __init__(self) -> None:
        self._log = structlog.get_logger().bind()

    def __call__(self, event: Event) -> None:
        """Write a line, as loud as the event is serious."""
        match event:
            case OperationEnded():
                self._ended(event)
            case OddsMeasured():
                self._measured(event)
            case CallEnded():
                loudness = _loudness(event)
                # As below: no line is made that nobody will read.
                if self._log.is_enabled_for(_LEVELS[loudness]):
                    getattr(self._log, loudness)("call", **_call(event))

    def _ended(self, event: OperationEnded) -> None:
        match event.outcome:
            case SpendCapReached(cap=cap):
                # Whoever pays must hear of it: no call is placed until the window moves on or the cap is raised.
                self._log.error("spend_cap", cap=cap.value, operation=event.operation, **_operation(event))
            case DestinationSuspended(scope=scope, destination=destination, just_now=True):
                self._log.warning(
                    "destination_suspended", scope=scope.value, destination=destination, **_operation(event)
                )
            case CodeIncorrect(alarm=True):
                self._log.error("spray_alert", **_operation(event))
            case _:
                # A check must not pay for a line that nobody will read.
                if self._log.is_enabled_for(logging.INFO):
                    self._log.info(event.operation, **_operation(event))

    def _measured(self, event: OddsMeasured) -> None:
        uneven = [odds for odds in event.odds.values() if odds.uneven] if event.worse else []
        for odds in uneven:
            self._log.error("codes_uneven", **_odds(odds, impossible=event.impossible))


def _operation(event: OperationEnded) -> dict[str, object]:
    # What came of a request before is told as it was then.
    outcome = event.outcome.first if isinstance(event.outcome, Replayed) else event.outcome
    line: dict[str, object] = {"outcome": outcome_name(type(outcome)), "client": event.client}
    if event.id:
        line["id"] = event.id[:_ID_SHOWN]
    if event.phone:
        line["phone"] = mask_phone(event.phone)
    for name in ("fault", "limit", "refusal", "attempts_left", "retry_after"):
        if (value := getattr(outcome, name, None)) is not None:
            line[name] = value
    if isinstance(outcome, PhoneRejected) and outcome.fault is PhoneError.COUNTRY_NOT_ALLOWED:
        line |= {"detail": outcome.detail, "setting": "LASTDIGITS_ALLOWED_COUNTRIES"}
    marks = {
        "test": event.test,
        "repeated": isinstance(outcome, Approved) and outcome.approval.repeated,
        "replayed": isinstance(event.outcome, Replayed),
    }
    return line | {name: True for name, holds in marks.items() if holds}


def outcome_name(outcome: type[Outcome]) -> str:
    """An outcome's name in logs and metrics: `CodeIncorrect` is `code_incorrect`."""
    if outcome is Pending:
        return "placed"
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in outcome.__name__).lstrip("_")


def _odds(odds: Odds, *, impossible: bool) -> dict[str, object]:
    line: dict[str, object] = {
        "code_length": odds.digits,
        "codes": odds.drawn,
        "chance": odds.chance,
        "min_entropy": round(odds.min_entropy, 2),
    }
    if impossible:
        line["detail"] = (
            "not one guess fits under MAX_GUESS_PROBABILITY, so nobody is called: ask the provider for more numbers, or raise the bound to at least "
            "that chance"
        )
    return line


def _loudness(event: CallEnded) -> str:
    """A refusal that only the operator or we can mend is an error; an unknown fate wants a look; the rest is daily business."""
    match event.outcome:
        case Placed():
            return "info"
        case Unknown():
            return "warning"
        case Refused():
            return {Responsibility.CALLER: "info", Responsibility.PROVIDER: "warning"}.get(event.outcome.fault, "error")


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
                "fault": event.outcome.fault.value,
                "detail": detail,
            }
        case Unknown(detail=detail):
            return line | {"outcome": "unknown", "detail": detail}
