"""The attack that anybody may aim at their own deployment, aimed at one: what it prints is what happened, and a broken promise is told."""

import subprocess
import sys
from pathlib import Path

from tests.attacks.own_deployment import Report, told
from tests.harness import ROOT, Simulator, serving


def test_what_it_reaches_stays_under_what_is_promised(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    with serving(tmp_path, simulator.send_url, RESEND_COOLDOWNS="5", FRAUD_MIN_CONVERSION="0.2") as service:
        before = service.get("/policy").json()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.attacks.own_deployment", "--url", service.url, "--phone", phone),
                *("--key", service.keys["backend"], "--key", service.keys["other"], "--seconds", "8"),
                *("--range", "+7958200", "--calls", "80"),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        reached = {
            line[:22].strip(): line[22:].split()[0] for line in done.stdout.splitlines()[1:6] if line[22:].strip()
        }
        assert int(reached["calls to the phone"]) == simulator.count(phone) > 0, "its calls are those that rang"
        assert int(reached["calls to the range"]) == 50
        assert 0 < float(reached["chance of a takeover"]) <= before["bounds"]["takeover_per_phone_and_day"]
        assert "destination_suspended 30" in done.stdout


def test_a_broken_promise_is_told() -> None:
    policy = {
        "bounds": {"takeover_per_phone_and_day": 0.001, "calls_per_phone_and_hour": 5, "calls_per_phone_and_day": 10},
        "expected_price": "0.35",
        "spend_per_day": "1000",
        "guard": None,
    }
    assert told(Report(calls=3, chance=0.0009), policy)[1]
    for broken in (Report(chance=0.0011), Report(calls=11), Report(taken_over=1), Report(calls=1, pumped=2858)):
        table, held = told(broken, policy)
        assert not held
        assert "BROKEN" in table
