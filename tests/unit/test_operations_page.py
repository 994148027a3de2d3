"""docs/operations.md is complete and true: each log event, metric, alert and readiness problem that there is has its row, and no row is of another."""

import re
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from app.api import backend, operations, policy, verify
from app.api.middleware import request_series
from app.store.health import StoreProblem
from app.telemetry.gauges import Gauges, Seen
from app.telemetry.metrics import OUTCOMES, Metrics
from app.verification.client import Client
from app.verification.limits import Rate
from app.verification.ports import BiasMeasured, CodeBias, GuardStatus, Usage
from tests.contract.conftest import POLICY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
RULES = (ROOT / "deploy" / "prometheus-rules.yml").read_text("utf-8")


def _section(title: str) -> str:
    """A part of the page, from its title to the next one."""
    return re.split(r"^#+ ", PAGE.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def _rows(title: str) -> list[list[str]]:
    """The cells of a part's table."""
    lines = [line for line in _section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


def _named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# ---- logs

ELSEWHERE = {
    # An argument that is no literal, and the events that it may be.
    ("telemetry/observers.py", "event.operation"): set(OUTCOMES),
    ("telemetry/logging.py", "event"): {"refused", "store_unavailable", "internal_error"},
    ("reloading.py", "event"): {"clients_not_reloaded", "signing_keys_not_reloaded"},
    ("api/auth.py", "event"): {"forwarding_ignored", "forwarding_missing"},
}


_LOG_CALL = re.compile(
    r"(?:(?:\blog|_log|get_logger\(\))\.(?:debug|info|warning|error|critical|exception)|getattr\([\w.]*log, [^()]+\))"
    r'\(\s*(?:"(\w+)"|([\w.]+))'
)
"""Calls like `log.info("…"`, `structlog.get_logger().info(event` and `getattr(log, level)("…"`."""


def _events() -> set[str]:
    found: set[str] = set()
    for file in (ROOT / "app").rglob("*.py"):
        name = file.relative_to(ROOT / "app").as_posix()
        for literal, other in _LOG_CALL.findall(file.read_text("utf-8")):
            found |= {literal} if literal else ELSEWHERE[name, other]
    return found


def test_the_table_of_logs_names_each_event_and_no_other() -> None:
    events = [event for row in _rows("Logs") for event in _named(row[0])]
    assert len(events) == len(set(events))
    assert set(events) == _events()


# ---- metrics


def _status() -> GuardStatus:
    """A status with a figure for each limit of `POLICY` and `CLIENT`."""
    limits = {"calls_total": POLICY.calls_total, "spend": POLICY.spending.caps}
    limits |= {f"spend_client:{CLIENT.id}": CLIENT.spend, f"calls_per_client:{CLIENT.id}": CLIENT.calls}
    used = {f"{name}/{rate.seconds}": Usage(1, 2, 1000) for name, rates in limits.items() for rate in rates}
    return GuardStatus((), None, used)


CLIENT = Client("shop", "shop", calls=(Rate(5, 3600),), spend=(Rate(50_000, 86400),))


@pytest.fixture
async def families() -> list[Metric]:
    """Every metric that a service shows."""
    routers = (verify.router, backend.router, policy.router, operations.router)
    metrics = Metrics("1", requests=request_series([route for router in routers for route in router.routes]))
    bias = {digits: CodeBias(digits, 0, 0.0001, False, 13.0, 0.0, 0.0) for digits in (4, 5, 6)}
    metrics(BiasMeasured(bias, worse=False, impossible=False))
    metrics.set_reloaded("clients", successful=True)

    async def look() -> Seen:
        return Seen(True, {problem.value: False for problem in StoreProblem}, _status(), (CLIENT,))

    return [*metrics.collect(), *await Gauges(look, Seen(False, {}), POLICY, sandbox=False).collect()]


def test_the_table_of_metrics_names_each_with_its_type_and_labels(families: list[Metric]) -> None:
    written = {_named(row[0])[0]: (row[1], set(_named(row[2]))) for row in _rows("Metrics")}
    there = {}
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        there[name] = (family.type, set(family.samples[0].labels) - {"le"})
    assert written == there


def test_names_keep_to_prometheus_conventions(families: list[Metric]) -> None:
    for family in families:
        assert re.fullmatch(r"(lastdigits|process)_[a-z_]+", family.name)
        assert family.documentation.endswith(".")


# ---- alerts


def test_every_metric_label_and_value_that_an_alert_names_is_there(families: list[Metric]) -> None:
    values: dict[str, dict[str, set[str]]] = {}
    for sample in (sample for family in families for sample in family.samples):
        for label, value in sample.labels.items():
            values.setdefault(sample.name, {}).setdefault(label, set()).add(value)
        values.setdefault(sample.name, {})
    expressions = "\n".join(
        line for line in RULES.splitlines() if not line.lstrip().startswith(("#", "-", "summary", "desc"))
    )
    selectors = re.findall(r"((?:lastdigits|process)_\w+)(?:\{([^}]*)\})?", expressions)
    assert len(selectors) > len(ALERTS)
    for name, matchers in selectors:
        assert name in values, name
        for label, operator, wanted in re.findall(r'(\w+)(!?=~?)"([^"]*)"', matchers):
            known = values[name].get(label, {"lastdigits"} if label == "job" else set())
            # Each alternative of a pattern must match something.
            for alternative in wanted.split("|") if "~" in operator else [re.escape(wanted)]:
                assert any(re.fullmatch(alternative, value) for value in known), (name, label, wanted)


ALERTS = dict(re.findall(r"- alert: (\w+)\n.*?severity: (\w+)", RULES, re.DOTALL))


def test_the_table_of_alerts_names_each_with_its_severity_and_no_other() -> None:
    written = {_named(row[0])[0]: row[1].strip("*") for row in _rows("Alerts")}
    assert written == ALERTS


def test_each_alert_says_what_happened_and_what_to_do() -> None:
    for alert in re.split(r"- alert: ", RULES)[1:]:
        assert re.search(r'summary: ".+\."\n\s+description: ".+\."', alert), alert


# ---- readiness


def test_the_table_of_readiness_problems_names_each_and_no_other() -> None:
    assert [_named(row[0])[0] for row in _rows("Readiness problems")] == [problem.value for problem in StoreProblem]
