"""Metrics for Prometheus: what the core's events come to, counted over all workers.

No label takes what a request brings: each series is known, and stands at 0, before the first event. docs/operations.md explains them.
What only the store knows is asked for at each scrape (gauges.py), and handed to `Metrics.text`.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from typing import get_args, get_type_hints

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.telemetry.gauges import process_metrics
from app.telemetry.observers import outcome_name
from app.telemetry.tallies import Tallies
from app.verification import model
from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.limits import price_units
from app.verification.model import Refusal
from app.verification.ports import (
    BiasMeasured,
    BreakerChanged,
    BreakerState,
    CallEnded,
    CallOutcome,
    Event,
    OperationEnded,
    Placed,
    Refused,
    Unknown,
)

Series = tuple[str, ...]
"""A metric's name, then the values of its labels."""

OUTCOMES = {
    "start": model.StartOutcome,
    "resend": model.ResendOutcome,
    "check": model.CheckOutcome,
    "read": model.ReadOutcome,
    "cancel": model.CancelOutcome,
    "redeem": model.RedeemOutcome,
}
"""What each operation can end in."""

REASONS = {
    model.PhoneRejected: "error",
    model.LimitReached: "limit",
    model.SpendCapReached: "cap",
    model.DestinationSuspended: "scope",
    model.CallRefused: "refusal",
}
"""Which member of an outcome says why; an enumeration each, so that the reasons are known."""

REPEATED = "repeated"
"""The reason of an approval that is repeated: conversions are counted without it."""

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0)
"""Seconds: the provider answers within some; with the timeouts as they come none takes 30."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all its series: each combination of its labels' values that there is. The name of a counter ends in `_total`."""

    name: str
    help: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]


def _family(name: str, sentence: str, **labels: Iterable[str]) -> Family:
    """A metric with a series for each combination of its labels' values."""
    return Family(f"lastdigits_{name}", sentence, tuple(labels), tuple(product(*labels.values())))


def _reasons(outcome: type) -> Iterable[str]:
    """What an outcome may give as its reason; "" where its name says all."""
    if member := REASONS.get(outcome):
        return [reason.value for reason in get_type_hints(outcome)[member]]
    return ["", REPEATED] if outcome is model.Approved else [""]


_CALL_OUTCOMES: dict[type[CallOutcome], str] = {Placed: "placed", Refused: "refused", Unknown: "unknown"}
_CODE_LENGTHS = tuple(map(str, range(MIN_DIGITS, MAX_DIGITS + 1)))
_BUCKETS = (*map(str, BOUNDS), "+Inf")
_SUM = "sum"
_ENDS = tuple(
    (operation, outcome_name(outcome), reason, test)
    for operation, outcomes in OUTCOMES.items()
    for outcome in get_args(outcomes)
    for reason in _reasons(outcome)
    for test in ("false", "true")
)

# A table, a metric an entry.
# fmt: off
OPERATIONS = Family(
    "lastdigits_operations_total", "Operations that came to their outcome.", ("operation", "outcome", "reason", "test"), _ENDS)
CALLS = Family(
    "lastdigits_calls_total", "Calls that the provider was asked for.", ("outcome", "reason"),
    (("placed", ""), *(("refused", reason.value) for reason in Refusal), ("unknown", "")))
SUSPENSIONS = _family(
    "destination_suspensions_total", "Countries and ranges of numbers that the fraud guard suspended.", scope=model.Scope)
ALERTS = _family("spray_alerts_total", "Times that the spray alert was raised.")
PRICES = _family(
    "price_problems_total", "Prices of calls that can't be read, or are higher than EXPECTED_PRICE.", problem=("unreadable", "higher"))
BREAKER_OPENED = _family(
    "breaker_opened_total", "Times that a worker's breaker opened: calls failed, or the provider refused our account.", reason=(*Refusal, "unknown"))
OBSERVER_ERRORS = _family("observer_errors_total", "Events that could not be logged or counted.")
COUNTERS = (OPERATIONS, CALLS, SUSPENSIONS, ALERTS, PRICES, BREAKER_OPENED, OBSERVER_ERRORS)

BREAKERS = _family("breakers", "Workers by the state of their breaker; all are closed while the provider works.", state=BreakerState)
"""A gauge that is the sum of what each worker says of itself."""

CALL_SECONDS = _family(
    "call_duration_seconds", "How long the provider took to answer.", outcome=_CALL_OUTCOMES.values(), le=(*_BUCKETS, _SUM))
"""A histogram: for each outcome what fell into each bucket alone, and the sum of all."""

MIN_ENTROPY = _family("code_min_entropy", "Min-entropy, in bits, of the codes that the provider's numbers end in, as measured.", code_length=_CODE_LENGTHS)
BIASED = _family("code_biased", "1 where codes recur more often than uniformly distributed ones can.", code_length=_CODE_LENGTHS)
IMPOSSIBLE = _family("codes_impossible", "1 where no code is safe enough, so that no one is called.")
RELOADED = _family("last_reload_successful", "Whether the last SIGHUP put this file into force; 0: it is invalid.", file=("clients", "signing_keys"))
GAUGES = (MIN_ENTROPY, BIASED, IMPOSSIBLE, RELOADED)
"""What a worker sets: the value that any of them set last counts, and there is none before the first."""
# fmt: on

REQUESTS = "lastdigits_http_requests_total"
UNLISTED: tuple[Series, ...] = tuple(("other", "other", f"{first}xx", "") for first in range(1, 6))
"""Series of HTTP requests whose own one is not known. A route that documents all its answers never comes here."""

MAX_REQUEST_SERIES = 400
"""Series of HTTP requests. The API knows its routes and hands them over; a worker's numbers have room for so many."""

_SET_AT = "set at"
"""Marks the number that says when a worker set a gauge, in unix time; 0: never."""

_SERIES = [
    (family.name, *values) for family in (*COUNTERS, BREAKERS, CALL_SECONDS, *GAUGES) for values in family.series
]
_SERIES += [(gauge.name, *values, _SET_AT) for gauge in GAUGES for values in gauge.series]
_PLACES: dict[Series, int] = {series: place for place, series in enumerate(_SERIES)}
"""Where among a worker's numbers each series has its own. Those of HTTP requests follow."""

WIDTH = len(_PLACES) + MAX_REQUEST_SERIES
"""How many numbers a worker keeps."""


class Metrics:
    """Counts the core's events, and returns what all workers have counted."""

    def __init__(self, version: str, tallies: Tallies | None = None, requests: Sequence[Series] = ()) -> None:
        """Count in the numbers of all workers, or alone where there are none.

        Args:
            version: of this software.
            tallies: the numbers of all workers.
            requests: each route, method, status and problem's code that an HTTP request may have: at most `MAX_REQUEST_SERIES`, the same in all workers.
        """
        self._version = version
        labels = ("route", "method", "status", "code")
        self._requests = Family(REQUESTS, "HTTP requests that were answered.", labels, (*requests, *UNLISTED))
        count = len(self._requests.series)
        if count > MAX_REQUEST_SERIES:
            raise ValueError(f"{count} series of HTTP requests: raise MAX_REQUEST_SERIES")
        numbered = enumerate(self._requests.series, len(_PLACES))
        self._places = _PLACES | {(REQUESTS, *values): place for place, values in numbered}
        self._tallies, self._row = _claimed(tallies)
        self._set_breaker(BreakerState.CLOSED)

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case OperationEnded(operation=operation, outcome=outcome, test=test):
                name, said = outcome_name(type(outcome)), "true" if test else "false"
                self._add(OPERATIONS.name, operation, name, _reason(outcome), said)
                self._count_signs(outcome)
            case CallEnded():
                self._count_call(event)
            case BreakerChanged(state=state, reason=reason):
                self._set_breaker(state)
                if reason:  # it opened
                    self._add(BREAKER_OPENED.name, reason)
            case BiasMeasured(bias=bias, impossible=impossible):
                for digits, measured in bias.items():
                    self._set(MIN_ENTROPY.name, str(digits), value=measured.min_entropy)
                    self._set(BIASED.name, str(digits), value=measured.biased)
                self._set(IMPOSSIBLE.name, value=impossible)

    def count_request(self, route: str, method: str, status: int, code: str) -> None:
        """Count an HTTP request: by its route's template, never its path, and its problem's code, if it has one."""
        series = (REQUESTS, route, method, str(status), code)
        self._add(*(series if series in self._places else (REQUESTS, *UNLISTED[status // 100 - 1])))

    def set_reloaded(self, file: str, *, successful: bool) -> None:
        """Say whether the last SIGHUP put a file into force: `clients` or `signing_keys`."""
        self._set(RELOADED.name, file, value=successful)

    def count_observer_error(self) -> None:
        """Count an event that an observer failed on."""
        self._add(OBSERVER_ERRORS.name)

    def _add(self, *series: str, by: float = 1) -> None:
        self._row[self._places[series]] += by

    def _count_signs(self, outcome: model.Outcome) -> None:
        """Signs of an attack: counted with the operation that first saw them."""
        match outcome:
            case model.DestinationSuspended(scope=scope, just_now=True):
                self._add(SUSPENSIONS.name, scope)
            case model.CodeIncorrect(alert=True):
                self._add(ALERTS.name)

    def _count_call(self, event: CallEnded) -> None:
        outcome = _CALL_OUTCOMES[type(event.outcome)]
        self._add(CALLS.name, outcome, event.outcome.reason if isinstance(event.outcome, Refused) else "")
        self._add(CALL_SECONDS.name, outcome, _BUCKETS[bisect_left(BOUNDS, event.seconds)])
        self._add(CALL_SECONDS.name, outcome, _SUM, by=event.seconds)
        match event.outcome:
            case Placed(unreadable_price=text) if text is not None:
                self._add(PRICES.name, "unreadable")
            case Placed(price=price) if price is not None and price_units(price) > event.expected:
                self._add(PRICES.name, "higher")

    def _set_breaker(self, state: BreakerState) -> None:
        for each in BreakerState:
            self._row[self._places[BREAKERS.name, each]] = each is state

    def _set(self, *series: str, value: float) -> None:
        self._row[self._places[series]] = value
        self._row[self._places[*series, _SET_AT]] = time.time()

    def text(self, accept: str, more: Iterable[Metric] = ()) -> tuple[bytes, str]:
        """What all workers have counted, and `more`, as a text and its media type: `accept`, the request's header, may ask for OpenMetrics."""
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # a version that is none
            encode, media_type = choose_encoder("")
        return encode(_Collected([*self.collect(), *more])), media_type

    def collect(self) -> Iterator[Metric]:
        """Each metric with its samples."""
        rows = self._tallies.rows()
        sums = [sum(column) for column in zip(*rows, strict=True)]
        values = {series: sums[place] for series, place in self._places.items()}
        for counter in COUNTERS:
            yield _filled(CounterMetricFamily, counter, values)
        yield _filled(GaugeMetricFamily, BREAKERS, values)
        yield _histogram(values)
        yield _filled(CounterMetricFamily, self._requests, values)
        for gauge in GAUGES:
            yield _last_set(gauge, rows)
        build = GaugeMetricFamily("lastdigits_build_info", "1; the label says which version runs.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        yield from process_metrics(self._tallies)


@dataclass(frozen=True, slots=True)
class _Collected(Collector):
    """Metrics as the library's encoders take them."""

    metrics: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def _filled(
    kind: type[CounterMetricFamily | GaugeMetricFamily], family: Family, values: Mapping[Series, float]
) -> Metric:
    metric = kind(family.name, family.help, labels=family.labels)
    for series in family.series:
        metric.add_metric(series, values[family.name, *series])
    return metric


def _histogram(values: Mapping[Series, float]) -> Metric:
    metric = HistogramMetricFamily(CALL_SECONDS.name, CALL_SECONDS.help, labels=["outcome"])
    for outcome in _CALL_OUTCOMES.values():
        counts = accumulate(values[CALL_SECONDS.name, outcome, bound] for bound in _BUCKETS)
        metric.add_metric([outcome], list(zip(_BUCKETS, counts, strict=True)), values[CALL_SECONDS.name, outcome, _SUM])
    return metric


def _last_set(gauge: Family, rows: list[list[float]]) -> Metric:
    """A gauge with the values that any of the workers set last; without those that none has set."""
    metric = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for series in gauge.series:
        set_at, place = _PLACES[gauge.name, *series, _SET_AT], _PLACES[gauge.name, *series]
        when, value = max((row[set_at], row[place]) for row in rows)
        if when:
            metric.add_metric(series, value)
    return metric


def _claimed(tallies: Tallies | None) -> "tuple[Tallies, memoryview[float]]":
    """Where to count: in this worker's row, or for itself where there is none."""
    # Another width is another version's: its files were replaced while the service ran.
    if tallies and tallies.width == WIDTH and (row := tallies.claim()):
        return tallies, row
    if tallies:
        structlog.get_logger().warning(
            "metrics_not_shared", detail="this worker counts for itself: restart the service"
        )
    own = Tallies(WIDTH, rows=1)
    row = own.claim()
    if row is None:
        raise RuntimeError("a new row was taken")
    return own, row


def _reason(outcome: model.Outcome) -> str:
    if member := REASONS.get(type(outcome)):
        reason: str = getattr(outcome, member)
        return reason
    return REPEATED if isinstance(outcome, model.Approved) and outcome.approval.repeated else ""
