"""`lastdigits serve | doctor | keys | simulator`."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from app.api.clients import CLIENT_ID, ClientsError, Kind, clients_entry, is_origin, load_clients, new_key
from app.settings import Settings, SettingsError, load_settings
from app.verification.errors import LastdigitsError

EX_CONFIG = 78
"""Exit status for settings that can't stand (sysexits.h)."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the process's exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except SettingsError as fault:
        _complain("the settings can't stand:", *(f"  - {sentence}" for sentence in fault.faults))
        return EX_CONFIG
    except LastdigitsError as fault:
        _complain(str(fault))
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

    keys = commands.add_parser("keys", help="make and check the keys of clients").add_subparsers(
        required=True, metavar="ACTION"
    )
    new = keys.add_parser(
        "new", help="make a key: it goes to standard error once, its TOML for the clients file to standard output"
    )
    new.add_argument("--id", required=True, help="the client's name")
    new.add_argument("--kind", required=True, choices=[kind.value for kind in Kind])
    new.add_argument(
        "--origin", action="append", default=[], help="a web origin that a public key may be used from; may be repeated"
    )
    new.add_argument("--native", action="store_true", help="a public key for an app, which sends no Origin")
    new.set_defaults(run=_new_key)
    check = keys.add_parser("check", help="check a clients file; with --key-stdin also whose a key is")
    check.add_argument("file", type=Path)
    check.add_argument("--key-stdin", action="store_true", help="read a key from standard input and tell whose it is")
    check.set_defaults(run=_check_keys)

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


def _new_key(options: argparse.Namespace) -> int:
    kind = Kind(options.kind)
    faults = []
    if not CLIENT_ID.fullmatch(options.id):
        faults.append("--id: up to 40 letters, digits, dots, dashes and underscores, a letter or digit first")
    faults += [
        f"--origin {origin}: write it like https://example.com" for origin in options.origin if not is_origin(origin)
    ]
    if kind is Kind.PUBLIC and not (options.origin or options.native):
        faults.append("--kind public: name its --origin, or say --native for an app")
    if kind is Kind.SECRET and (options.origin or options.native):
        faults.append("--kind secret: it never goes into a page or an app: leave out --origin and --native")
    if faults:
        _complain(*faults)
        return 2
    key = new_key(kind)
    print(clients_entry(options.id, kind, key, tuple(options.origin), native=options.native))  # noqa: T201  its answer
    _complain(f"The key of client {options.id}, shown only now:", key)
    return 0


def _check_keys(options: argparse.Namespace) -> int:
    try:
        clients = load_clients(options.file)
    except ClientsError as fault:
        _complain(str(fault))
        return EX_CONFIG
    if not options.key_stdin:
        print(f"{options.file}: {len(clients)} clients")  # noqa: T201  its answer
        return 0
    client = clients.find(sys.stdin.readline().strip())
    print(f"{client.kind} key of client {client.id}" if client else "no client of this file has that key")  # noqa: T201  its answer
    return 0 if client else 1


def _simulator(options: argparse.Namespace) -> int:
    from app.serving import listen  # noqa: PLC0415  the same as above
    from app.telephony.simulator import SimulatorCredentials, run_simulator  # noqa: PLC0415

    with listen(options.host, options.port, "--port") as listener:
        print(f"simulator on http://{options.host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201  its address
        credentials = SimulatorCredentials(options.api_key, options.login, options.password)
        try:
            run_simulator(credentials, listener, pool=options.pool, seed=options.seed)
        except ValueError as fault:
            _complain(f"--pool: {fault}")
            return 2
    return 0


def _complain(*lines: str) -> None:
    print("\n".join(("lastdigits: " + lines[0], *lines[1:])), file=sys.stderr)  # noqa: T201  a command's complaint


if __name__ == "__main__":
    sys.exit(main())
