"""The sandbox: what the service makes for itself when it has no provider, and what it tells whoever started it."""

import hashlib
import json
import multiprocessing
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from app.api.clients import Kind, clients_entry, new_key, parse_clients
from app.processes import die_with_parent
from app.settings import ProviderSettings, Settings
from app.telephony.simulator import SimulatorCredentials, run_simulator
from app.verification.errors import LastdigitsError
from app.verification.ids import MIN_PEPPER_BYTES
from app.verification.signing_keys import new_signing_key, write_signing_keys
from app.web import DemoContext

_PHONE = "+7 999 123-45-67"
_DIGITS = "79991234567"


class SandboxError(LastdigitsError):
    """What the service made for itself can't be used; the message names the mend."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys that the sandbox prints, and one whose client may spend on one call an hour: the demo page shows by it what a cap does."""

    public: str
    secret: str
    capped: str


def keep_pepper(directory: Path) -> SecretStr:
    """The pepper beside an embedded store: made at the first start, kept from then on.

    Raises:
        SandboxError: the file was cut short: what it should seal would lie open.
    """
    pepper = _keep(directory / "pepper", secrets.token_hex(32))
    if len(pepper.encode()) < MIN_PEPPER_BYTES:
        raise SandboxError(
            f"{directory / 'pepper'} is cut short: restore it, or remove it and lose what the store holds"
        )
    return SecretStr(pepper)


def keep_signing_keys(directory: Path) -> Path:
    """The file of signing keys beside an embedded store: made at the first start, kept from then on."""
    path = directory / "signing-keys.json"
    _keep(path, write_signing_keys((new_signing_key(),)))
    return path


def sandbox_keys(directory: Path | None) -> Keys:
    """The sandbox's keys: kept beside an embedded store, so that what was built against them goes on; else new at each start."""
    fresh = json.dumps(
        {"public": new_key(Kind.PUBLIC), "secret": new_key(Kind.SECRET), "capped": new_key(Kind.PUBLIC)}
    )
    held = json.loads(_keep(directory / "sandbox-keys.json", fresh) if directory else fresh)
    # A file of before the demo page has no third key: it is derived, so that it stays the same over restarts.
    capped = held.get("capped") or f"pk_{hashlib.sha256(held['secret'].encode()).hexdigest()}"
    return Keys(held["public"], held["secret"], capped)


def _keep(path: Path, fresh: str) -> str:
    """What the file holds; where there is none, it is made, whole or not at all, for this user's eyes only."""
    if not path.exists():
        draft = path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(fresh)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    return path.read_text("utf-8").strip()


@contextmanager
def simulator_beside(listener: socket.socket, api_key: str) -> Iterator[None]:
    """Run the provider's simulator as a child process on a bound socket, for as long as the block lasts."""
    process = multiprocessing.get_context("spawn").Process(
        target=_simulate, args=(listener, api_key, os.getpid()), name="lastdigits-simulator", daemon=True
    )
    # A Ctrl-C while the child still imports would end it with a traceback: it inherits that SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, before)
    try:
        yield
    finally:
        process.terminate()
        process.join(5)


def _simulate(listener: socket.socket, api_key: str, parent: int) -> None:
    die_with_parent(parent)
    # A terminal's Ctrl-C goes to the service alone, which may still have calls to finish: it ends this process after them.
    os.setpgid(0, 0)
    run_simulator(SimulatorCredentials(api_key=api_key), listener)


def with_sandbox(settings: Settings, keys: Keys, simulator: str, api_key: str) -> Settings:
    """The settings with all that the sandbox provides: the simulator for a provider, and two clients unless a file names some.

    Args:
        settings: as loaded.
        keys: of the two clients.
        simulator: the address of the simulator: `http://127.0.0.1:8001`.
        api_key: what the simulator takes for the provider's key.
    """
    own = tuple(f"http://{name}:{settings.port}" for name in dict.fromkeys((reachable(settings.host), "localhost")))
    entries = clients_entry("sandbox-web", Kind.PUBLIC, keys.public, own, native=True, audience="sandbox-backend")
    entries += clients_entry("sandbox-backend", Kind.SECRET, keys.secret)
    entries += clients_entry("sandbox-capped", Kind.PUBLIC, keys.capped, own, spend="0.5/hour")
    provider = ProviderSettings(
        url=f"{simulator}/api/call-password/send/",
        api_key=SecretStr(api_key),
        login=None,
        password=None,
        key_in_body=False,
        connect_timeout=2.0,
        read_timeout=10.0,
        pool_size=100,
        pool_timeout=2.0,
    )
    # With a clients file of the operator's own, the sandbox's keys are not known: there is no demo.
    demo = None if settings.clients else DemoContext(simulator, keys.public, keys.secret, keys.capped)
    clients = settings.clients or parse_clients(entries, "the sandbox's clients")
    return replace(settings, provider=provider, clients=clients, demo=demo)


def banner(settings: Settings, keys: Keys | None, simulator: str) -> str:
    """What the sandbox tells at its start: that nothing leaves the machine, the addresses, the keys, and a script to paste."""
    address = f"http://{reachable(settings.host)}:{settings.port}"
    lines = [
        "",
        "  lastdigits is running as a SANDBOX: no phone rings, and nothing leaves this machine.",
        "  Set LASTDIGITS_PROVIDER_API_KEY (and LASTDIGITS_CLIENTS_FILE) to call real phones.",
        "",
        f"  Service      {address}          OpenAPI: {address}/openapi.json",
        f'  Simulator    {simulator}          the calls it "placed", and the numbers that called',
    ]
    if keys is None:
        return "\n".join([*lines, "  Clients      those of LASTDIGITS_CLIENTS_FILE", ""])
    return "\n".join(
        [
            *lines,
            f"  Public key   {keys.public}",
            f"  Secret key   {keys.secret}",
            "",
            "  Paste this to verify a phone from start to end:",
            "",
            _script(address, simulator, keys.secret),
            "",
        ]
    )


def _script(address: str, simulator: str, key: str) -> str:
    """Shell lines that start a verification, read the digits off the simulator, and check them: curl and sed, nothing else."""
    post = f"curl -sS -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    lines = [
        f"""STARTED=$({post} {address}/verify/start -d '{{"phone": "{_PHONE}"}}'); echo "$STARTED\"""",
        """ID=$(echo "$STARTED" | sed -n 's/.*"id":"\\(vrf_[^"]*\\)".*/\\1/p')""",
        f"""CALLED=$(curl -sS {simulator}/calls/{_DIGITS})""",
        """CODE=$(echo "$CALLED" | sed -n 's/[^[]*\\[{[^}]*"code": *"\\([0-9]*\\)".*/\\1/p')""",
        """echo "The last digits of the number that called: $CODE\"""",
        f"""{post} {address}/verify/check -d "{{\\"id\\": \\"$ID\\", \\"code\\": \\"$CODE\\"}}"; echo""",
    ]
    return "\n".join(lines)


def reachable(host: str) -> str:
    """Where a listening address is reached from this machine, as a URL writes it."""
    if host in {"0.0.0.0", ""}:  # noqa: S104  compared, not bound
        return "127.0.0.1"
    return f"[{'::1' if host == '::' else host}]" if ":" in host else host.lower()
