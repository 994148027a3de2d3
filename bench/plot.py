"""One picture of bench/results/*.json, as docs/performance.md shows it:

python -m bench.plot docs/performance.svg       needs matplotlib, which is in no lock: pip install matplotlib
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from bench.stand import RESULTS

KINDS = {
    "route": "bare FastAPI route",
    "plain": "plain route, one EVALSHA",
    "bare": "bare ASGI, same script",
    "check": "check",
    "start": "start",
}
COLOURS = {"route": "#9aa0a6", "plain": "#9aa0a6", "bare": "#9aa0a6", "check": "#1b5fa8", "start": "#386a20"}


def result(name: str) -> Any:  # noqa: ANN401  each bench writes a form of its own
    """A bench's figures.

    Raises:
        SystemExit: they are not there.
    """
    file = RESULTS / f"{name}.json"
    if not file.exists():
        raise SystemExit(f"{file} is missing: make bench")
    return json.loads(file.read_text("utf-8"))


def bars(axes: Any, figure: str, title: str) -> None:  # noqa: ANN401  matplotlib has no types
    """Medians of throughput.json with their least and most."""
    rows = result("throughput")["rows"]
    for place, kind in enumerate(KINDS):
        values = [row[kind][figure] for row in rows]
        middle = statistics.median(values)
        axes.barh(
            place,
            middle,
            color=COLOURS[kind],
            xerr=[[middle - min(values)], [max(values) - middle]],
            ecolor="#444",
            capsize=2,
        )
    axes.set_yticks(range(len(KINDS)), list(KINDS.values()))
    axes.invert_yaxis()
    axes.set_title(title)


def scripts(axes: Any) -> None:  # noqa: ANN401  as above
    """What a script costs the server, by how many phones are live."""
    found = result("scale")
    counts = [int(count) for count in found]
    for name in next(iter(found.values())):
        axes.plot(
            counts,
            [statistics.median(each["script"] for each in costs[name]) for costs in found.values()],
            marker=".",
            label=name,
        )
    axes.set(xscale="log", xlabel="live phones", ylim=(0, None))
    axes.set_title("µs of the store for a script")
    axes.legend(frameon=False, fontsize=8)


def main() -> None:
    """Draw."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  for the plot alone
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError:
        raise SystemExit("the plot needs matplotlib: pip install matplotlib") from None
    where = Path(sys.argv[1])
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "lastdigits", "font.size": 9}
    figure = Figure(figsize=(9, 6))
    rate, cpu, p99, script = figure.subplots(2, 2).flatten()
    bars(rate, "rate", "requests a second, one core")
    bars(cpu, "cpu", "CPU µs of the server for a request")
    bars(p99, "p99", "p99, ms, 32 connections")
    scripts(script)
    figure.tight_layout()
    figure.savefig(where, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
