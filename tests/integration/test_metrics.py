"""The metrics of a real service: after known operations the counts are exact."""

import subprocess

import httpx
import pytest

from tests.exposition import call, growth, operation, scrape
from tests.harness import Service, Simulator, fresh_phone, wrong
from tests.integration.conftest import FOUR


def test_what_was_done_is_counted_exactly_and_nothing_else(small: Service, simulator: Simulator) -> None:
    before = scrape(small.url)
    phone, refused = fresh_phone(), fresh_phone()
    headers = {"Idempotency-Key": f"metrics-{phone}"}
    for _ in range(2):
        verification = small.post("/verify/start", {"phone": phone}, headers=headers).json()["id"]
    assert small.start(phone).status_code == 429
    assert small.start("+7").status_code == 422
    simulator.behave(refused, answer="error", error_code="1")
    assert small.start(refused).status_code >= 400
    code = simulator.code(phone)
    assert small.check(verification, wrong(code)).status_code == 422
    for _ in range(2):
        token = small.check(verification, code).json()["token"]
    for _ in range(2):
        small.post("/verify/redeem", {"token": token})
    assert small.get(f"/verify/{verification}").status_code == 200
    assert small.post(f"/verify/{verification}/cancel").status_code == 409
    test = small.start(FOUR).json()["id"]
    assert small.check(test, "0000").status_code == 200
    assert small.check(verification, code, "limited").status_code == 404
    assert growth(before, scrape(small.url)) == {
        operation("start", "placed"): 1,
        operation("start", "replayed"): 1,
        operation("start", "limit_reached", "resend_cooldown"): 1,
        operation("start", "phone_rejected", "phone_invalid"): 1,
        operation("start", "call_refused", "other"): 1,
        operation("check", "code_incorrect"): 1,
        operation("check", "approved"): 1,
        operation("check", "approved", "repeated"): 1,
        operation("check", "not_found"): 1,
        operation("redeem", "redeemed"): 1,
        operation("redeem", "token_redeemed"): 1,
        operation("read", "found"): 1,
        operation("cancel", "already_used"): 1,
        operation("start", "placed", test=True): 1,
        operation("check", "approved", test=True): 1,
        call("placed"): 1,
        call("refused", "other"): 1,
    }


@pytest.mark.parametrize("version", ["text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"])
def test_no_cache_keeps_the_answer_and_openmetrics_comes_where_it_is_asked_for(small: Service, version: str) -> None:
    answer = httpx.get(f"{small.url}/metrics", headers={"Accept": version})
    assert answer.headers["content-type"].startswith(version)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "version", ["abc", "1.0.x", "2.0.x", "2.y", "", "1;escaping=none", "9" * 5000, "1" + ".1" * 5000]
)
@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
def test_a_version_that_there_is_not_is_answered_in_one_that_there_is(small: Service, kind: str, version: str) -> None:
    assert httpx.get(f"{small.url}/metrics", headers={"Accept": f"{kind}; version={version}"}).status_code == 200


@pytest.mark.promtool
def test_promtool_finds_nothing_wrong_with_them(small: Service) -> None:
    text = httpx.get(f"{small.url}/metrics").text
    command = ["promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
