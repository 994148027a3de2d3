"""Attacks a deployment of your own, and prints what was reached beside what was promised: `python -m tests.attacks.own_deployment --help`.

    python -m tests.attacks.own_deployment --url https://verify.example --key sk_… --phone +79991234567 --seconds 600

It guesses at one phone, which must be yours and will ring: many verifications, from many addresses, of all code lengths, resent, with guesses
in parallel. With `--range` it also has numbers of one range called that nobody confirms, as toll fraud does: these are other
people's numbers, so give it only against a sandbox or a simulator. A right guess, or a sum above its bound, ends it with status 1.
"""

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

_AT_ONCE = 8
"""Guesses at one verification in parallel: more than any policy's attempts would need a reason."""

_PAUSE = 0.2
"""Seconds between rounds: an attack, not a flood."""


@dataclass
class Report:
    """What was reached."""

    calls: int = 0
    guesses: dict[int, int] = field(default_factory=dict)
    chance: float = 0.0
    taken_over: int = 0
    denials: dict[str, int] = field(default_factory=dict)
    pumped: int = 0
    pumped_denied: int = 0

    def deny(self, answer: httpx.Response) -> None:
        """Count a refusal under its limit, or its code."""
        problem = answer.json()
        name = problem.get("limit") or problem.get("code") or str(answer.status_code)
        self.denials[name] = self.denials.get(name, 0) + 1


class Attack:
    """One attack on one phone."""

    def __init__(self, http: httpx.AsyncClient, keys: list[str], phone: str, policy: dict[str, Any]) -> None:
        self._http = http
        self._keys = keys
        self._phone = phone
        self._chances = {step["code_length"]: step["chance"] for step in policy["bounds"]["code_lengths"]}
        self._random = random.Random()
        self.report = Report()

    async def _post(self, path: str, key: str, **body: Any) -> httpx.Response:
        return await self._http.post(path, json=body, headers={"Authorization": f"Bearer {key}"})

    def _address(self) -> str:
        return f"2001:db8:{self._random.randrange(65536):x}:{self._random.randrange(65536):x}::1"

    async def guess_until(self, deadline: float) -> None:
        """Start, guess, resend, guess again, for as long as there is time."""
        while time.monotonic() < deadline:
            key = self._random.choice(self._keys)
            body: dict[str, Any] = {"phone": self._phone, "client_ip": self._address()}
            if self._random.random() < 0.5:
                body["code_length"] = self._random.choice([4, 5, 6])
            started = await self._post("/verify/start", key, **body)
            if started.status_code == 201:
                self.report.calls += 1
                await self._exhaust(key, started.json())
            else:
                self.report.deny(started)
            await asyncio.sleep(_PAUSE)

    async def _exhaust(self, key: str, verification: dict[str, Any]) -> None:
        identity, length = verification["id"], verification["code_length"]
        resent = await self._post("/verify/resend", key, id=identity, client_ip=self._address())
        codes = 1
        if resent.status_code == 200:
            self.report.calls += 1
            codes = 2
        else:
            self.report.deny(resent)
        guesses = [f"{self._random.randrange(10**length):0{length}d}" for _ in range(_AT_ONCE)]
        answers = await asyncio.gather(
            *(self._post("/verify/check", key, id=identity, code=code, client_ip=self._address()) for code in guesses)
        )
        for answer in answers:
            if answer.status_code == 200:
                self.report.taken_over += 1
            elif answer.json()["code"] == "code_incorrect":
                self.report.guesses[length] = self.report.guesses.get(length, 0) + 1
                self.report.chance += codes * self._chances.get(length, 10.0**-length)
            else:
                self.report.deny(answer)

    async def pump(self, first: str, calls: int) -> None:
        """Have numbers of one range called."""
        for number in range(calls):
            key = self._random.choice(self._keys)
            body = {"phone": f"{first}{number:04d}", "client_ip": self._address()}
            started = await self._post("/verify/start", key, **body)
            if started.status_code == 201:
                self.report.pumped += 1
            else:
                self.report.pumped_denied += 1
                self.report.deny(started)


def told(report: Report, policy: dict[str, Any]) -> tuple[str, bool]:
    """The table, and whether all promises held."""
    bounds, price = policy["bounds"], Decimal(policy["expected_price"])
    money = price * (report.calls + report.pumped)
    rows: list[tuple[str, object, object, bool]] = [
        (
            "chance of a takeover",
            f"{report.chance:.6f}",
            f"{bounds['takeover_per_phone_and_day']:.6f} a day",
            report.chance <= bounds["takeover_per_phone_and_day"],
        ),
        ("right guesses", report.taken_over, 0, report.taken_over == 0),
        (
            "calls to the phone",
            report.calls,
            f"{bounds['calls_per_phone_and_hour']} an hour, {bounds['calls_per_phone_and_day']} a day",
            report.calls <= bounds["calls_per_phone_and_day"],
        ),
        ("money", money, f"{policy['spend_per_day']} a day", money <= Decimal(policy["spend_per_day"])),
    ]
    if report.pumped + report.pumped_denied:
        floor = policy["guard"]["calls_per_range"] if policy["guard"] else None
        held = floor is None or report.pumped <= floor
        rows.append(("calls to the range", report.pumped, f"{floor or 'no bound'} an hour", held))
    lines = [f"{'':<22}{'reached':>12}  promised"]
    lines += [
        f"{name:<22}{reached!s:>12}  {promise}{'' if held else '   BROKEN'}" for name, reached, promise, held in rows
    ]
    lines += [
        "",
        "guesses compared, by digits: " + (str(dict(sorted(report.guesses.items()))) if report.guesses else "none"),
    ]
    lines += ["denied: " + ", ".join(f"{name} {count}" for name, count in sorted(report.denials.items()))]
    return "\n".join(lines), all(held for *_, held in rows)


async def _run(asked: argparse.Namespace) -> int:
    limits = httpx.Limits(max_connections=_AT_ONCE * 2)
    async with httpx.AsyncClient(base_url=asked.url, timeout=30, limits=limits) as http:
        answer = await http.get("/policy", headers={"Authorization": f"Bearer {asked.key[0]}"})
        if answer.status_code != 200:
            sys.stderr.write(f"GET /policy answered {answer.status_code}: give a client's secret key with --key\n")
            return 2
        attack = Attack(http, asked.key, asked.phone, answer.json())
        await attack.guess_until(time.monotonic() + asked.seconds)
        if asked.range:
            await attack.pump(asked.range, asked.calls)
    table, held = told(attack.report, answer.json())
    sys.stdout.write(f"{table}\n")
    return 0 if held else 1


def main() -> int:
    """Attack as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="where the service answers")
    parser.add_argument(
        "--key", required=True, action="append", help="a secret key; give several clients' for a wider attack"
    )
    parser.add_argument("--phone", required=True, help="your own phone, in E.164: it will ring")
    parser.add_argument("--seconds", type=float, default=60, help="how long to guess (60)")
    parser.add_argument("--range", help="the first digits of a range, without its last four: only against a simulator")
    parser.add_argument("--calls", type=int, default=500, help="how many numbers of the range to have called (500)")
    return asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
