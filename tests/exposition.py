"""What `GET /metrics` reports, read by the library's own parser."""

from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Values by name and labels; a label that is empty is none, as Prometheus has it."""


def read(text: str) -> Samples:
    return {
        series(sample.name, **sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset((label, value) for label, value in labels.items() if value)


def scrape(url: str) -> Samples:
    """All samples but the processes', by a connection of its own: whichever worker takes it answers."""
    answer = httpx.get(f"{url}/metrics", timeout=10)
    assert answer.status_code == 200, answer.text
    return {key: value for key, value in read(answer.text).items() if not key[0].startswith("process_")}


def growth(before: Mapping[tuple[str, frozenset[tuple[str, str]]], float], after: Samples) -> Samples:
    """What was counted in between, but for seconds, processes and HTTP requests: no test foresees these, and looking is a request itself."""
    left_out = ("_seconds", "process_", "_http_requests_")
    counted = {
        key: value
        for key, value in after.items()
        if key[0].endswith("_total") and not any(part in key[0] for part in left_out)
    }
    return {key: value - before[key] for key, value in counted.items() if value != before[key]}


def operation(
    operation: str, outcome: str, reason: str = "", *, test: bool = False
) -> tuple[str, frozenset[tuple[str, str]]]:
    labels = {"operation": operation, "outcome": outcome, "reason": reason, "test": "true" if test else "false"}
    return series("lastdigits_operations_total", **labels)


def call(outcome: str, reason: str = "") -> tuple[str, frozenset[tuple[str, str]]]:
    return series("lastdigits_calls_total", outcome=outcome, reason=reason)
