"""How log lines are written: in one form, ours and the libraries', and with nothing that was not meant to be in them."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.telemetry import logging as logs
from app.telemetry.logging import LINES, Refusals, configure_logs, request_id


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn.error")
    handlers, level, filters = root.handlers, root.level, uvicorn.filters
    yield
    structlog.reset_defaults()
    root.handlers, uvicorn.filters = handlers, filters
    root.setLevel(level)


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "console"])
def test_a_traceback_shows_no_variable(stream: io.StringIO) -> None:
    def compare(code: str) -> None:
        raise RuntimeError("it broke")

    configure_logs("auto", "info", stream)
    for log in (structlog.get_logger(), logging.getLogger("uvicorn.error")):
        try:
            compare(str(4000 + 711))
        except RuntimeError:
            log.exception("internal_error")
    assert stream.getvalue().count("RuntimeError: it broke") == 2
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "4711" not in stream.getvalue()


def test_lines_of_libraries_look_as_ours_do() -> None:
    stream = io.StringIO()
    configure_logs("auto", "info", stream)
    before = request_id.set("order-4711")
    structlog.get_logger().info("serving", город="Мск")
    logging.getLogger("uvicorn.error").info("Started %s", "server")
    request_id.reset(before)
    ours, theirs = map(json.loads, stream.getvalue().splitlines())
    assert "Мск" in stream.getvalue(), "readable as it is"
    assert (ours["event"], theirs["event"]) == ("serving", "Started server")
    for line in (ours, theirs):
        assert (line["level"], line["request_id"]) == ("info", "order-4711")
        assert line["timestamp"].endswith("Z"), "UTC"


@pytest.mark.parametrize(
    ("form", "stream", "json_lines"),
    [
        ("auto", io.StringIO(), True),
        ("auto", Terminal(), False),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_a_terminal_shows_text_and_a_machine_reads_json(form: str, stream: io.StringIO, json_lines: bool) -> None:
    configure_logs(form, "info", stream)
    structlog.get_logger().info("serving")
    assert stream.getvalue().startswith("{") is json_lines
    assert ("\x1b" in stream.getvalue()) is (stream.isatty() and not json_lines), "colors are for terminals"


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["ours debug", "ours info", "theirs info", "ours error", "theirs error"]),
        ("info", ["ours info", "theirs info", "ours error", "theirs error"]),
        ("warning", ["ours error", "theirs error"]),
    ],
)
def test_the_level_holds_for_all_and_no_library_shows_what_it_does_inside(level: str, written: list[str]) -> None:
    """An HTTP client's debug lines have URLs and headers, and those have keys."""
    stream = io.StringIO()
    configure_logs("json", level, stream)
    ours, theirs = structlog.get_logger(), logging.getLogger("httpx")
    for name in ("debug", "info", "error"):
        getattr(ours, name)(f"ours {name}")
        getattr(theirs, name)(f"theirs {name}")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == written


async def test_the_line_that_counts_what_was_left_out_is_no_requests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SECONDS", 0.01)
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    request_id.set("order-4711")
    Refusals(lines=0)("info", "refused", "key_unknown")
    await asyncio.sleep(0.05)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["count"], "request_id" in line) == ("lines_left_out", 1, False)


def test_what_is_not_http_fills_no_disk() -> None:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    for _ in range(LINES * 2):
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert len(stream.getvalue().splitlines()) == LINES
