"""`lastdigits keys new | list | check | signing`: the keys of clients, and the keys that sign verification tokens.

A client's key is shown once and kept nowhere; its file holds a digest. A signing key is written to its file and never shown.
"""

import argparse
import os
import re
import sys
from decimal import Decimal
from pathlib import Path

from app.api.clients import (
    ClientsError,
    Kind,
    Registered,
    clients_entry,
    load_clients,
    new_key,
    parse_clients,
)
from app.cli import complain, say
from app.processes import EX_CONFIG, write_private
from app.verification.limits import SCALE
from app.verification.signing_keys import (
    ALGORITHMS,
    SigningKey,
    SigningKeyError,
    new_signing_key,
    parse_signing_keys,
    write_signing_keys,
)

EX_USAGE = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add its actions and their arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    # A table, an argument a line.
    # fmt: off
    new = actions.add_parser("new", help="make a client's key: printed once on standard error; its TOML on standard output")
    new.add_argument("--id", required=True, help="the client's name")
    new.add_argument("--kind", required=True, choices=[kind.value for kind in Kind])
    new.add_argument("--origin", action="append", default=[], help="a web origin of a public key; may be repeated")
    new.add_argument("--native", action="store_true", help="a public key for an app, which sends no Origin")
    new.add_argument(
        "--return-url", action="append", default=[], help="where the hosted page of a public key returns to, character by character; may be repeated")
    new.add_argument("--audience", help="the aud of its tokens: for a page's key, the id of the backend that accepts them")
    new.add_argument("--calls", help="limits of its own on calls: 1000/hour, 10000/day")
    new.add_argument("--spend", help="caps of its own on what calls cost: 100/hour, 500.50/day")
    new.set_defaults(action=_new)

    listing = actions.add_parser("list", help="list the clients of a clients file, and what their keys reach")
    listing.set_defaults(action=_list)
    check = actions.add_parser("check", help="check a clients file; with --key-stdin also whose key it is")
    check.add_argument("--key-stdin", action="store_true", help="read a key from standard input")
    check.set_defaults(action=_check)
    for reading in (listing, check):
        reading.add_argument("file", type=Path, nargs="?", help="by default LASTDIGITS_CLIENTS_FILE, else clients.toml")

    signing = actions.add_parser("signing", help="make the file of keys that sign tokens, list it, or rotate them in three steps")
    signing.add_argument("file", type=Path, help="a JWK set that only its owner reads (PEM is rewritten as one); - prints a new one")
    signing.add_argument("--alg", choices=sorted(ALGORITHMS.values()), default="ES256", help="every library verifies ES256")
    step = signing.add_mutually_exclusive_group()
    step.add_argument("--add", action="store_true", help="step 1: add a key, which is published and does not sign yet")
    step.add_argument("--promote", action="store_true", help="step 2, when verifiers know it: the last key signs from now on")
    step.add_argument("--retire", action="store_true", help="step 3, when the last old token has expired: only the key that signs stays")
    signing.set_defaults(action=_signing)
    # fmt: on


def run(options: argparse.Namespace) -> int:
    """Do what was asked."""
    try:
        return int(options.action(options))
    except ClientsError as error:
        complain(str(error))
        return EX_CONFIG


# ---- clients


def _new(options: argparse.Namespace) -> int:
    kind = Kind(options.kind)
    key = new_key(kind)
    limits = {"native": options.native, "audience": options.audience, "calls": options.calls, "spend": options.spend}
    urls = tuple(options.return_url)
    entry = clients_entry(options.id, kind, key, tuple(options.origin), return_urls=urls, **limits)
    try:
        parse_clients(entry, "the entry")
    except ClientsError as error:
        complain(str(error))
        return EX_USAGE
    say(entry)
    complain(f"The key of client {options.id}, shown only now:", key)
    return 0


def _list(options: argparse.Namespace) -> int:
    rows: list[tuple[str, ...]] = [("client", "kind", "audience", "used from", "own limits", "keys by digest")]
    rows += [_row(client, digests) for client, digests in load_clients(_file(options)).listed()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    say(*("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows))
    return 0


def _row(client: Registered, digests: list[str]) -> tuple[str, ...]:
    hosted = ["hosted-page"] if client.return_urls else []
    used_from = " ".join([*sorted(client.origins), *(["apps"] if client.native else []), *hosted])
    spend = [f"{Decimal(cap.count) / SCALE} of money/{cap.period}" for cap in client.spend]
    limits = ", ".join([*(f"{rate} calls" for rate in client.calls), *spend])
    keys = " ".join(f"{digest}…" for digest in digests)
    return (client.id, client.kind.value, client.audience, used_from or "backends", limits or "none", keys)


def _check(options: argparse.Namespace) -> int:
    clients = load_clients(_file(options))
    if not options.key_stdin:
        say(f"{_file(options)}: {len(clients)} clients")
        return 0
    key = sys.stdin.readline().strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", key):
        complain("this is a key's digest, as the file has it: give the key itself, which begins with pk_ or sk_")
        return EX_USAGE
    client = clients.find(key)
    say(f"{client.kind} key of client {client.id}" if client else "no client of this file has that key")
    return 0 if client else 1


def _file(options: argparse.Namespace) -> Path:
    given: Path | None = options.file
    return given or Path(os.environ.get("LASTDIGITS_CLIENTS_FILE") or "clients.toml")


# ---- the keys that sign verification tokens


def _signing(options: argparse.Namespace) -> int:
    path: Path = options.file
    try:
        if str(path) == "-":
            # Where the caller keeps it: for a container that can write nothing, or a store of secrets.
            say(write_signing_keys(_stepped((), options)).rstrip("\n"))
            return 0
        held = parse_signing_keys(path.read_text("utf-8-sig")) if path.exists() else ()
        keys = _stepped(held, options)
        if keys != held:
            text = write_signing_keys(keys)
            parse_signing_keys(text)
            write_private(path, text)
    except (SigningKeyError, UnicodeDecodeError) as error:
        complain(f"{path}: {error}")
        return EX_CONFIG
    except OSError as error:
        complain(f"{path}: {error.strerror}")
        return EX_CONFIG
    say(*(f"{key.kid}  {key.algorithm}  {'is published' if place else 'signs'}" for place, key in enumerate(keys)))
    return 0


def _stepped(keys: tuple[SigningKey, ...], options: argparse.Namespace) -> tuple[SigningKey, ...]:
    """The keys after a step of their rotation.

    Raises:
        SigningKeyError: the step can't be made with these keys.
    """
    if not keys:
        if options.add or options.promote or options.retire:
            raise SigningKeyError("there is no such file: leave the step out to make it")
        return (new_signing_key(options.alg),)
    if options.add:
        return (*keys, new_signing_key(options.alg))
    if options.promote:
        if len(keys) == 1:
            raise SigningKeyError(
                "it holds one key, and that one signs: --add another first, and wait until verifiers know it"
            )
        return (keys[-1], *keys[:-1])
    return keys[:1] if options.retire else keys
