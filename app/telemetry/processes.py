"""What a worker uses of the machine, by `/proc`: nothing of it where there is none, as on macOS.

The library's own collector reads `/proc/stat` too, which the hardened unit hides (deploy/lastdigits.service, `ProcSubset=pid`).
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.telemetry.tallies import Tallies

_USER, _SYSTEM, _RESIDENT = 11, 12, 21
"""Fields of `/proc/PID/stat` behind the name (proc_pid_stat(5)): 14, 15 and 24, counted from the third as 0."""


class Processes:
    """The workers' processes, each under its number: a worker that replaces a dead one takes its number over."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def collect(self) -> Iterable[Metric]:
        """Look at each worker."""
        seconds = CounterMetricFamily("process_cpu_seconds", "CPU time that a worker has used.", labels=["worker"])
        resident = GaugeMetricFamily("process_resident_memory_bytes", "Memory that a worker holds.", labels=["worker"])
        files = GaugeMetricFamily("process_open_fds", "File descriptors that a worker has open.", labels=["worker"])
        start = GaugeMetricFamily("process_start_time_seconds", "Unix time when a worker began.", labels=["worker"])
        for place, pid, since in self._tallies.workers():
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
