"""Log lines for requests that were refused: enough to find the reason, and never so many that an attacker fills the disk."""

import asyncio
import logging
import time
from contextvars import Context

import structlog

LINES = 10
SECONDS = 10.0

log = structlog.get_logger()


class Refusals:
    """Writes at most so many lines in `SECONDS` for each code, then one line with the number of those left out."""

    def __init__(self, lines: int = LINES) -> None:
        self._lines = lines
        self._seen: dict[str, int] = {}

    def __call__(self, level: str, event: str, code: str, **line: object) -> None:
        """Write a line, or count it.

        Args:
            level: `debug`, `info`, `warning` or `error`.
            event: the line's.
            code: of the problem: one of a known set, since each has its own count.
            line: what else the line says. A member that is None is left out.
        """
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
