"""A deployment under random faults, while people verify themselves; then an audit.

    python -m tests.faults.soak --seed 7 --faults 1000

The seed gives the same faults in the same order, with the same durations. Ends with 1 if the audit found anything, or something did not recover.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from redis.asyncio import Redis

from tests.exposition import scrape
from tests.faults.audit import Facts, findings
from tests.faults.deployment import CALL_DEADLINE, Deployment, deployed
from tests.faults.faults import FAULTS
from tests.faults.people import People
from tests.harness import PREFIX

MAX_RECOVERY = 90.0
"""Seconds after a fault until a verification must begin again: on a busy machine a worker that replaces a dead one starts in half a minute."""


@dataclass
class Seen:
    """What one kind of fault did."""

    times: int = 0
    recoveries: list[float] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)


AS_ALWAYS = {"", "code_incorrect", "attempts_exhausted", "token_redeemed", "limit_reached"}
"""What people are answered without any fault: some type wrong codes, redeem twice, or use the client that has few calls."""


def plan(seed: int, count: int) -> list[list[tuple[str, int]]]:
    """Faults by name, each with a seed of its own; every kind comes once before any comes again.

    A fault of the store and one of something else that follow each other come at the same time, half of the times.
    """
    rng = random.Random(seed)
    names: list[str] = []
    while len(names) < count:
        names += rng.sample(list(FAULTS), len(FAULTS))
    steps: list[list[tuple[str, int]]] = []
    for name in names[:count]:
        fault = (name, rng.getrandbits(32))
        alone = len(steps[-1]) == 1 if steps else False
        if alone and name.startswith("store") != steps[-1][0][0].startswith("store") and rng.random() < 0.5:
            steps[-1].append(fault)
        else:
            steps.append([fault])
    return steps


async def run(directory: Path, seed: int, count: int, only: str, minutes: float) -> tuple[dict[str, Seen], list[str]]:
    """Inject faults one after another; what each did, and what the audit found."""
    seen: dict[str, Seen] = defaultdict(Seen)
    found: list[str] = []
    async with deployed(directory) as deployment:
        people = People(deployment, seed)
        deadline = time.monotonic() + minutes * 60
        running = asyncio.create_task(people.run())
        await _recovered(people)
        for step in plan(seed, count):
            chosen = [fault for fault in step if only in fault[0]]
            if time.monotonic() > deadline or found:
                break
            if chosen:
                found += await _inject(deployment, people, chosen, seen)
                done = sum(of.times for of in seen.values())
                print(f"{done}/{count} {' + '.join(name for name, _ in chosen)}", file=sys.stderr, flush=True)
        people.stopped = True
        await asyncio.wait_for(running, 60)
        found += findings(people.everyone, await facts_of(deployment, people))
        answered = f"{len(people.everyone)} people, {len(people.answers)} answers, {deployment.kills} workers killed"
        print(answered, file=sys.stderr)
        log = deployment.service.log.read_text("utf-8")
        found += [line for line in log.splitlines() if '"internal_error"' in line or "Traceback" in line]
    return seen, found


async def _inject(
    deployment: Deployment, people: People, faults: list[tuple[str, int]], seen: dict[str, Seen]
) -> list[str]:
    """Inject faults at the same time, and wait for the recovery; what is wrong if there is none."""
    clock = asyncio.get_running_loop().time
    before = clock()
    await asyncio.gather(*(FAULTS[name].inject(deployment, random.Random(seed)) for name, seed in faults))
    ended = clock()
    try:
        recovered = await _recovered(people)
    except TimeoutError:
        return [f"{faults}: no verification began for {MAX_RECOVERY:.0f} s"]
    answered = Counter(answer.code for answer in people.answers if answer.ended > before and answer.kind != "stray")
    for name, _ in faults:
        seen[name].times += 1
        seen[name].recoveries.append(recovered - ended)
        seen[name].answered += answered
    return []


async def _recovered(people: People) -> float:
    """When a verification began that was requested from now on."""
    clock = asyncio.get_running_loop().time
    now = clock()
    async with asyncio.timeout(MAX_RECOVERY):
        while True:
            for answer in reversed(people.answers):
                if answer.ended < now:
                    break
                if answer.began >= now and answer.kind == "start" and answer.status == 201:
                    return answer.ended
            await asyncio.sleep(0.01)


# ---- what is known afterwards


async def facts_of(deployment: Deployment, people: People) -> Facts:
    """Wait until whatever was under way must have ended, and look."""
    await asyncio.sleep(CALL_DEADLINE)
    called = {
        person.phone: await asyncio.to_thread(deployment.simulator.count, person.phone) for person in people.everyone
    }
    counted: Counter[str] = Counter()
    spent = 0.0
    for (name, labels), value in (await asyncio.to_thread(scrape, deployment.service.url)).items():
        of = dict(labels)
        if name == "lastdigits_http_requests_total" and of.get("code"):
            counted[of["code"]] += int(value)
        if name == "lastdigits_spend" and of["cap"] == "all" and of["window"] == "hour":
            spent += value
    keys: dict[str, int] = {}
    records: dict[str, dict[str, str]] = {}
    redis: Any = Redis.from_url(deployment.server.url, decode_responses=True)
    async with redis as client:
        for name in await client.keys(f"{PREFIX}*"):
            if (left := await client.pttl(name)) != -2:  # it has just expired
                keys[name] = left
            if await client.type(name) == "hash":
                records[name] = await client.hgetall(name)
        seconds, micros = await client.time()
    now = seconds * 1000 + micros // 1000
    return Facts(called, now, keys, records, spent, counted, deployment.era, deployment.kills)


# ---- the table


def table(seen: dict[str, Seen]) -> str:
    """As docs/reliability.md has it."""
    rows = [
        "| fault | injected by | times | what callers saw | again after: median, longest |",
        "|---|---|---|---|---|",
    ]
    for name in sorted(seen, key=list(FAULTS).index):
        of = seen[name]
        refused = ", ".join(f"`{code}` {n}" for code, n in of.answered.most_common() if code not in AS_ALWAYS)
        rows.append(
            f"| {name} | {FAULTS[name].how} | {of.times} | {refused or 'nothing'} | {median(of.recoveries):.1f} s, {max(of.recoveries):.1f} s |"
        )
    return "\n".join(rows)


def main() -> int:
    """Run, print the table and what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60, help="inject no more after so many minutes, and audit")
    parser.add_argument("--only", default="", help="part of the names of faults: leave out all others")
    parser.add_argument("--keep", type=Path, help="a directory for the logs, which stays; else a temporary one")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.faults} faults", flush=True)
    with nullcontext(given.keep) if given.keep else tempfile.TemporaryDirectory(prefix="soak-") as directory:
        seen, found = asyncio.run(run(Path(directory), given.seed, given.faults, given.only, given.minutes))
    print(table(seen))
    for finding in found:
        print(f"FOUND: {finding}")
    print(json.dumps({"seed": given.seed, "faults": sum(of.times for of in seen.values()), "found": len(found)}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
