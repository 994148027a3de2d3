import os
import time
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from structlog.testing import capture_logs

from app.telemetry.metrics import (
    BOUNDS,
    CALLS,
    MAX_REQUEST_SERIES,
    OPERATIONS,
    OUTCOMES,
    REASONS,
    REPEATED,
    REQUESTS,
    UNLISTED,
    WIDTH,
    Metrics,
)
from app.telemetry.observers import Observers
from app.telemetry.tallies import Tallies, shared_tallies
from app.verification import model
from app.verification.limits import price_units
from app.verification.model import Refusal
from app.verification.ports import (
    BiasMeasured,
    BreakerState,
    CallEnded,
    CallOutcome,
    CodeBias,
    Event,
    OperationEnded,
    Placed,
    Refused,
    Unknown,
)
from app.verification.service import VerificationService
from tests.exposition import call, growth, read, series

UNKNOWN = CallEnded("vrf_1", "+79991234567", Unknown(""), 1, 3500)


def _counted(metrics: Metrics) -> dict[Any, float]:
    return read(metrics.text("")[0].decode())


def _an(outcome: Any, reason: Any = None) -> Any:
    """An outcome of a class, of which no more is filled in than its reason."""
    members = dict.fromkeys(field.name for field in fields(outcome))
    if outcome is model.Approved:
        approval: Any = model.Approval("", "", 0, None, test=False, repeated=reason == REPEATED)
        return model.Approved(approval, "", "")
    return outcome(**members | ({REASONS[outcome]: reason} if outcome in REASONS else {}))


def _reasons(outcome: type) -> list[Any]:
    if outcome in REASONS:
        return list(get_type_hints(outcome)[REASONS[outcome]])
    return ["", REPEATED] if outcome is model.Approved else [""]


def test_every_operation_counts_every_outcome_that_its_annotation_names() -> None:
    annotated = {name: set(get_args(get_type_hints(getattr(VerificationService, name))["return"])) for name in OUTCOMES}
    assert {name: set(get_args(outcomes)) for name, outcomes in OUTCOMES.items()} == annotated
    assert {outcome for outcomes in annotated.values() for outcome in outcomes} == set(get_args(model.Outcome))


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("name", OUTCOMES)
def test_each_outcome_adds_one_to_a_series_of_its_own(name: str, test: bool) -> None:
    metrics = Metrics("1")
    before = _counted(metrics)
    ends = [(outcome, reason) for outcome in get_args(OUTCOMES[name]) for reason in _reasons(outcome)]
    for end in ends:
        metrics(OperationEnded(name, "client-1", "vrf_1", "+79991234567", test, _an(*end)))
    grown = growth(before, _counted(metrics))
    assert list(grown.values()) == [1] * len(ends)
    assert len(ends) == sum(series[0] == name for series in OPERATIONS.series) / 2
    assert all(("test", "true" if test else "false") in labels for _, labels in grown)


def test_each_fate_of_a_call_is_counted() -> None:
    metrics = Metrics("1")
    refusals = [Refused(reason, "words") for reason in Refusal]
    fates: list[CallOutcome] = [Placed("1234", "id", Decimal(1)), *refusals, Unknown("")]
    before = _counted(metrics)
    for fate in fates:
        metrics(CallEnded("vrf_1", "+79991234567", fate, 1.5, 10_000))
    refused = {call("refused", reason): 1 for reason in Refusal}
    assert growth(before, _counted(metrics)) == {call("placed"): 1, call("unknown"): 1} | refused
    assert len(fates) == len(CALLS.series)


@pytest.mark.parametrize(
    ("placed", "problem"),
    [
        (Placed("1234", None, None, "3,50"), "unreadable"),
        (Placed("1234", None, Decimal("0.3501")), "higher"),
        (Placed("1234", None, Decimal("0.35")), None),
        (Placed("1234", None, None), None),
    ],
)
def test_a_price_that_cant_be_read_or_is_higher_than_expected_is_counted(placed: Placed, problem: str | None) -> None:
    metrics = Metrics("1")
    metrics(CallEnded("vrf_1", "+79991234567", placed, 1, price_units(Decimal("0.35"))))
    counted = _counted(metrics)
    for each in ("unreadable", "higher"):
        assert counted[series("lastdigits_price_problems_total", problem=each)] == (each == problem)


@pytest.mark.parametrize("status", [101, 299, 302, 418, 599])
def test_a_request_that_no_route_documents_is_counted_by_the_class_of_its_status(status: int) -> None:
    metrics = Metrics("1")
    metrics.count_request("/x", "GET", status, "")
    assert _counted(metrics)[series(REQUESTS, route="other", method="other", status=f"{status // 100}xx")] == 1


@pytest.mark.parametrize("sign", [False, True])
def test_signs_of_an_attack_are_counted_with_the_operation_that_first_saw_them(sign: bool) -> None:
    metrics = Metrics("1")
    suspended = model.DestinationSuspended(model.Scope.RANGE, "+7999123", 900, just_now=sign)
    for operation, outcome in (("start", suspended), ("check", model.CodeIncorrect(2, alert=sign))):
        metrics(OperationEnded(operation, "client-1", "vrf_1", "+79991234567", False, outcome, None))
    counted = _counted(metrics)
    assert counted[series("lastdigits_spray_alerts_total")] == sign
    assert counted[series("lastdigits_destination_suspensions_total", scope="range")] == sign
    assert counted[series("lastdigits_destination_suspensions_total", scope="country")] == 0


def test_a_worker_has_room_for_so_many_series_of_requests_and_no_more() -> None:
    requests = [(f"/{nth}", "GET", "200", "") for nth in range(MAX_REQUEST_SERIES - len(UNLISTED))]
    Metrics("1", None, requests).count_request("other", "other", 500, "")
    with pytest.raises(ValueError, match="raise MAX_REQUEST_SERIES"):
        Metrics("1", None, [*requests, ("/x", "GET", "200", "")])


def test_seconds_fall_into_the_bucket_that_holds_them_and_all_above() -> None:
    metrics = Metrics("1")
    name = "lastdigits_call_duration_seconds"
    for seconds in (0.1, 0.11, 3.0, 31.0):
        metrics(CallEnded("vrf_1", "+79991234567", Placed("1234", None, None), seconds, 3500))
    counted = _counted(metrics)
    buckets = {bound: counted[series(f"{name}_bucket", outcome="placed", le=str(bound))] for bound in (*BOUNDS, "+Inf")}
    assert [buckets[bound] for bound in (0.1, 0.25, 2.0, 3.0, 30.0, "+Inf")] == [1, 2, 2, 3, 3, 4]
    assert counted[series(f"{name}_count", outcome="placed")] == 4
    assert counted[series(f"{name}_sum", outcome="placed")] == pytest.approx(34.21)
    assert counted[series(f"{name}_count", outcome="refused")] == 0


def test_a_gauge_shows_what_any_worker_set_last_and_nothing_before() -> None:
    def measured(bits: float) -> BiasMeasured:
        return BiasMeasured({4: CodeBias(4, 0, 0.0001, False, bits, 0.0, 0.0)}, worse=False, impossible=False)

    four = series("lastdigits_code_min_entropy", code_length="4")
    with shared_tallies(WIDTH, 2) as tallies:
        assert tallies
        metrics = Metrics("1", tallies)
        assert four not in _counted(metrics)
        for bits in (13.25, 12.5):
            metrics(measured(bits + 1))
            _in_another_process(tallies, measured(bits))
            assert _counted(metrics)[four] == bits
        metrics(measured(13))
        assert _counted(metrics)[four] == 13


@pytest.mark.parametrize("holds", [False, True])
def test_codes_that_recur_and_a_lack_of_safe_ones_are_shown(holds: bool) -> None:
    metrics = Metrics("1")
    metrics(BiasMeasured({4: CodeBias(4, 0, 0.0001, holds, 13, 0.0, 0.0)}, worse=False, impossible=not holds))
    counted = _counted(metrics)
    assert counted[series("lastdigits_code_biased", code_length="4")] == holds
    assert counted[series("lastdigits_codes_impossible")] == (not holds)


def test_a_worker_shows_its_version_and_a_closed_breaker_before_any_call() -> None:
    counted = _counted(Metrics("1.2.3"))
    assert counted[series("lastdigits_build_info", version="1.2.3")] == 1
    breakers = [counted[series("lastdigits_breakers", state=state)] for state in BreakerState]
    assert breakers == [state is BreakerState.CLOSED for state in BreakerState]


def test_what_a_worker_uses_of_the_machine_is_what_the_system_says() -> None:
    counted = _counted(Metrics("1"))
    cpu, memory, files, start = (
        counted[series(f"process_{name}", worker="0")]
        for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds")
    )
    resident = Path("/proc/self/status").read_text("utf-8").partition("VmRSS:")[2].split()[0]
    assert cpu == pytest.approx(time.process_time(), abs=0.5)
    assert memory == pytest.approx(int(resident) * 1024, rel=0.1)
    assert files == pytest.approx(len(os.listdir("/proc/self/fd")), abs=3)  # noqa: PTH208  as the code has it
    assert start == pytest.approx(time.time(), abs=60)


# ---- several workers


def _in_another_process(tallies: Tallies, event: Event) -> None:
    child = os.fork()
    if child == 0:
        try:
            Metrics("1", tallies)(event)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize(("spare", "counted"), [({"spare": 0}, 0), ({}, 1)], ids=["no row", "a spare row"])
def test_a_process_beyond_the_workers_has_a_spare_row_or_counts_for_itself(spare: dict[str, int], counted: int) -> None:
    with shared_tallies(WIDTH, 1, **spare) as tallies:
        assert tallies
        metrics = Metrics("1", tallies)
        _in_another_process(tallies, UNKNOWN)
        assert _counted(metrics)[call("unknown")] == counted


def test_a_worker_takes_over_the_counts_of_one_that_ended_and_has_an_age_of_its_own() -> None:
    with shared_tallies(WIDTH, 1, spare=0) as tallies:
        assert tallies
        _in_another_process(tallies, UNKNOWN)
        now = time.time()
        counted = _counted(Metrics("1", tallies))
    assert counted[call("unknown")] == 1
    assert counted[series("process_start_time_seconds", worker="0")] >= now


def test_a_worker_of_another_version_counts_for_itself() -> None:
    with shared_tallies(WIDTH + 1, 2) as tallies:
        assert tallies
        with capture_logs() as lines:
            metrics = Metrics("1", tallies)
        assert [(line["event"], line["log_level"]) for line in lines] == [("metrics_not_shared", "warning")]
        metrics(UNKNOWN)
        assert _counted(metrics)[call("unknown")] == 1
        assert not list(tallies.workers())


def test_a_system_without_room_costs_the_sums_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "memfd_create", full, raising=False)
    with capture_logs() as lines, shared_tallies(WIDTH, 2) as tallies:
        assert tallies is None
    assert [(line["event"], line["log_level"]) for line in lines] == [("metrics_not_shared", "warning")]
    assert "No space left" in lines[0]["detail"]


def test_an_observer_that_fails_hides_nothing_from_the_others() -> None:
    def fails(event: Event) -> None:
        raise OSError(28, "No space left on device")

    def notes(event: Event) -> None:
        counted.append(event)

    counted: list[Event] = []
    failures: list[None] = []
    Observers((fails, notes, fails), lambda: failures.append(None))(UNKNOWN)
    assert len(failures) == 2
    assert counted == [UNKNOWN]
