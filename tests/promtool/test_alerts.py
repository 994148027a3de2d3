"""The shipped alerts, judged by Prometheus's own tool: each fires within two minutes of its cause, and none without one."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT

RULES = ROOT / "deploy" / "prometheus-rules.yml"
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text("utf-8"))
FLAT, GROWING, BROKEN_FLAG, RAISED = "0+0x80", "0+5x80", "1+0x3 0+0x76", "0+0x3 1+0x76"
ONCE, OFTEN = "0+0x4 1+0x75", "0+0x4 1+1x75"
"""Samples, 15 seconds apart. What breaks breaks at 1 minute."""


def _counted(name: str, samples: str, **labels: str) -> dict[str, str]:
    pairs = ",".join(f'{label}="{value}"' for label, value in {"job": "lastdigits", "instance": "a", **labels}.items())
    return {"series": f"lastdigits_{name}{{{pairs}}}", "values": samples}


def _ended(operation: str, outcome: str, samples: str, reason: str = "") -> dict[str, str]:
    labels = {"operation": operation, "outcome": outcome, "reason": reason, "test": "false"}
    return _counted("operations_total", samples, **labels)


def _called(outcome: str, samples: str, reason: str = "") -> dict[str, str]:
    return _counted("calls_total", samples, outcome=outcome, reason=reason)


def _answered(code: str, status: int, samples: str) -> dict[str, str]:
    return _counted("http_requests_total", samples, route="/verify/start", status=str(status), code=code)


CAP = {"cap": "all", "window": "hour", "lane": "all"}
PUBLIC_CAP = CAP | {"lane": "public"}
# A table, a cause with its samples and its alerts.
# fmt: off
CASES: dict[str, tuple[list[dict[str, str]], set[str]]] = {
    "all is well": ([
        {"series": 'up{job="lastdigits"}', "values": "1+0x80"},
        *(_counted(name, "1+0x80") for name in ("ready", "store_up")), _counted("last_reload_successful", "1+0x80", file="clients"),
        *(_counted(name, FLAT) for name in ("sandbox", "codes_impossible", "spray_alert", "observer_errors_total")),
        _counted("store_problem", FLAT, problem="eviction"),
        _called("placed", GROWING), _called("unknown", ONCE),
        _called("refused", "0+1x80", "not_a_number"), _called("refused", FLAT, "credentials"), _called("refused", ONCE, "other"),
        _ended("start", "placed", GROWING), _ended("start", "call_unknown", ONCE), _ended("check", "approved", "0+4x80"),
        _ended("start", "limit_reached", GROWING, "calls_per_ip"),
        _counted("spend", "70+0x80", **CAP), _counted("spend_cap", "100+0x80", **CAP),
        _answered("", 201, GROWING), _answered("key_unknown", 401, ONCE), _answered("not_ready", 503, ONCE), _answered("overloaded", 503, ONCE),
        _counted("code_biased", FLAT, code_length="4"),
        _counted("suspended_destinations", FLAT, lane="public"),
        _counted("breakers", "2+0x80", state="closed"), _counted("breakers", FLAT, state="open"), _counted("breakers", FLAT, state="half_open"),
    ], set()),
    "the process is gone": ([{"series": 'up{job="lastdigits",instance="a"}', "values": BROKEN_FLAG}], {"LastdigitsDown"}),
    "Redis is gone": (
        [_counted("store_up", BROKEN_FLAG), _counted("ready", BROKEN_FLAG), _counted("store_problem", RAISED, problem="no_answer"),
         _answered("store_unavailable", 503, ONCE)],
        {"LastdigitsStoreDown", "LastdigitsNotReady", "LastdigitsStoreFailsRequests"}),
    "Redis drops counters": (
        [_counted("store_problem", RAISED, problem="eviction"), _counted("ready", BROKEN_FLAG)], {"LastdigitsStoreUnsafe", "LastdigitsNotReady"}),
    "workers die": (
        [{"series": 'process_start_time_seconds{job="lastdigits",instance="a",worker="0"}', "values": "1+0x3 2+20x75"}], {"LastdigitsWorkersDie"}),
    "a sandbox by mistake": ([_counted("sandbox", RAISED)], {"LastdigitsSandbox"}),
    "a wrong key": ([_called("refused", ONCE, "credentials")], {"LastdigitsProviderRefusesKey"}),
    "no balance": ([_called("refused", ONCE, "balance")], {"LastdigitsBalanceSpent"}),
    "no free connection": ([_called("refused", ONCE, "busy")], {"LastdigitsProviderMisused"}),
    "the provider is out of reach": ([_called("placed", GROWING), _called("refused", OFTEN, "unreachable")], {"LastdigitsProviderFails"}),
    "a breaker opens": (
        [_counted("breakers", "2+0x3 1+0x76", state="closed"), _counted("breakers", RAISED, state="open")], {"LastdigitsBreakerOpen"}),
    "more starts than there is room for": ([_answered("overloaded", 503, OFTEN)], {"LastdigitsOverloaded", "LastdigitsServerErrors"}),
    "outcomes are unknown": (
        [_ended("start", "placed", GROWING), _ended("start", "call_unknown", OFTEN), _ended("check", "approved", ONCE)], {"LastdigitsCallsUnknown"}),
    "the provider is slow": (
        [*(_counted("call_duration_seconds_bucket", samples, outcome="placed", le=bound)
           for bound, samples in (("5.0", FLAT), ("7.5", GROWING), ("+Inf", GROWING))),
         _counted("call_duration_seconds_count", GROWING, outcome="placed")],
        {"LastdigitsProviderSlow"}),
    "a cap is reached": (
        [_ended("start", "spend_cap_reached", ONCE, "all"), _counted("spend", "0+0x3 99.9+0x76", **CAP), _counted("spend_cap", "100+0x80", **CAP)],
        {"LastdigitsSpendCap", "LastdigitsSpendCapNear"}),
    "strangers have used most of their share": (
        [_counted("spend", "0+0x3 41+0x76", **CAP), _counted("spend_cap", "100+0x80", **CAP),
         _counted("spend", "0+0x3 41+0x76", **PUBLIC_CAP), _counted("spend_cap", "50+0x80", **PUBLIC_CAP)],
        {"LastdigitsSpendCapNear"}),
    "too many calls": ([_ended("start", "limit_reached", ONCE, "calls_total")], {"LastdigitsCallsLimit"}),
    "a price is no number": ([_counted("price_problems_total", ONCE, problem="unreadable")], {"LastdigitsPriceUnreadable"}),
    "a price is higher": ([_counted("price_problems_total", ONCE, problem="higher")], {"LastdigitsPriceHigher"}),
    "keys are refused": ([_answered("key_unknown", 401, OFTEN)], {"LastdigitsClientsTurnedAway"}),
    "an origin is refused": ([_answered("origin_not_allowed", 403, OFTEN)], {"LastdigitsClientsTurnedAway"}),
    "a file is refused": ([_counted("last_reload_successful", BROKEN_FLAG, file="clients")], {"LastdigitsFileRefused"}),
    "requests fail on our side": ([_answered("", 201, GROWING), _answered("call_not_placed", 503, OFTEN)], {"LastdigitsServerErrors"}),
    "a defect": ([_answered("internal_error", 500, ONCE)], {"LastdigitsInternalError"}),
    "no captcha service": ([_ended("start", "challenge_unavailable", ONCE)], {"LastdigitsChallengeUnavailable"}),
    "calls do not ring": ([_ended("start", "placed", GROWING), _ended("check", "approved", FLAT)], {"LastdigitsNoApprovals"}),
    "few are approved": ([_ended("start", "placed", "0+15x80"), _ended("check", "approved", "0+1x80")], {"LastdigitsFewApprovals"}),
    "codes are sprayed": ([_counted("spray_alert", RAISED)], {"LastdigitsSpray"}),
    "a range is suspended": ([_counted("suspended_destinations", RAISED, lane="public")], {"LastdigitsDestinationSuspended"}),
    "no code is safe": (
        [_counted("codes_impossible", RAISED), _counted("code_biased", RAISED, code_length="4")],
        {"LastdigitsCodesPredictable", "LastdigitsCodesBiased"}),
    "the log is full": ([_counted("observer_errors_total", ONCE)], {"LastdigitsObserverErrors"}),
}
# fmt: on


def _unit_test(name: str, series: list[dict[str, str]], alerts: set[str]) -> dict[str, Any]:
    fires = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)]
    expression = 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0'
    quiet = {"expr": expression, "eval_time": "45s", "exp_samples": []}
    checks = [quiet, {"expr": expression, "eval_time": "3m", "exp_samples": fires}]
    return {"name": name, "interval": "15s", "input_series": series, "promql_expr_test": checks}


@pytest.mark.promtool
def test_each_alert_fires_within_two_minutes_of_its_cause_and_of_no_other(tmp_path: Path) -> None:
    groups = [_unit_test(name, series, alerts) for name, (series, alerts) in CASES.items()]
    test = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": groups}
    (tmp_path / "test.yml").write_text(json.dumps(test), "utf-8")  # JSON is YAML
    command = ["promtool", "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case() -> None:
    assert set().union(*(alerts for _, alerts in CASES.values())) == set(ALERTS)


def test_no_alert_waits_longer_than_a_minute() -> None:
    waits = re.findall(r"for: (\w+)", RULES.read_text("utf-8"))
    assert waits
    assert set(waits) <= {"30s", "1m"}


def test_every_label_that_an_alert_writes_is_one_of_what_it_finds() -> None:
    for alert, rule in re.findall(r"- alert: (\w+)\n(.*?)(?=\n\s+- alert|\Z)", RULES.read_text("utf-8"), re.DOTALL):
        samples = json.dumps([series for series, alerts in CASES.values() if alert in alerts]).replace('\\"', '"')
        grouped = [set(re.split(r"\W+", labels)) for labels in re.findall(r"\bby ?\(([^)]*)\)", rule)]
        for label in re.findall(r"\$labels\.(\w+)", rule):
            assert f'{label}="' in samples, (alert, label)
            assert all(label in labels for labels in grouped), (alert, label)
