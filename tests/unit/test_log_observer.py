"""The log's lines of operations: each success has one, and refusals never fill a disk, nor hide what an operator must hear of."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.telemetry import logging
from app.telemetry.observers import MAX_LINES, LogObserver
from app.verification import model
from app.verification.client import Lane
from app.verification.ports import OperationEnded


def _ended(outcome: model.Outcome, operation: str = "check", lane: Lane | None = None) -> OperationEnded:
    return OperationEnded(operation, "shop", "vrf_0123456789abcdef", "+79991234567", False, outcome, lane)


SPENT = model.SpendCapReached(model.Cap.ALL, 3600, 100, 100, public=False, retry_after=60)


async def _lines(*events: OperationEnded) -> list[Any]:
    observe = LogObserver()
    with capture_logs() as lines:
        for event in events:
            observe(event)
        await asyncio.sleep(0.1)  # the window ends
    return lines


@pytest.fixture(autouse=True)
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "SECONDS", 0.02)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (_ended(model.NotFound()), "check"),
        (_ended(SPENT, "start", Lane.TRUSTED), "spend_cap"),
    ],
)
async def test_a_flood_of_one_refusal_has_so_many_lines_and_then_their_number(event: OperationEnded, name: str) -> None:
    lines = await _lines(*[event] * (MAX_LINES + 50))
    assert [line["event"] for line in lines] == [name] * MAX_LINES + ["lines_left_out"]
    assert lines[-1]["count"] == 50
    assert lines[-1]["code"] == f"{event.operation} {lines[0]['outcome']}"


async def test_a_flood_hides_no_other_outcome_and_no_sign_of_an_attack() -> None:
    approved = model.Approved(
        model.Approval("vrf_1", "+79991234567", 0, None, test=False, repeated=False), "token", "device"
    )
    suspended = model.DestinationSuspended(model.Scope.RANGE, "+7999123", 900, just_now=True)
    flood = [_ended(model.CodeIncorrect(2)) for _ in range(MAX_LINES * 2)]
    signs = [_ended(model.CodeIncorrect(2, alert=True)), _ended(suspended, "start"), _ended(approved)]
    lines = await _lines(*flood, *signs, *[_ended(approved)] * MAX_LINES * 2)
    events = [line["event"] for line in lines]
    assert (events.count("spray_alert"), events.count("destination_suspended")) == (1, 1)
    assert [line["outcome"] for line in lines if line["event"] == "check"].count("approved") == MAX_LINES * 2 + 1
    assert "+7999123" not in str([line for line in lines if line["event"] != "destination_suspended"])
