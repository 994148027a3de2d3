"""Everything the pepper does: it seals the phone into a verification's id, and makes the digests that Redis sees.

Redis never holds a phone, a code, an address, a client's name, a destination or a purpose, only HMAC-SHA-256 digests and sealed texts under keys that
are derived from the pepper (RFC 5869), which lives outside Redis. The phone comes back with the id: `vrf_` and base64url of

    1 byte    which pepper sealed it
    16 bytes  synthetic IV: encryption and authentication in one (AES-SIV, RFC 5297), so no one makes up an id
    16 bytes  sealed: 7 bytes of phone and whether it is a test number; 9 random bytes, the seed

so an id is unguessable, and a dump of Redis, which holds only a part of the IV, makes none. A device token is sealed the same way.
"""

import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.verification.client import IdempotentRequest

MIN_PEPPER_BYTES = 32
RECURRENCE = 4
"""Bytes of the digest that a code's recurrence is counted under."""

DEVICE_LIFETIME = 180 * 86400
"""Seconds that a device is trusted for its phone."""

_PREFIX = "vrf_"
_DEVICE_PREFIX = "dev_"
_PACKED_PHONE = 7
_SEED = 9
_REF = 12
_TIME = 5
_CACHED = 512
_REMEMBERED = 256


class Pepper:
    """The keys derived from one pepper: digests for lookups, seals for what must come back."""

    def __init__(self, secret: bytes) -> None:
        self._keys = {purpose: _derive(secret, purpose) for purpose in _DIGESTS}
        self._seals = {purpose: AESSIV(_derive(secret, purpose)) for purpose in ("id", "device", "text")}
        self.fingerprint = _derive(secret, "fingerprint")[:1]
        # For names of keys: a start needs each several times, and clients, countries and ranges are few.
        self.digest_cached = lru_cache(_CACHED)(self.digest)

    def digest(self, purpose: str, *parts: str | bytes, size: int = 12) -> str:
        """A keyed digest in hex, of `size` bytes."""
        message = b"\n".join(part if isinstance(part, bytes) else part.encode() for part in parts)
        return hmac.digest(self._keys[purpose], message, "sha256")[:size].hex()

    def seal(self, purpose: str, raw: bytes) -> bytes:
        """Encrypt: the same text gives the same bytes, and no one else can make them."""
        return self.fingerprint + self._seals[purpose].encrypt(raw, None)

    def unseal(self, purpose: str, sealed: bytes) -> bytes | None:
        """What was sealed; None for anything else."""
        if not hmac.compare_digest(sealed[:1], self.fingerprint):
            return None
        try:
            return self._seals[purpose].decrypt(sealed[1:], None)
        except (InvalidTag, ValueError):
            return None


_DIGESTS = ("phone", "code", "request", "address", "subject", "challenge", "recurrence", "client", "destination")


@dataclass(frozen=True, slots=True)
class VerificationRef:
    """What an id opens to: whose phone it is, and how its verification and its codes are named in the store."""

    id: str
    name: str  # names the verification in the store: 12 bytes in hex
    phone: str = field(repr=False)  # E.164
    test: bool  # of a test number: never called, counted apart
    seed: str = field(repr=False)  # with the phone it makes the id again; alone it reveals nothing and makes nothing
    pepper: Pepper = field(repr=False, compare=False)  # that sealed it

    def digest(self, code: str) -> str:
        """The keyed digest of one of this verification's codes: of no use under another verification."""
        return self.pepper.digest("code", self.name, code, size=16)

    def digests(self, digits: str, lengths: Iterable[int]) -> dict[str, str]:
        """The digests of the last digits that a person typed, by their number: as many of `lengths` as there are digits for."""
        return {str(length): self.digest(digits[-length:]) for length in lengths if len(digits) >= length}


@dataclass(frozen=True, slots=True)
class IdempotencyRef:
    """Where the outcome of a request with an idempotency key is kept."""

    key: str = field(repr=False)  # unique to its client; the store names the record by a keyed digest of both
    bodies: tuple[str, ...] = field(repr=False)  # digests of what it asks for, by the pepper in force and the previous


class IdCodec:
    """The pepper in force and, while rotating, the one before it."""

    def __init__(self, pepper: bytes, previous: bytes | None = None) -> None:
        """Derive the keys. New records use `pepper`.

        While `previous` is set, its verifications stay in force, and the store moves its records (store/lua/adopt.lua). Keep it set for a day.
        """
        self.pepper = Pepper(pepper)
        self.previous = Pepper(previous) if previous else None
        self._peppers = (self.pepper, self.previous) if self.previous else (self.pepper,)
        self.open = lru_cache(_REMEMBERED)(self._open)

    def __repr__(self) -> str:
        return f"IdCodec(rotating={self.previous is not None})"

    def new(self, phone: str, *, test: bool = False) -> VerificationRef:
        """Name a new verification of a phone."""
        return _ref(self.pepper, phone, secrets.token_bytes(_SEED), test=test)

    def again(self, ref: VerificationRef, seed: str) -> VerificationRef:
        """The verification of the same phone that once had this seed."""
        raw = bytes.fromhex(seed)
        pepper = next((pepper for pepper in self._peppers if pepper.fingerprint == raw[:1]), self.pepper)
        return _ref(pepper, ref.phone, raw[1:], test=ref.test)

    def _open(self, verification_id: str) -> VerificationRef | None:
        """Open an id that we sealed; None for anything else."""
        sealed = _decoded(_PREFIX, verification_id)
        if sealed is None:
            return None
        for pepper in self._peppers:
            if opened := pepper.unseal("id", sealed):
                packed = int.from_bytes(opened[:_PACKED_PHONE], "big")
                return _named(pepper, sealed, f"+{packed >> 1}", opened[_PACKED_PHONE:], test=bool(packed & 1))
        return None

    def idempotency(self, client: str, operation: str, once: IdempotentRequest) -> IdempotencyRef:
        """Where the outcome of a request with an idempotency key is kept."""
        bodies = tuple(
            pepper.digest("request", client, once.key, operation, once.body, size=16) for pepper in self._peppers
        )
        return IdempotencyRef(once.key, bodies)

    def challenge_key(self) -> bytes:
        """What challenges are signed with."""
        return bytes.fromhex(self.pepper.digest("challenge", size=32))

    def recurrence(self, code: str) -> bytes:
        """The keyed digest that a code's recurrence is counted under: 4 bytes, the same for all phones."""
        return bytes.fromhex(self.pepper.digest("recurrence", code, size=RECURRENCE))

    def subject(self, phone: str) -> str:
        """The keyed digest of a phone that tokens have as `sub`: it names no key of the store's."""
        return self.pepper.digest("subject", phone, size=16)

    def seal_text(self, text: str) -> str:
        """A text that only this service reads back; the same text gives the same seal."""
        return urlsafe_b64encode(self.pepper.seal("text", text.encode())).decode()

    def unseal_text(self, sealed: str | None) -> str | None:
        """The text of a seal; None for none, and for one under a pepper that is not known any more."""
        raw = urlsafe_b64decode(sealed) if sealed else b""
        opened = (pepper.unseal("text", raw) for pepper in self._peppers if raw)
        return next((text.decode() for text in opened if text is not None), None)

    def device(self, phone: str, client: str, now: float | None = None) -> str:
        """A token by which a device that was approved for a phone is known again: sealed, and kept nowhere."""
        issued = int(now or time.time()).to_bytes(_TIME, "big")
        return _DEVICE_PREFIX + _text(self.pepper.seal("device", issued + f"{client}\n{phone}".encode()))

    def knows_device(self, token: str | None, phone: str, client: str) -> bool:
        """Whether a token is one of `device`, for this phone and client, and not too old."""
        sealed = _decoded(_DEVICE_PREFIX, token) if token else None
        if sealed is None:
            return False
        for pepper in self._peppers:
            if opened := pepper.unseal("device", sealed):
                age = time.time() - int.from_bytes(opened[:_TIME], "big")
                return age < DEVICE_LIFETIME and opened[_TIME:] == f"{client}\n{phone}".encode()
        return False


def _ref(pepper: Pepper, phone: str, seed: bytes, *, test: bool) -> VerificationRef:
    packed = (int(phone[1:]) << 1 | test).to_bytes(_PACKED_PHONE, "big")
    return _named(pepper, pepper.seal("id", packed + seed), phone, seed, test=test)


def _named(pepper: Pepper, sealed: bytes, phone: str, seed: bytes, *, test: bool) -> VerificationRef:
    name = sealed[1 : 1 + _REF].hex()
    return VerificationRef(_PREFIX + _text(sealed), name, phone, test, (pepper.fingerprint + seed).hex(), pepper)


def _derive(secret: bytes, purpose: str) -> bytes:
    """One key for one purpose."""
    return HKDF(algorithm=SHA256(), length=32, salt=b"lastdigits/1", info=purpose.encode()).derive(secret)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(prefix: str, text: str) -> bytes | None:
    """The bytes of a token; None if it has another form. One token has one spelling: the decoder alone overlooks foreign characters."""
    if not text.startswith(prefix) or not text.isascii():
        return None
    body = text.removeprefix(prefix)
    try:
        raw = urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except (Base64Error, ValueError):
        return None
    return raw if _text(raw) == body else None
