"""Everything the pepper does: it seals the phone into the verification's id and makes the digests that Redis sees.

Redis never holds a phone or a code, only HMAC-SHA-256 digests under keys derived from the pepper (RFC 5869), which lives outside Redis. The
phone comes back with the id: `vrf_` and base64url of

    1 byte    which pepper sealed it
    16 bytes  synthetic IV: encryption and authentication in one (AES-SIV, RFC 5297), so nobody makes up an id
    16 bytes  sealed: 7 bytes of phone and code length, 9 random bytes

so an id is unguessable (128 bits), and a dump of Redis, which holds only a part of the IV, makes none.
A verification keeps the pepper it was born under for its whole life of minutes: a rotation changes nothing under way.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LEAST_PEPPER_BYTES = 32

_PREFIX = "vrf_"
_ID_LENGTH = len(_PREFIX) + 44
_PACKED_PHONE = 7
_SALT = 9
_TAG = 12
_REF = 12
_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Handle:
    """What an id opens to: where its verification lies, whose phone it is, how its code is digested.

    Attributes:
        id: the public id.
        tag: the phone's digest, 96 bits in base64url: the hash tag that all keys of one phone share.
        ref: names this verification under the tag, 96 bits in base64url.
        phone: E.164.
        code_length: digits of its code.
        outdated: it was born under the pepper before this one.
    """

    id: str
    tag: str
    ref: str
    phone: str = field(repr=False)
    code_length: int
    outdated: bool
    _code_key: bytes = field(repr=False)

    def digest(self, code: str) -> bytes:
        """The keyed digest of one of this verification's codes: 16 bytes, of no use under another verification."""
        return hmac.digest(self._code_key, f"{self.ref}:{code}".encode(), "sha256")[:_DIGEST]


class _Pepper:
    """The keys derived from one pepper."""

    __slots__ = ("code_key", "fingerprint", "phone_key", "sealer")

    def __init__(self, pepper: bytes) -> None:
        self.phone_key = _derive(pepper, b"phone")
        self.code_key = _derive(pepper, b"code")
        self.sealer = AESSIV(_derive(pepper, b"id"))
        self.fingerprint = _derive(pepper, b"fingerprint")[:1]

    def tag(self, phone: str) -> str:
        return _text(hmac.digest(self.phone_key, phone.encode(), "sha256")[:_TAG])

    def seal(self, phone: str, code_length: int, salt: bytes) -> bytes:
        packed = (int(phone[1:]) << 3 | code_length).to_bytes(_PACKED_PHONE, "big")
        return self.fingerprint + self.sealer.encrypt(packed + salt, None)

    def open(self, sealed: bytes) -> tuple[str, int] | None:
        try:
            packed = int.from_bytes(self.sealer.decrypt(sealed[1:], None)[:_PACKED_PHONE], "big")
        except InvalidTag:
            return None
        return f"+{packed >> 3}", packed & 0b111


class Keyring:
    """The pepper in force and, while rotating, the one before it."""

    def __init__(self, pepper: bytes, previous: bytes | None = None) -> None:
        """Derive the keys.

        Args:
            pepper: the secret that new verifications use.
            previous: the secret before it: its verifications and its phones' limits stay in force. Keep it set for a day.
        """
        self._current = _Pepper(pepper)
        self._previous = _Pepper(previous) if previous else None

    def __repr__(self) -> str:
        return f"Keyring(rotating={self._previous is not None})"

    def new(self, phone: str, code_length: int) -> Handle:
        """Name a new verification of a phone."""
        sealed = self._current.seal(phone, code_length, secrets.token_bytes(_SALT))
        return self._handle(self._current, _PREFIX + _text(sealed), sealed, phone, code_length)

    def open(self, verification_id: str) -> Handle | None:
        """Open an id that we sealed; None for anything else."""
        if len(verification_id) != _ID_LENGTH or not verification_id.startswith(_PREFIX):
            return None
        try:
            sealed = urlsafe_b64decode(verification_id[len(_PREFIX) :])
        except (Base64Error, ValueError):
            return None
        # The decoder overlooks foreign characters; one verification must have one id.
        if _text(sealed) != verification_id[len(_PREFIX) :]:
            return None
        for pepper in (self._current, self._previous):
            if pepper and hmac.compare_digest(sealed[:1], pepper.fingerprint) and (opened := pepper.open(sealed)):
                return self._handle(pepper, verification_id, sealed, *opened)
        return None

    def previous_tag(self, phone: str) -> str | None:
        """Where the phone's limits lie under the pepper before this one; None when not rotating."""
        return self._previous.tag(phone) if self._previous else None

    def _handle(self, pepper: _Pepper, public: str, sealed: bytes, phone: str, code_length: int) -> Handle:
        ref = _text(sealed[1 : 1 + _REF])
        return Handle(public, pepper.tag(phone), ref, phone, code_length, pepper is not self._current, pepper.code_key)


def _derive(pepper: bytes, purpose: bytes) -> bytes:
    """One key for one purpose."""
    return HKDF(algorithm=SHA256(), length=32, salt=b"lastdigits/1", info=purpose).derive(pepper)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
