"""Metrics for Prometheus: what the core's events come to, counted over all workers.

No label takes what a request brings: each series is known, and stands at 0, before the first event. docs/operations.md explains them.
What only the store knows is asked for at each scrape (gauges.py), and handed to `Metrics.text`.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import get_args, get_type_hints

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from app.telemetry.gauges import Processes
from app.telemetry.observers import outcome_name
from app.telemetry.tallies import Tallies, own_tallies
from app.verification import model
from app.verification.call import CallOutcome, Placed, Refusal, Refused, Unknown
from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.money import price_units
from app.verification.ports import BiasMeasured, BreakerChanged, BreakerState, CallEnded, Event, OperationEnded

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
    """A metric with all its series: a counter, or a gauge that a worker sets.

    Attributes:
        name: a counter's with its `_total`.
        help: what it means, a sentence.
        labels: their names.
        series: each combination of their values that there is.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]


def _reasons(outcome: type) -> Iterable[str]:
    """What an outcome may give as its reason; "" where its name says all."""
    if member := REASONS.get(outcome):
        return [reason.value for reason in get_type_hints(outcome)[member]]
    return ["", REPEATED] if outcome is model.Approved else [""]


OPERATIONS = Family(
    "lastdigits_operations_total",
    "Operations that came to their outcome.",
    ("operation", "outcome", "reason", "test"),
    tuple(
        (operation, outcome_name(outcome), reason, test)
        for operation, outcomes in OUTCOMES.items()
        for outcome in get_args(outcomes)
        for reason in _reasons(outcome)
        for test in ("false", "true")
    ),
)
CALLS = Family(
    "lastdigits_calls_total",
    "Calls that the provider was asked for.",
    ("outcome", "reason"),
    (("placed", ""), *(("refused", reason.value) for reason in Refusal), ("unknown", "")),
)
SUSPENSIONS = Family(
    "lastdigits_destination_suspensions_total",
    "Countries and ranges of numbers that the fraud guard suspended.",
    ("scope",),
    tuple((scope.value,) for scope in model.Scope),
)
ALERTS = Family("lastdigits_spray_alerts_total", "Times that the spray alert was raised.", (), ((),))
PRICES = Family(
    "lastdigits_price_problems_total",
    "Prices of calls that can't be read, or are higher than EXPECTED_PRICE.",
    ("problem",),
    (("unreadable",), ("higher",)),
)
BREAKER_OPENED = Family(
    "lastdigits_breaker_opened_total",
    "Times that a worker's breaker opened: calls failed, or the provider refused our account.",
    ("reason",),
    tuple((reason,) for reason in (*(refusal.value for refusal in Refusal), "unknown")),
)
OBSERVER_ERRORS = Family("lastdigits_observer_errors_total", "Events that could not be logged or counted.", (), ((),))
COUNTERS = (OPERATIONS, CALLS, SUSPENSIONS, ALERTS, PRICES, BREAKER_OPENED, OBSERVER_ERRORS)
BREAKERS = Family(
    "lastdigits_breakers",
    "Workers by the state of their breaker; all are closed while the provider works.",
    ("state",),
    tuple((state.value,) for state in BreakerState),
)
"""A gauge that is the sum of what each worker says of itself."""

_CODE_LENGTHS = ("code_length",), tuple((str(digits),) for digits in range(MIN_DIGITS, MAX_DIGITS + 1))
MIN_ENTROPY = Family(
    "lastdigits_code_min_entropy",
    "Min-entropy, in bits, of the codes that the provider draws, as measured.",
    *_CODE_LENGTHS,
)
BIASED = Family(
    "lastdigits_code_biased", "1 where codes recur more often than uniformly distributed ones can.", *_CODE_LENGTHS
)
IMPOSSIBLE = Family(
    "lastdigits_codes_impossible", "1 where no code is safe enough, so that no one is called.", (), ((),)
)
GAUGES = (MIN_ENTROPY, BIASED, IMPOSSIBLE)
"""What a worker sets: the value that any of them set last counts, and there is none before the first."""

CALL_SECONDS = "lastdigits_call_duration_seconds"
_CALL_OUTCOMES: dict[type[CallOutcome], str] = {Placed: "placed", Refused: "refused", Unknown: "unknown"}
_SERIES: tuple[Series, ...] = tuple(
    (counter.name, *values) for counter in (*COUNTERS, BREAKERS) for values in counter.series
)
_GAUGES: tuple[Series, ...] = tuple((gauge.name, *values) for gauge in GAUGES for values in gauge.series)
_HISTOGRAM = len(BOUNDS) + 2
"""Numbers of one histogram: what fell into each bucket and above the last, and the sum."""

_SET = len(_SERIES) + len(_CALL_OUTCOMES) * _HISTOGRAM
"""Where gauges begin: for each, when it was set, and its value."""

REQUESTS = "lastdigits_http_requests_total"
UNLISTED: tuple[Series, ...] = tuple(("other", "other", f"{first}xx", "") for first in range(1, 6))
"""Series of HTTP requests whose own one is not known. A route that documents all its answers never comes here."""

MAX_REQUEST_SERIES = 400
"""Series of HTTP requests. The API knows its routes and hands them over; a worker's numbers have room for so many."""

_REQUESTS = _SET + 2 * len(_GAUGES)
"""Where HTTP requests begin."""

WIDTH = _REQUESTS + MAX_REQUEST_SERIES
"""How many numbers a worker keeps."""


class Metrics:
    """Counts the core's events, and returns what all workers have counted."""

    def __init__(self, version: str, tallies: Tallies | None = None, requests: Sequence[Series] = ()) -> None:
        """See the class.

        Args:
            version: of this software.
            tallies: the numbers of all workers; None where there is but one.
            requests: each route, method, status and problem's code that an HTTP request may have; the same in all workers.

        Raises:
            ValueError: there are more than `MAX_REQUEST_SERIES`.
        """
        self._version = version
        self._requests = {labels: _REQUESTS + place for place, labels in enumerate((*requests, *UNLISTED))}
        if len(self._requests) > MAX_REQUEST_SERIES:
            raise ValueError(f"{len(self._requests)} series of HTTP requests: raise MAX_REQUEST_SERIES")
        self._tallies, self._row = _claimed(tallies)
        place_of = {series: place for place, series in enumerate(_SERIES)}
        # Found once: an event then costs one look-up in a dict, by what it holds anyway.
        self._operations = {
            (operation, outcome, reason, test): place_of[
                OPERATIONS.name, operation, outcome_name(outcome), reason, said
            ]
            for operation, outcomes in OUTCOMES.items()
            for outcome in get_args(outcomes)
            for reason in _reasons(outcome)
            for test, said in ((False, "false"), (True, "true"))
        }
        self._suspensions = {scope: place_of[SUSPENSIONS.name, scope.value] for scope in model.Scope}
        self._alerts = place_of[ALERTS.name,]
        self._observer_errors = place_of[OBSERVER_ERRORS.name,]
        self._prices = {problem: place_of[PRICES.name, problem] for (problem,) in PRICES.series}
        self._calls = {values: place_of[CALLS.name, *values] for values in CALLS.series}
        self._breaker_opened = {reason: place_of[BREAKER_OPENED.name, reason] for (reason,) in BREAKER_OPENED.series}
        self._breakers = {state: place_of[BREAKERS.name, state.value] for state in BreakerState}
        self._set_breaker(BreakerState.CLOSED)
        self._seconds = {
            outcome: len(_SERIES) + nth * _HISTOGRAM for nth, outcome in enumerate(_CALL_OUTCOMES.values())
        }

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case OperationEnded(operation=operation, outcome=outcome, test=test):
                self._row[self._operations[operation, type(outcome), _reason(outcome), test]] += 1
                self._count_signs(outcome)
            case CallEnded():
                self._count_call(event)
            case BreakerChanged(state=state, reason=reason):
                self._set_breaker(state)
                if state is BreakerState.OPEN and reason:
                    self._row[self._breaker_opened[reason]] += 1
            case BiasMeasured(bias=bias, impossible=impossible):
                for digits, measured in bias.items():
                    self._set((MIN_ENTROPY.name, str(digits)), measured.min_entropy)
                    self._set((BIASED.name, str(digits)), measured.biased)
                self._set((IMPOSSIBLE.name,), impossible)

    def count_request(self, route: str, method: str, status: int, code: str) -> None:
        """Count an HTTP request: by its route's template, never its path, and its problem's code, if it has one."""
        place = self._requests.get((route, method, str(status), code))
        self._row[place or self._requests[UNLISTED[status // 100 - 1]]] += 1

    def count_observer_error(self) -> None:
        """Count an event that an observer failed on."""
        self._row[self._observer_errors] += 1

    def _count_signs(self, outcome: model.Outcome) -> None:
        """Signs of an attack: counted with the operation that first saw them."""
        if isinstance(outcome, model.DestinationSuspended) and outcome.just_now:
            self._row[self._suspensions[outcome.scope]] += 1
        elif isinstance(outcome, model.CodeIncorrect) and outcome.alert:
            self._row[self._alerts] += 1

    def _set_breaker(self, state: BreakerState) -> None:
        for each, place in self._breakers.items():
            self._row[place] = each is state

    def _set(self, gauge: Series, value: float) -> None:
        place = _SET + 2 * _GAUGES.index(gauge)
        self._row[place + 1] = value
        self._row[place] = time.time()

    def _count_call(self, event: CallEnded) -> None:
        outcome = _CALL_OUTCOMES[type(event.outcome)]
        reason = event.outcome.reason.value if isinstance(event.outcome, Refused) else ""
        self._row[self._calls[outcome, reason]] += 1
        self._count_price(event)
        first = self._seconds[outcome]
        self._row[first + bisect_left(BOUNDS, event.seconds)] += 1
        self._row[first + _HISTOGRAM - 1] += event.seconds

    def _count_price(self, event: CallEnded) -> None:
        if not isinstance(event.outcome, Placed):
            return
        if event.outcome.unreadable_price is not None:
            self._row[self._prices["unreadable"]] += 1
        elif event.outcome.price is not None and price_units(event.outcome.price) > event.expected:
            self._row[self._prices["higher"]] += 1

    def text(self, accept: str, more: Iterable[Metric] = ()) -> tuple[bytes, str]:
        """What all workers have counted, for Prometheus.

        Args:
            accept: the `Accept` of the request, which may ask for OpenMetrics.
            more: metrics that are not counted here: gauges of what the store knows.

        Returns:
            the text and its media type.
        """
        encode, media_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected([*self.collect(), *more]))
        return encode(registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Each metric with its samples."""
        rows = self._tallies.rows()
        sums = [sum(column) for column in zip(*rows, strict=True)]
        values = dict(zip(_SERIES, sums, strict=False))
        for counter in COUNTERS:
            family = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
            for series in counter.series:
                family.add_metric(series, values[counter.name, *series])
            yield family
        breakers = GaugeMetricFamily(BREAKERS.name, BREAKERS.help, labels=BREAKERS.labels)
        for series in BREAKERS.series:
            breakers.add_metric(series, values[BREAKERS.name, *series])
        yield breakers
        seconds = HistogramMetricFamily(CALL_SECONDS, "How long the provider took to answer.", labels=["outcome"])
        for outcome, first in self._seconds.items():
            *counts, total = sums[first : first + _HISTOGRAM]
            bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
            seconds.add_metric([outcome], list(zip(bounds, accumulate(counts), strict=True)), total)
        yield seconds
        requests = CounterMetricFamily(
            REQUESTS, "HTTP requests that were answered.", labels=("route", "method", "status", "code")
        )
        for labels, place in self._requests.items():
            requests.add_metric(labels, sums[place])
        yield requests
        yield from _gauges(rows)
        build = GaugeMetricFamily("lastdigits_build_info", "1; the label says which version runs.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        yield from Processes(self._tallies).collect()


class _Collected(Collector):
    """Metrics as a registry wants them."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _gauges(rows: list[list[float]]) -> Iterator[Metric]:
    for gauge in GAUGES:
        family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
        for series in gauge.series:
            place = _SET + 2 * _GAUGES.index((gauge.name, *series))
            when, value = max((row[place], row[place + 1]) for row in rows)
            if when:
                family.add_metric(series, value)
        yield family


def _claimed(tallies: Tallies | None) -> "tuple[Tallies, memoryview[float]]":
    """Where to count: in this worker's row, or for itself where there is none."""
    # Another width is another version's: its files were replaced while the service ran.
    if tallies and tallies.width == WIDTH and (row := tallies.claim()):
        return tallies, row
    if tallies:
        structlog.get_logger().warning(
            "metrics_not_shared", detail="this worker counts for itself: restart the service"
        )
    own = own_tallies(WIDTH)
    row = own.claim()
    if row is None:
        raise RuntimeError("a new row was taken")
    return own, row


def _reason(outcome: model.Outcome) -> str:
    if member := REASONS.get(type(outcome)):
        reason: str = getattr(outcome, member)
        return reason
    return REPEATED if isinstance(outcome, model.Approved) and outcome.approval.repeated else ""
