"""Every route of a running service, fuzzed for as long as you like by its own OpenAPI document (schemathesis): `make fuzz`.

python -m tests.fuzz.routes --seconds 120 --seed 1

One half of the time goes by the document as it is: examples, coverage of the schema, fuzzing. The other half is stateful: ids and tokens of answers go into
further requests, phones can be called, and every code is 0000. It ends with 1 for a 500, an answer that the document does not name, or a worker that ends
or grows.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from app.telemetry.metrics import REQUESTS
from tests.exposition import scrape
from tests.harness import Service, serving, simulating

CHECKS = '[checks]\nnegative_data_rejection.expected-statuses = ["400", "401", "403", "404", "409", "413", "415", "422", "429"]\n'
MAX_GROWTH = 40.0
"""MiB that a worker may grow by from the first half of the run to its end: a leak of a kilobyte for each request would be more."""


ID = {"id": "$response.body#/id"}
LINKS: dict[tuple[str, str], dict[str, Any]] = {
    ("startVerification", "201"): {
        "check": {"operationId": "checkVerification", "requestBody": ID},
        "resend": {"operationId": "resendVerification", "requestBody": ID},
        "read": {"operationId": "readVerification", "parameters": {"verification_id": ID["id"]}},
        "cancel": {"operationId": "cancelVerification", "parameters": {"verification_id": ID["id"]}},
    },
    ("checkVerification", "200"): {
        "redeem": {"operationId": "redeemToken", "requestBody": {"token": "$response.body#/token"}},
    },
}
"""What may follow on an answer."""

FIELDS = {
    ("StartRequest", "phone"): {"type": "string", "pattern": r"^\+7916[0-9]{7}$"},
    ("CheckRequest", "code"): {"type": "string", "enum": ["0000", "0001", "+79160000000"]},
}
"""Fields for which no schema says what leads anywhere."""


def linked(document: dict[str, Any]) -> dict[str, Any]:
    """The document, for stateful runs."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if links := LINKS.get((operation["operationId"], status)):
                    answer["links"] = links
    for (model, field), schema in FIELDS.items():
        document["components"]["schemas"][model]["properties"][field] = schema
    return document


def run_schemathesis(
    service: Service, directory: Path, seconds: int, seed: int, *, stateful: bool
) -> subprocess.CompletedProcess[str]:
    """Fuzz with a backend's key, so that all routes are reached."""
    (directory / "schemathesis.toml").write_text(CHECKS, "utf-8")
    document, file = service.http.get("/openapi.json").json(), directory / "openapi.json"
    file.write_text(json.dumps(linked(document) if stateful else document), "utf-8")
    command = [
        *(str(Path(sys.executable).parent / "st"), "run", str(file), "--url", service.url),
        *(("--phases", "stateful") if stateful else ()),
        *("--header", f"Authorization: {service.headers()['Authorization']}"),
        *("--max-time", str(seconds), "--seed", str(seed), "--no-color"),
        # It takes each schema-valid body for one that must be accepted; whether digits are a phone number no schema says.
        *("--exclude-checks", "positive_data_acceptance"),
    ]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def statuses(service: Service) -> Counter[str]:
    """Requests by status and code."""
    found: Counter[str] = Counter()
    for (name, labels), value in scrape(service.url).items():
        if name == REQUESTS:
            of = dict(labels)
            found[f"{of['status']} {of.get('code', '')}".strip()] += int(value)
    return +found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    given = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as name, simulating(Path(name, "simulator")) as simulator:
        directory = Path(name)
        with serving(directory / "service", simulator.send_url, WORKERS="1") as service:
            simulator.http.put("/behaviour", json={"digits": "000000"})
            sizes = [service.memory()]
            for half in range(2):
                done = run_schemathesis(service, directory, given.seconds // 2, given.seed, stateful=half == 1)
                failed += [done.stdout[-8000:] + done.stderr[-2000:]] if done.returncode else []
                sizes.append(service.memory())
            seen = statuses(service)
    wrong = [status for status in seen if status.startswith("500") or status.endswith("xx")]
    print(f"seed {given.seed}: {seen.total()} requests in {given.seconds} s: {dict(seen.most_common())}")
    print(f"memory: {sizes[0]:.1f} MiB before, {sizes[1]:.1f} after a half, {sizes[2]:.1f} after all")
    print("\n".join(failed))
    sys.exit(bool(failed or wrong or sizes[2] - sizes[1] > MAX_GROWTH))


if __name__ == "__main__":
    main()
