"""Who may call: clients, their keys, and what each kind of key reaches.

Only SHA-256 digests of keys are configured (`CLIENTS_FILE`). A key has 256 random bits, so its plain digest reveals nothing, and neither does the time
that looking a digest up in a table takes.
"""

import hashlib
import json
import re
import secrets
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from app.api.origins import OPAQUE, allows, canonical_origin, listed_return_url
from app.api.reading import message_of
from app.verification.client import Client
from app.verification.limits import Rate, parse_caps, parse_rates
from app.verification.policy import Policy


class Kind(StrEnum):
    """What a key is for."""

    PUBLIC = "public"  # sits in a page or an app: start, check, resend
    SECRET = "secret"  # belongs to a backend: all routes  # noqa: S105  the name of a kind


PREFIXES = {Kind.PUBLIC: "pk_", Kind.SECRET: "sk_"}


@dataclass(frozen=True, slots=True)
class Registered(Client):
    """A client as the clients file has it.

    Attributes:
        origins: the web origins a public key may be used from.
        native: whether a public key may be used without an `Origin` header, as an app does.
        return_urls: where the hosted page returns to with a token.
    """

    origins: frozenset[str] = frozenset()
    native: bool = False
    return_urls: frozenset[str] = frozenset()

    @property
    def kind(self) -> Kind:
        """What its keys reach."""
        return Kind.PUBLIC if self.public else Kind.SECRET

    def allows(self, origin: str) -> bool:
        """Whether its public key may be used from this origin."""
        return allows(self.origins, origin)


class ClientsError(ValueError):
    """A clients file that can't be used; the message lists what to fix."""


class Clients:
    """The clients in force, by the digests of their keys.

    Attributes:
        warnings: what works and is rarely meant; a sentence each.
    """

    def __init__(self, by_digest: dict[bytes, Registered]) -> None:
        self._by_digest = by_digest
        self._origins = frozenset(origin for client in by_digest.values() for origin in client.origins)
        self.warnings = tuple(
            f"client {client.id} allows the origin {origin!r}, which local files and sandboxed frames of anyone send"
            for client in dict.fromkeys(by_digest.values())
            for origin in sorted(client.origins & OPAQUE)
        )

    def __len__(self) -> int:
        return len({client.id for client in self._by_digest.values()})

    def find(self, key: str) -> Registered | None:
        """Whose key this is; None for an unknown one."""
        return self._by_digest.get(digest_of(key))

    def allows(self, origin: str) -> bool:
        """Whether some client's public key may be used from this origin."""
        return allows(self._origins, origin)

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
    return_urls: tuple[str, ...] = (),
    audience: str | None = None,
    calls: str | None = None,
    spend: str | None = None,
) -> str:
    """The TOML that puts a key into a clients file. It holds the key's digest, never the key."""
    members: dict[str, object] = {"id": client_id, "kind": kind, "key_sha256": digest_of(key).hex(), "origins": origins}
    members |= {"return_urls": return_urls, "native": native, "audience": audience, "calls": calls, "spend": spend}
    # Strings, lists of them and `true` look the same in JSON and TOML.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in members.items() if value]
    return "\n".join(["[[client]]", *lines, ""])


# ---- the clients file

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_AUDIENCE = re.compile(r"[!-~]{1,128}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_KEY = re.compile(rf"\s*(?:{'|'.join(PREFIXES.values())})")


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("up to 40 letters, digits, dots, dashes and underscores, a letter or digit first")
    return text


def _audience(text: str) -> str:
    if not _AUDIENCE.fullmatch(text):
        raise ValueError("up to 128 printable ASCII characters without spaces")
    return text


def _digests(given: object) -> list[bytes]:
    """One digest or several: a client has two keys while it changes them."""
    return [_digest(text) for text in (given if isinstance(given, list) else [given])]


def _digest(text: object) -> bytes:
    if isinstance(text, str) and _DIGEST.fullmatch(text):
        return bytes.fromhex(text)
    if isinstance(text, str) and _KEY.match(text):
        raise ValueError(
            "this is a key, and only its SHA-256 digest belongs here: run `lastdigits keys new` and copy the entry that it "
            "prints. Do not use this key any more: it was in a file"
        )
    raise ValueError("write the 64 hexadecimal digits that `lastdigits keys new` prints")


def _quoted(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError("write it in quotes")  # noqa: TRY004  pydantic collects ValueError
    return given


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, AfterValidator(_id)]
    kind: Kind
    key_sha256: Annotated[list[bytes], BeforeValidator(_digests), Field(min_length=1)]
    origins: list[Annotated[str, AfterValidator(canonical_origin)]] = []
    native: bool = False
    return_urls: list[Annotated[str, AfterValidator(listed_return_url)]] = []
    audience: Annotated[str, AfterValidator(_audience)] | None = None
    calls: Annotated[tuple[Rate, ...], BeforeValidator(parse_rates), BeforeValidator(_quoted)] = ()
    spend: Annotated[tuple[Rate, ...], BeforeValidator(parse_caps), BeforeValidator(_quoted)] = ()

    def registered(self) -> Registered:
        """Return the client of this entry."""
        return Registered(
            id=self.id,
            audience=self.audience or self.id,
            calls=self.calls,
            spend=self.spend,
            public=self.kind is Kind.PUBLIC,
            origins=frozenset(self.origins),
            native=self.native,
            return_urls=frozenset(self.return_urls),
        )

    def problem(self, policy: Policy | None) -> str | None:
        """Return what its members contradict each other in, or the policy."""
        used_by_pages = bool(self.origins or self.native or self.return_urls)
        if self.kind is Kind.SECRET and used_by_pages:
            return f"client {self.id} has a secret key, which never goes into a page or an app: leave out origins, native and return_urls"
        if self.kind is Kind.PUBLIC and not used_by_pages:
            return f"client {self.id} has a public key: list its origins, set native = true for an app, or list return_urls for the hosted page"
        if policy and self.kind is Kind.PUBLIC and not policy.leaves_a_call(self.calls):
            return f"client {self.id}: PUBLIC_SHARE={policy.public_share:g} of its calls leaves strangers no call: raise one of the two"
        return None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    client: list[_Entry] = []


def load_clients(path: Path, policy: Policy | None = None) -> Clients:
    """Read a clients file; with a policy, each public client must have a call under it.

    Raises:
        ClientsError: it can't be read, or something in it is invalid; all of it in one message.
    """
    try:
        return parse_clients(path.read_text("utf-8-sig"), str(path), policy)
    except (OSError, UnicodeDecodeError) as error:
        raise ClientsError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error


def parse_clients(text: str, source: str, policy: Policy | None = None) -> Clients:
    """Read the text of a clients file; `source` names it in errors. See `load_clients`."""
    try:
        data = tomllib.loads(text)
        entries = _File.model_validate(data).client
    except ValidationError as error:
        raise ClientsError("; ".join(_sentence(source, each) for each in error.errors(include_url=False))) from None
    except (ValueError, RecursionError) as error:
        # Syntax, but also numbers of thousands of digits and brackets without end.
        raise ClientsError(f"{source} is not TOML: {str(error)[:200]}") from None
    by_digest: dict[bytes, Registered] = {}
    problems = [problem for entry in entries if (problem := entry.problem(policy))]
    problems += _register(entries, by_digest)
    if not entries:
        problems.append("it has no [[client]]: run `lastdigits keys new` and copy the entry that it prints")
    if problems:
        raise ClientsError("; ".join(f"{source}: {problem}" for problem in problems))
    return Clients(by_digest)


def _register(entries: list[_Entry], by_digest: dict[bytes, Registered]) -> list[str]:
    """Put entries into a table by their digests; what contradicts each other between them."""
    problems: list[str] = []
    known: dict[str, Registered] = {}
    for entry in entries:
        client = entry.registered()
        if known.setdefault(entry.id, client) != client:
            problems.append(f"the entries of client {entry.id} differ: they may differ only in key_sha256")
        for digest in entry.key_sha256:
            if digest in by_digest:
                problems.append(f"one key_sha256 appears twice (client {entry.id}): make a key of its own for each")
            by_digest[digest] = client
    return problems


def _sentence(source: str, error: ErrorDetails) -> str:
    """One thing that is wrong with a file, by the place where it is: `clients.toml: client 2, origins: …`."""
    where = [f"{part + 1}" if isinstance(part, int) else part for part in error["loc"]]
    place = ", ".join([" ".join(where[:2]), *where[2:3]])
    hint = ": the file has the key's digest, as key_sha256" if where[2:] == ["key"] else ""
    said = "write [[client]], in two pairs of brackets" if where == ["client"] else message_of(error)
    return f"{source}: {place}: {said}{hint}"
