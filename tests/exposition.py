"""What `GET /metrics` reports, read by the library's own parser."""

import re

import httpx
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]
"""A name and labels; a label that is empty is none, as Prometheus has it."""

Samples = dict[Series, float]


def read(text: str) -> Samples:
    return {
        series(sample.name, **sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series(name: str, **labels: str) -> Series:
    return name, frozenset((label, value) for label, value in labels.items() if value)


def scrape(url: str) -> Samples:
    """All samples but the processes', by a connection of its own: whichever worker takes it answers."""
    answer = httpx.get(f"{url}/metrics", timeout=10)
    assert answer.status_code == 200, answer.text
    return {key: value for key, value in read(answer.text).items() if not key[0].startswith("process_")}


def growth(before: Samples, after: Samples) -> Samples:
    """What was counted in between, but for seconds, processes and HTTP requests: no test foresees these, and looking is a request itself."""
    counted = {key for key in after if key[0].endswith("_total") and not re.search("_seconds|process_|_http_", key[0])}
    return {key: after[key] - before[key] for key in counted if after[key] != before[key]}


def operation(operation: str, outcome: str, reason: str = "", *, test: bool = False) -> Series:
    labels = {"operation": operation, "outcome": outcome, "reason": reason, "test": "true" if test else "false"}
    return series("lastdigits_operations_total", **labels)


def call(outcome: str, reason: str = "") -> Series:
    return series("lastdigits_calls_total", outcome=outcome, reason=reason)
