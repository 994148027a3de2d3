"""`lastdigits serve | policy | doctor | keys | simulator`."""

import argparse
import asyncio
import os
import sys

from app.keys import EX_CONFIG, add_keys, complain
from app.settings import Settings, SettingsError, load_settings
from app.verification.errors import LastdigitsError


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the process's exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except SettingsError as fault:
        complain("the settings can't stand:", *(f"  - {sentence}" for sentence in fault.faults))
        return EX_CONFIG
    except LastdigitsError as fault:
        complain(str(fault))
        return EX_CONFIG
    except BrokenPipeError:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lastdigits", description="Self-hosted phone verification by flash call.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the service; a sandbox unless a provider is set")
    serve.set_defaults(run=_serve)

    doctor = commands.add_parser(
        "doctor", help="test the settings, Redis, the provider's reachability, the clock and the keys"
    )
    doctor.set_defaults(run=_doctor)

    policy = commands.add_parser("policy", help="say what the settings in force add up to: chances, calls, money")
    policy.set_defaults(run=_policy)

    add_keys(commands.add_parser("keys", help="make, list and check the keys of clients, and those that sign proofs"))

    simulator = commands.add_parser("simulator", help="run the provider's stand-in alone")
    simulator.add_argument("--host", default="127.0.0.1")
    simulator.add_argument("--port", type=int, default=8001, help="0 takes a free one")
    simulator.add_argument(
        "--api-key", default=os.environ.get("SIMULATOR_API_KEY", "sandbox"), help="also SIMULATOR_API_KEY"
    )
    simulator.add_argument("--login", default=os.environ.get("SIMULATOR_LOGIN", "sandbox"), help="also SIMULATOR_LOGIN")
    simulator.add_argument(
        "--password", default=os.environ.get("SIMULATOR_PASSWORD", "sandbox"), help="also SIMULATOR_PASSWORD"
    )
    simulator.add_argument("--pool", type=int, default=10_000, help="how many calling numbers there are")
    simulator.add_argument("--seed", type=int, default=None, help="draw the same calling numbers at each run")
    simulator.set_defaults(run=_simulator)
    return parser


def _serve(_: argparse.Namespace) -> int:
    from app.serving import serve  # noqa: PLC0415  the other commands start without the web framework

    serve(load_settings())
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from app.doctor import examine_all  # noqa: PLC0415  the same

    settings: Settings = load_settings()
    findings = asyncio.run(examine_all(settings))
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'FAIL'}  {finding.subject:<10} {finding.sentence}")  # noqa: T201  its answer
    return 0 if all(finding.good for finding in findings) else 1


def _policy(_: argparse.Namespace) -> int:
    from app.policy_report import measured, policy_report  # noqa: PLC0415  the same

    settings = load_settings()
    print(policy_report(settings, asyncio.run(measured(settings))), end="")  # noqa: T201  its answer
    for warning in settings.warnings:
        complain(warning)
    return 0


def _simulator(options: argparse.Namespace) -> int:
    from app.serving import listen  # noqa: PLC0415  the same as above
    from app.simulator import SimulatorCredentials, run_simulator  # noqa: PLC0415

    with listen(options.host, options.port, "--port") as listener:
        print(f"simulator on http://{options.host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201  its address
        credentials = SimulatorCredentials(options.api_key, options.login, options.password)
        try:
            run_simulator(credentials, listener, pool=options.pool, seed=options.seed)
        except ValueError as fault:
            complain(f"--pool: {fault}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
