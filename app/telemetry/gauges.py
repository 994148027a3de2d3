"""Gauges of what is true when Prometheus asks: whether the store works and is safe, and what is used of each budget.

A counter says what happened. These say what holds now, and are never older than a second or two.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.telemetry.tallies import Tallies
from app.verification.client import Client, Lane
from app.verification.limits import SCALE, Rate
from app.verification.policy import Policy
from app.verification.ports import GuardStatus

TIMEOUT = 1.0
"""Seconds that a scrape waits for the store. One that does not answer by then counts as down: a scrape must not hang with it."""

KEPT_FOR = 1.0
"""Seconds that an answer is kept: /metrics needs no key, and must not become a load on the store."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the store finds."""

    up: bool
    problems: Mapping[str, bool]  # each known kind, and whether the store has it
    status: GuardStatus | None = None  # what is suspended and used; without it these gauges are left out
    clients: tuple[Client, ...] = ()  # those whose own limits `status` has


class Gauges:
    """Looks at the store for a scrape: one look at a time, at most one a second. If one takes too long, `unseen` holds."""

    def __init__(self, look: Callable[[], Awaitable[Seen]], unseen: Seen, policy: Policy, *, sandbox: bool) -> None:
        self._look, self._unseen = look, unseen
        self._policy, self._sandbox = policy, sandbox
        self._looking: asyncio.Future[Seen] | None = None
        self._looked_at = -KEPT_FOR

    async def collect(self) -> list[Metric]:
        """Every gauge, as of at most `KEPT_FOR` ago."""
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now - self._looked_at >= KEPT_FOR):
            self._looked_at = now
            self._looking = asyncio.ensure_future(self._look())
        try:
            async with asyncio.timeout(TIMEOUT):
                seen = await asyncio.shield(self._looking)
        except TimeoutError:
            seen = self._unseen
        return [*_state(seen, sandbox=self._sandbox), *(_used(seen, seen.status, self._policy) if seen.status else ())]


def _state(seen: Seen, *, sandbox: bool) -> Iterator[Metric]:
    safe = seen.up and not any(seen.problems.values())
    yield _flag("ready", "1 where /readyz answers 200.", safe)
    yield _flag("store_up", "1 where Redis answers.", seen.up)
    yield _flag("store_safe", "1 where nothing keeps Redis from being relied on.", safe)
    problems = _family("store_problem", "1 where Redis has this problem.", "problem")
    for problem, holds in seen.problems.items():
        problems.add_metric([problem], holds)
    yield problems
    yield _flag("sandbox", "1 where calls go to the simulator and no phone rings.", sandbox)


def _used(seen: Seen, status: GuardStatus, policy: Policy) -> Iterator[Metric]:
    yield _flag("spray_alert", "1 while codes are guessed at over many phones.", status.alert_until is not None)
    suspended = _family("suspended_destinations", "Countries and ranges of numbers that are not called now.", "lane")
    for lane in Lane:
        suspended.add_metric([lane.value], sum(entry.lane == lane.value for entry in status.suspended))
    yield suspended

    share = policy.public_share
    clients = [(client, share if client.public else None) for client in seen.clients]  # a backend is never public
    spend = [_Budget("all", "spend", policy.spending.caps, share)]
    for country, caps in policy.spending.by_country.items():
        spend.append(_Budget(f"country:{country}", f"spend_country:{country}", caps, share))
    spend += [_Budget(f"client:{each.id}", f"spend_client:{each.id}", each.spend, public) for each, public in clients]
    used = _family("spend", "What calls have cost within a window that ends now.", "cap", "window", "lane")
    allowed = _family("spend_cap", "What calls may cost within a window.", "cap", "window", "lane")
    yield from _filled(used, allowed, spend, status, SCALE)

    calls = [_Budget("all", "calls_total", policy.calls_total, share)]
    calls += [
        _Budget(f"client:{each.id}", f"calls_per_client:{each.id}", each.calls, public) for each, public in clients
    ]
    used = _family("calls_used", "Calls within a window that ends now.", "limit", "window", "lane")
    allowed = _family("calls_limit", "Calls that a window allows.", "limit", "window", "lane")
    yield from _filled(used, allowed, calls, status, 1)


@dataclass(frozen=True, slots=True)
class _Budget:
    """A limit: its label, its name in `GuardStatus.used`, its windows, and the public lane's share if it is shared."""

    label: str
    name: str
    rates: tuple[Rate, ...]
    public_share: float | None = None


def _filled(
    used: GaugeMetricFamily, allowed: GaugeMetricFamily, budgets: Iterable[_Budget], status: GuardStatus, scale: int
) -> tuple[Metric, Metric]:
    """Two families with the same labels, so that one can be divided by the other."""
    for budget in budgets:
        for rate in budget.rates:
            usage = status.used[f"{budget.name}/{rate.seconds}"]
            used.add_metric([budget.label, rate.period, "all"], (usage.public + usage.trusted) / scale)
            allowed.add_metric([budget.label, rate.period, "all"], rate.count / scale)
            if budget.public_share is not None:
                used.add_metric([budget.label, rate.period, "public"], usage.public / scale)
                allowed.add_metric([budget.label, rate.period, "public"], rate.share(budget.public_share).count / scale)
    return used, allowed


def _family(name: str, sentence: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lastdigits_{name}", sentence, labels=labels)


def _flag(name: str, sentence: str, holds: bool) -> Metric:
    return GaugeMetricFamily(f"lastdigits_{name}", sentence, value=float(holds))


# ---- what a worker uses of the machine

_USER, _SYSTEM, _RESIDENT = 11, 12, 21
"""Fields of `/proc/PID/stat` behind the name (proc_pid_stat(5)): 14, 15 and 24, counted from the third as 0."""


def process_metrics(tallies: Tallies) -> list[Metric]:
    """What each worker uses of the machine, under its number: a worker that replaces a dead one takes its number over.

    By `/proc`: nothing of it where there is none, as on macOS. The library's own collector reads `/proc/stat` too, which the hardened unit hides
    (deploy/lastdigits.service, `ProcSubset=pid`).
    """
    seconds = CounterMetricFamily("process_cpu_seconds", "CPU time that a worker has used.", labels=["worker"])
    resident = GaugeMetricFamily("process_resident_memory_bytes", "Memory that a worker holds.", labels=["worker"])
    files = GaugeMetricFamily("process_open_fds", "File descriptors that a worker has open.", labels=["worker"])
    start = GaugeMetricFamily("process_start_time_seconds", "Unix time when a worker began.", labels=["worker"])
    for place, pid, since in tallies.workers():
        labels = [str(place)]
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            used = int(fields[_USER]) + int(fields[_SYSTEM])
            opened = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  a name each is enough
            seconds.add_metric(labels, used / os.sysconf("SC_CLK_TCK"))
            resident.add_metric(labels, int(fields[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE"))
            files.add_metric(labels, opened)
            start.add_metric(labels, since)
    return [seconds, resident, files, start]
