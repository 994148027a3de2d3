"""`lastdigits keys new | list | check | signing`: the keys of clients, and the keys that sign proofs.

A client's key is shown once and kept by nobody; its file holds a digest. A signing key is written to its file and shown to nobody.
"""

import argparse
import os
import secrets
import sys
from decimal import Decimal
from pathlib import Path

from app.api.clients import (
    AUDIENCE,
    CLIENT_ID,
    Clients,
    ClientsError,
    Kind,
    Registered,
    clients_entry,
    is_origin,
    load_clients,
    new_key,
)
from app.verification.money import SCALE, parse_caps
from app.verification.rates import parse_rates
from app.verification.signing_keys import (
    ALGORITHMS,
    SigningKey,
    SigningKeyError,
    new_signing_key,
    parse_signing_keys,
    write_signing_keys,
)

EX_CONFIG = 78
"""Exit status for settings that can't stand (sysexits.h)."""

EX_USAGE = 2


def add_keys(keys: argparse.ArgumentParser) -> None:
    """Add the actions of `lastdigits keys`."""
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    _add_new(
        actions.add_parser(
            "new",
            help="make a client's key: it goes to standard error once, its TOML for the clients file to standard output",
        )
    )
    listed = actions.add_parser("list", help="list the clients of a clients file: what their keys reach")
    listed.add_argument("file", type=Path, nargs="?", help="by default LASTDIGITS_CLIENTS_FILE, else clients.toml")
    listed.set_defaults(run=_list)
    check = actions.add_parser("check", help="check a clients file; with --key-stdin also whose a key is")
    check.add_argument("file", type=Path, nargs="?", help="by default LASTDIGITS_CLIENTS_FILE, else clients.toml")
    check.add_argument("--key-stdin", action="store_true", help="read a key from standard input and tell whose it is")
    check.set_defaults(run=_check)
    _add_signing(
        actions.add_parser(
            "signing",
            help="make the file of keys that sign proofs, or list it; rotate in three steps: --add, --promote, --retire",
        )
    )


# ---- clients


def _add_new(new: argparse.ArgumentParser) -> None:
    new.add_argument("--id", required=True, help="the client's name")
    new.add_argument("--kind", required=True, choices=[kind.value for kind in Kind])
    new.add_argument(
        "--origin", action="append", default=[], help="a web origin that a public key may be used from; may be repeated"
    )
    new.add_argument("--native", action="store_true", help="a public key for an app, which sends no Origin")
    new.add_argument("--audience", help="the aud of its proofs: of a page's key, the id of the backend that takes them")
    new.add_argument("--starts", help="limits of its own on calls: 1000/hour, 10000/day")
    new.add_argument("--spend", help="caps of its own on what calls cost: 100/hour, 500.50/day")
    new.set_defaults(run=_new)


def _new(options: argparse.Namespace) -> int:
    if faults := _faults(options):
        complain(*faults)
        return EX_USAGE
    kind = Kind(options.kind)
    key = new_key(kind)
    origins = tuple(options.origin)
    rest = {"native": options.native, "audience": options.audience, "calls": options.starts, "spend": options.spend}
    print(clients_entry(options.id, kind, key, origins, **rest))  # noqa: T201  its answer
    complain(f"The key of client {options.id}, shown only now:", key)
    return 0


def _faults(options: argparse.Namespace) -> list[str]:
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
    if options.audience is not None and (
        not AUDIENCE.fullmatch(options.audience) or set(options.audience) & set('"\\')
    ):
        faults.append("--audience: up to 128 printable characters without spaces and quotes")
    for name, given, parse in (("starts", options.starts, parse_rates), ("spend", options.spend, parse_caps)):
        if given is not None:
            try:
                parse(given)
            except ValueError as fault:
                faults.append(f"--{name}: {fault}")
    return faults


def _list(options: argparse.Namespace) -> int:
    try:
        clients = _load(options)
    except ClientsError as fault:
        complain(str(fault))
        return EX_CONFIG
    rows: list[tuple[str, ...]] = [("client", "kind", "audience", "used from", "own limits", "keys by digest")]
    rows += [_row(client, digests) for client, digests in clients.listed()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())  # noqa: T201  its answer
    return 0


def _row(client: Registered, digests: list[str]) -> tuple[str, ...]:
    used_from = " ".join([*sorted(client.origins), *(["apps"] if client.native else [])])
    spend = [f"{Decimal(cap.count) / SCALE} of money/{cap.period}" for cap in client.spend]
    limits = ", ".join([*(f"{rate} calls" for rate in client.starts), *spend])
    keys = " ".join(f"{digest}…" for digest in digests)
    return (client.id, client.kind.value, client.audience, used_from or "backends", limits or "none", keys)


def _check(options: argparse.Namespace) -> int:
    try:
        clients = _load(options)
    except ClientsError as fault:
        complain(str(fault))
        return EX_CONFIG
    if not options.key_stdin:
        print(f"{_file(options)}: {len(clients)} clients")  # noqa: T201  its answer
        return 0
    client = clients.find(sys.stdin.readline().strip())
    print(f"{client.kind} key of client {client.id}" if client else "no client of this file has that key")  # noqa: T201  its answer
    return 0 if client else 1


def _load(options: argparse.Namespace) -> Clients:
    return load_clients(_file(options))


def _file(options: argparse.Namespace) -> Path:
    given: Path | None = options.file
    return given or Path(os.environ.get("LASTDIGITS_CLIENTS_FILE") or "clients.toml")


# ---- the keys that sign proofs


def _add_signing(signing: argparse.ArgumentParser) -> None:
    signing.add_argument(
        "file",
        type=Path,
        help="a JWK set, readable by its owner only (PEM is read, and rewritten as a JWK set); - prints a new one",
    )
    signing.add_argument(
        "--alg",
        choices=sorted(ALGORITHMS.values()),
        default="ES256",
        help="ES256, which every library verifies, or EdDSA",
    )
    step = signing.add_mutually_exclusive_group()
    step.add_argument("--add", action="store_true", help="step 1: add a key, which is published and signs nothing yet")
    step.add_argument(
        "--promote", action="store_true", help="step 2, when verifiers know it: the last key signs from now on"
    )
    step.add_argument(
        "--retire",
        action="store_true",
        help="step 3, when the last old proof has expired: keep only the key that signs",
    )
    signing.set_defaults(run=_signing)


def _signing(options: argparse.Namespace) -> int:
    path: Path = options.file
    if str(path) == "-":
        return _signing_to_output(options)
    try:
        keys = parse_signing_keys(path.read_text("utf-8")) if path.exists() else ()
        keys = _stepped(keys, options)
        if keys:
            _write(path, write_signing_keys(keys))
        else:
            keys = parse_signing_keys(path.read_text("utf-8"))
    except (SigningKeyError, UnicodeDecodeError) as fault:
        complain(f"{path}: {fault}")
        return EX_CONFIG
    except OSError as fault:
        complain(f"{path}: {fault.strerror}")
        return EX_CONFIG
    for place, key in enumerate(keys):
        print(f"{key.kid}  {key.algorithm}  {'signs' if place == 0 else 'is published'}")  # noqa: T201  its answer
    return 0


def _signing_to_output(options: argparse.Namespace) -> int:
    """A new set where the caller keeps it: a container that can write nothing, a store of secrets."""
    if options.add or options.promote or options.retire:
        complain("-: a step needs the file that it changes")
        return EX_CONFIG
    print(write_signing_keys((new_signing_key(options.alg),)), end="")  # noqa: T201  its answer
    return 0


def _stepped(keys: tuple[SigningKey, ...], options: argparse.Namespace) -> tuple[SigningKey, ...]:
    """The keys after a step of their rotation; none if nothing changes.

    Raises:
        SigningKeyError: the step can't be made with these keys.
    """
    step = options.add or options.promote or options.retire
    if not keys and not step:
        return (new_signing_key(options.alg),)
    if not step:
        return ()
    if not keys:
        raise SigningKeyError("there is no such file: leave the step out to make it")
    if options.add:
        return (*keys, new_signing_key(options.alg))
    if options.promote:
        if len(keys) == 1:
            raise SigningKeyError(
                "it holds one key, and that one signs: --add another first, and wait until verifiers know it"
            )
        return (keys[-1], *keys[:-1])
    return keys[:1]


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, for its owner's eyes only; whoever reads it meanwhile sees the old one or the new one, whole."""
    parse_signing_keys(text)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            _keep_owner(path, draft)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _keep_owner(path: Path, draft: Path) -> None:
    """Keep whose file it is: root may rotate what the service's user reads."""
    was = path.stat()
    if os.geteuid() == 0:
        os.chown(draft, was.st_uid, was.st_gid)
    draft.chmod(was.st_mode & 0o777)


def complain(*lines: str) -> None:
    """Say what is wrong, or what nobody else may read, on standard error."""
    print("\n".join(("lastdigits: " + lines[0], *lines[1:])), file=sys.stderr)  # noqa: T201  a command's complaint
