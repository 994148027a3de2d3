"""How log lines are written: one line an event, JSON where a machine reads it, the request's id on each, and never so many that they fill a disk."""

import asyncio
import logging
import sys
import time
from collections.abc import MutableMapping
from contextvars import Context, ContextVar
from typing import Any, TextIO

import structlog

log = structlog.get_logger()
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def configure_logs(form: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Set up structlog and the standard library's logging to write one kind of line. `auto` is console on a terminal, else JSON."""
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


def _with_request_id(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if name := request_id.get():
        line["request_id"] = name
    return line


# ---- lines of refused requests: enough to find the reason, and never so many that an attacker fills the disk

LINES = 10
SECONDS = 10.0


class Refusals:
    """Writes at most so many lines in `SECONDS` for each code, then one line with the number of those left out."""

    def __init__(self, lines: int = LINES) -> None:
        self._lines = lines
        self._seen: dict[str, int] = {}

    def __call__(self, level: str, event: str, code: str, **line: object) -> None:
        """Write a line without the members that are None, or count it. Each code has its own count: it must be one of a known set."""
        if self.allow(code):
            shown = {name: value for name, value in line.items() if value is not None}
            getattr(log, level)(event, code=code, **shown)

    def allow(self, code: str) -> bool:
        """Whether one more line of this code may be written now; if not, it is counted."""
        seen = self._seen[code] = self._seen.get(code, 0) + 1
        if seen == 1:
            # In a context of its own: the line at the end is not one request's.
            asyncio.get_running_loop().call_later(SECONDS, self._end, code, context=Context())
        return seen <= self._lines

    def _end(self, code: str) -> None:
        left_out = self._seen.pop(code) - self._lines
        if left_out > 0:
            log.warning("lines_left_out", code=code, count=left_out, seconds=SECONDS)


class FewOfEach(logging.Filter):
    """The same bound for another's log: at most `LINES` lines in `SECONDS` of each message, before its arguments are filled in."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[object, int] = {}
        self._until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line may be written."""
        now = time.monotonic()
        if now >= self._until:
            self._seen, self._until = {}, now + SECONDS
        seen = self._seen[record.msg] = self._seen.get(record.msg, 0) + 1
        return seen <= LINES
