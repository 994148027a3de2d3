"""The sandbox: what the service makes for itself when it has no provider, and what it prints at its start."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from app.api.clients import PREFIXES, Kind, clients_entry, new_key, parse_clients
from app.api.origins import LOCALHOST_ORIGINS, allows
from app.processes import StartError, child_process, kept, listen
from app.settings import Settings
from app.simulator import SimulatorCredentials, run_simulator
from app.web import DemoContext

_PHONE = "+7 999 123-45-67"
_DIGITS = "79991234567"


@contextmanager
def with_sandbox(settings: Settings) -> Iterator[Settings]:
    """The settings with all that the sandbox provides: a running simulator for a provider, and two clients unless a file names some.

    Raises:
        StartError: the simulator's address can't be listened on, or the keys can't be kept.
    """
    api_key = secrets.token_urlsafe(16)
    where = settings.simulator_host, settings.simulator_port
    with listen(*where, "LASTDIGITS_SIMULATOR_HOST", "LASTDIGITS_SIMULATOR_PORT") as listener:
        simulator = f"http://{reachable(settings.simulator_host)}:{listener.getsockname()[1]}"
        keys = None if settings.clients or not settings.keys else sandbox_keys(settings.keys / "sandbox-keys.json")
        if keys:
            clients = parse_clients(_entries(settings, keys), "the sandbox's clients")
            demo = DemoContext(simulator, keys[Kind.PUBLIC], keys[Kind.SECRET], _capped_key(keys))
            settings = replace(settings, clients=clients, demo=demo)
        url = f"{simulator}/api/call-password/send/"
        settings = replace(settings, provider=replace(settings.provider, url=url, api_key=SecretStr(api_key)))
        with child_process(run_simulator, SimulatorCredentials(api_key=api_key), listener):
            print(banner(settings, keys, simulator), flush=True)  # noqa: T201  the banner is for a person
            yield settings


def sandbox_keys(path: Path) -> dict[Kind, str]:
    """The sandbox's public and secret key: kept, so that what was built with them goes on working.

    Raises:
        StartError: they can't be kept, or the file is damaged.
    """
    try:
        held = json.loads(kept(path, lambda: json.dumps({kind: new_key(kind) for kind in Kind})))
        return {kind: str(held[kind]) for kind in Kind}
    except (ValueError, LookupError, TypeError) as error:
        raise StartError(f"{path} is damaged: remove it, and new keys are made") from error


def _entries(settings: Settings, keys: dict[Kind, str]) -> str:
    """The clients file of the sandbox. The demo page has an origin of its own where it is reached by another name or address than localhost."""
    own = f"http://{reachable(settings.host)}:{settings.port}"
    origins = LOCALHOST_ORIGINS if allows(frozenset(LOCALHOST_ORIGINS), own) else (*LOCALHOST_ORIGINS, own)
    audience = "sandbox-backend"
    page = clients_entry("sandbox-web", Kind.PUBLIC, keys[Kind.PUBLIC], origins, native=True, audience=audience)
    capped = clients_entry("sandbox-capped", Kind.PUBLIC, _capped_key(keys), origins, spend="0.5/hour")
    return page + capped + clients_entry(audience, Kind.SECRET, keys[Kind.SECRET])


def _capped_key(keys: dict[Kind, str]) -> str:
    """The key of a client that may spend on one call an hour: the demo page shows by it what a cap does. It stays the same, like the others."""
    return PREFIXES[Kind.PUBLIC] + hashlib.sha256(keys[Kind.SECRET].encode()).hexdigest()


def banner(settings: Settings, keys: dict[Kind, str] | None, simulator: str) -> str:
    """What the sandbox prints: that nothing leaves the machine, the addresses, the keys, and a script to paste."""
    address = f"http://{reachable(settings.host)}:{settings.port}"
    lines = [
        "",
        "  lastdigits runs as a SANDBOX: no phone rings, and nothing leaves this machine.",
        "  Set LASTDIGITS_PROVIDER_API_KEY and LASTDIGITS_CLIENTS_FILE to call real phones.",
        "",
        f"  Demo page    {address}/          a form, and a drawn phone that rings",
        f"  Service      {address}          its interface: {address}/docs",
        f'  Simulator    {simulator}          the calls it "placed", and the numbers that called',
    ]
    if keys is None:
        return "\n".join([*lines, "  Clients      those of LASTDIGITS_CLIENTS_FILE", ""])
    lines += [
        f"  Public key   {keys[Kind.PUBLIC]}          for a page or an app",
        f"  Secret key   {keys[Kind.SECRET]}          for a backend",
        "",
        "  Paste this to verify a phone from start to end. purpose says what the verification is for: it goes into the token.",
        "  client_ip is your user's address: a backend sends it, so that the limits for each address count.",
        "  Paste it twice at most: a third call to one phone from one address within an hour is refused.",
        "",
    ]
    return "\n".join([*lines, _script(address, simulator, keys[Kind.SECRET]), ""])


def _script(address: str, simulator: str, key: str) -> str:
    """Shell lines that start a verification, read the digits off the simulator, and check them: curl and sed, nothing else."""
    post = f"curl -sS -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    start = f'{{"phone": "{_PHONE}", "purpose": "login", "client_ip": "203.0.113.7"}}'
    lines = [
        f"""STARTED=$({post} {address}/verify/start -d '{start}'); echo "$STARTED\"""",
        """ID=$(echo "$STARTED" | sed -n 's/.*"id":"\\(vrf_[^"]*\\)".*/\\1/p')""",
        f"""CALLED=$(curl -sS {simulator}/calls/{_DIGITS})""",
        """CODE=$(echo "$CALLED" | sed -n 's/[^[]*\\[{[^}]*"code": *"\\([0-9]*\\)".*/\\1/p')""",
        """echo "The last digits of the number that called: $CODE\"""",
        f"""{post} {address}/verify/check -d "{{\\"id\\": \\"$ID\\", \\"code\\": \\"$CODE\\"}}"; echo""",
    ]
    return "\n".join(lines)


def reachable(host: str) -> str:
    """Where a listening address is reached from this machine, as a URL writes it."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104  compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host.lower()
