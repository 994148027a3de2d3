"""`lastdigits simulator`: the provider's stand-in alone, for other people's CI."""

import argparse
import os

from app.cli import complain, say
from app.processes import listen
from app.simulator import SimulatorCredentials, run_simulator


def configure(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; 127.0.0.1 by default")
    parser.add_argument(
        "--port", type=int, default=8001, help="the port to listen on; 8001 by default, 0 takes a free one"
    )
    for name in ("api-key", "login", "password"):
        variable = f"SIMULATOR_{name.upper().replace('-', '_')}"
        parser.add_argument(
            f"--{name}",
            default=os.environ.get(variable, "sandbox"),
            help=f"what the simulator accepts; by default {variable}, else sandbox",
        )
    parser.add_argument("--pool", type=int, default=10_000, help="how many calling numbers there are; 10000 by default")
    parser.add_argument("--seed", type=int, help="draw the same calling numbers at each run")


def run(options: argparse.Namespace) -> int:
    """Serve until it is ended."""
    with listen(options.host, options.port, "--host", "--port") as listener:
        say(f"simulator on http://{options.host}:{listener.getsockname()[1]}")
        credentials = SimulatorCredentials(options.api_key, options.login, options.password)
        try:
            run_simulator(credentials, listener, pool=options.pool, seed=options.seed)
        except ValueError as error:
            complain(f"--pool: {error}")
            return 2
    return 0
