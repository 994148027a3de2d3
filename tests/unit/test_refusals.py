"""The log has enough lines of refused requests to find a reason, and never so many that they fill a disk."""

import asyncio
import logging

import pytest
from structlog.testing import capture_logs

from app.telemetry import logging as logs
from app.telemetry.logging import LINES, FewOfEach, Refusals


async def test_each_code_has_so_many_lines_and_then_one_with_the_number_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "SECONDS", 0.02)
    refuse = Refusals()
    with capture_logs() as lines:
        for _ in range(LINES + 7):
            refuse("info", "refused", "key_unknown", route="/policy", detail=None)
        refuse("warning", "refused", "no_such_route")
        await asyncio.sleep(0.1)
        refuse("info", "refused", "key_unknown")
        await asyncio.sleep(0.1)
    line = {"event": "refused", "log_level": "info", "code": "key_unknown"}
    assert lines == [
        *[line | {"route": "/policy"}] * LINES,
        {"event": "refused", "log_level": "warning", "code": "no_such_route"},
        {"event": "lines_left_out", "log_level": "warning", "code": "key_unknown", "count": 7, "seconds": 0.02},
        line,
    ]


def test_anothers_log_has_so_many_lines_of_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    few = FewOfEach()

    def passing(message: str, count: int) -> int:
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, message, (), None)
        return sum(few.filter(record) for _ in range(count))

    assert passing("Invalid HTTP request received.", 100) == LINES
    assert passing("Unsupported upgrade request.", 3) == 3
    now[0] += 11
    assert passing("Invalid HTTP request received.", 100) == LINES
