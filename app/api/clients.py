"""Who may call: clients, their keys, and what each kind of key reaches.

Only SHA-256 digests of keys are configured (`CLIENTS_FILE`). A key has 256 random bits, so its plain digest gives nothing away, and looking a
digest up in a table takes a time that tells nothing about a key.
"""

import hashlib
import re
import secrets
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.verification.client import Client
from app.verification.money import parse_caps
from app.verification.rates import parse_rates


class Kind(StrEnum):
    """What a key is for."""

    PUBLIC = "public"  # sits in a page or an app: start, check, resend
    SECRET = "secret"  # belongs to a backend: all routes  # noqa: S105  the name of a kind


PREFIXES = {Kind.PUBLIC: "pk_", Kind.SECRET: "sk_"}


@dataclass(frozen=True, slots=True)
class Registered(Client):
    """A client as the clients file has it.

    Attributes:
        kind: what its keys reach.
        origins: the web origins a public key may be used from.
        native: whether a public key may be used without an `Origin` header, as an app does.
    """

    kind: Kind = Kind.SECRET
    origins: frozenset[str] = frozenset()
    native: bool = False


class ClientsError(ValueError):
    """A clients file that can't be used; the message lists what to mend."""


class Clients:
    """The clients in force, by the digests of their keys."""

    def __init__(self, by_digest: dict[bytes, Registered]) -> None:
        self._by_digest = by_digest
        self.origins = frozenset(origin for client in by_digest.values() for origin in client.origins)

    def __len__(self) -> int:
        return len({client.id for client in self._by_digest.values()})

    def find(self, key: str) -> Registered | None:
        """Whose key this is; None if nobody's."""
        return self._by_digest.get(digest_of(key))

    def listed(self) -> list[tuple[Registered, list[str]]]:
        """Each client with the beginnings of its keys' digests, in the order of their names."""
        found: dict[Registered, list[str]] = {}
        for digest, client in self._by_digest.items():
            found.setdefault(client, []).append(digest.hex()[:8])
        return sorted(found.items(), key=lambda entry: entry[0].id)


def digest_of(key: str) -> bytes:
    """The SHA-256 digest by which a key is known."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def new_key(kind: Kind) -> str:
    """A fresh key with 256 random bits."""
    return PREFIXES[kind] + secrets.token_urlsafe(32)


def clients_entry(  # noqa: PLR0913  an entry's members
    client_id: str,
    kind: Kind,
    key: str,
    origins: tuple[str, ...] = (),
    *,
    native: bool = False,
    audience: str | None = None,
    starts: str | None = None,
    spend: str | None = None,
) -> str:
    """The TOML that puts a key into a clients file. It holds the key's digest, never the key."""
    lines = ["[[client]]", f'id = "{client_id}"', f'kind = "{kind}"', f'key_sha256 = "{digest_of(key).hex()}"']
    if origins:
        lines.append("origins = [" + ", ".join(f'"{origin}"' for origin in origins) + "]")
    if native:
        lines.append("native = true")
    lines += [
        f'{name} = "{value}"' for name, value in (("audience", audience), ("starts", starts), ("spend", spend)) if value
    ]
    return "\n".join(lines) + "\n"


# ---- the clients file

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
CLIENT_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")
AUDIENCE = re.compile(r"^[!-~]{1,128}$")


def _rates(text: str) -> str:
    """Check limits, and leave them a text: its author sees what was written."""
    parse_rates(text)
    return text


def _caps(text: str) -> str:
    parse_caps(text)
    return text


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, StringConstraints(pattern=CLIENT_ID.pattern)]
    kind: Kind
    key_sha256: _Digest | Annotated[list[_Digest], Field(min_length=1)]
    origins: list[str] = []
    native: bool = False
    audience: Annotated[str, StringConstraints(pattern=AUDIENCE.pattern)] | None = None
    starts: Annotated[str, AfterValidator(_rates)] = ""
    spend: Annotated[str, AfterValidator(_caps)] = ""
    guarded: bool = True


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    client: Annotated[list[_Entry], Field(min_length=1)]


def load_clients(path: Path) -> Clients:
    """Read a clients file.

    Raises:
        ClientsError: it can't be read, or something in it can't stand; all of it in one message.
    """
    try:
        return parse_clients(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as fault:
        raise ClientsError(f"{path} can't be read: {getattr(fault, 'strerror', None) or 'it is not UTF-8'}") from fault


def parse_clients(text: str, source: str) -> Clients:
    """Read the text of a clients file; `source` names it in errors. See `load_clients`."""
    try:
        entries = _File.model_validate(tomllib.loads(text)).client
    except ValidationError as fault:
        raise ClientsError("; ".join(_sentence(source, error) for error in fault.errors(include_input=False))) from None
    except (ValueError, RecursionError) as fault:
        # Syntax, but also numbers of thousands of digits and brackets without end.
        raise ClientsError(f"{source} is not TOML: {str(fault)[:200]}") from None
    faults = [f"{source}: {fault}" for entry in entries for fault in _faults(entry)]
    by_digest: dict[bytes, Registered] = {}
    kinds: dict[str, Registered] = {}
    for entry in entries:
        client = _registered(entry)
        if kinds.setdefault(entry.id, client) != client:
            faults.append(f"{source}: the entries of client {entry.id} differ: give them all but the key in common")
        for digest in [entry.key_sha256] if isinstance(entry.key_sha256, str) else entry.key_sha256:
            if bytes.fromhex(digest) in by_digest:
                faults.append(
                    f"{source}: one key_sha256 stands twice (client {entry.id}): make a key of its own for each"
                )
            by_digest[bytes.fromhex(digest)] = client
    if faults:
        raise ClientsError("; ".join(faults))
    return Clients(by_digest)


def _registered(entry: _Entry) -> Registered:
    starts = parse_rates(entry.starts) if entry.starts else ()
    origins = frozenset(entry.origins)
    spend = parse_caps(entry.spend) if entry.spend else ()
    return Registered(
        id=entry.id,
        audience=entry.audience or entry.id,
        starts=starts,
        spend=spend,
        public=entry.kind is Kind.PUBLIC,
        guarded=entry.guarded,
        kind=entry.kind,
        origins=origins,
        native=entry.native,
    )


def _sentence(source: str, error: object) -> str:
    parts = error["loc"] if isinstance(error, dict) else ()
    message = error["msg"] if isinstance(error, dict) else str(error)
    return f"{source}: {'.'.join(str(part) for part in parts)}: {message}"


def _faults(entry: _Entry) -> list[str]:
    faults = []
    if entry.kind is Kind.SECRET and (entry.origins or entry.native):
        faults.append(
            f"client {entry.id} has a secret key, which never goes into a page or an app: leave out origins and native"
        )
    if entry.kind is Kind.PUBLIC and not (entry.origins or entry.native):
        faults.append(f"client {entry.id} has a public key: name its origins, or say native = true for an app")
    if entry.kind is Kind.PUBLIC and not entry.guarded:
        faults.append(f"client {entry.id} has a public key, with which strangers have phones called: leave out guarded")
    faults += [
        f"client {entry.id}: {origin!r} is no origin: write it like https://example.com, without a path or a star"
        for origin in entry.origins
        if not is_origin(origin)
    ]
    return faults


def is_origin(text: str) -> bool:
    """Whether a text is an origin as browsers send it (RFC 6454, section 6.2): scheme and host in lower case, a port, and no more.

    Apps in a web view have schemes of their own: `capacitor://localhost`.
    """
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?", text) or text.startswith(
        "file:"
    ):
        return False
    try:
        port = urlsplit(text).port
    except ValueError:
        return False
    return not (text.startswith("https:") and port == 443) and not (text.startswith("http:") and port == 80)  # noqa: PLR2004  the default ports, which browsers leave out
