"""Everything the pepper does: it seals the phone into the verification's id and makes the digests that Redis sees.

Redis never holds a phone or a code, only HMAC-SHA-256 digests under keys derived from the pepper (RFC 5869), which lives outside Redis. The
phone comes back with the id: `vrf_` and base64url of

    1 byte    which pepper sealed it
    16 bytes  synthetic IV: encryption and authentication in one (AES-SIV, RFC 5297), so nobody makes up an id
    16 bytes  sealed: 7 bytes of phone, code length and whether it is a test number; 9 random bytes

so an id is unguessable (128 bits), and a dump of Redis, which holds only a part of the IV, makes none.
A verification keeps the pepper it was born under for its whole life of minutes: a rotation changes nothing under way.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from dataclasses import field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.verification.client import IdempotentRequest
from app.verification.values import value

MIN_PEPPER_BYTES = 32
RECURRENCE = 4
"""Bytes of the digest that a code's recurrence is counted under."""

_PREFIX = "vrf_"
_ID_LENGTH = len(_PREFIX) + 44
_PACKED_PHONE = 7
_RANDOM = 9
_TAG = 12
_REF = 12
_DIGEST = 16
_REMEMBERED = 4096
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class _Pepper:
    """The keys derived from one pepper."""

    __slots__ = (
        "address_key",
        "challenge_key",
        "code_key",
        "fingerprint",
        "phone_key",
        "recurrence_key",
        "request_key",
        "sealer",
        "subject_key",
    )

    def __init__(self, pepper: bytes) -> None:
        self.phone_key = _derive(pepper, b"phone")
        self.code_key = _derive(pepper, b"code")
        self.request_key = _derive(pepper, b"request")
        self.address_key = _derive(pepper, b"address")
        self.subject_key = _derive(pepper, b"subject")
        self.challenge_key = _derive(pepper, b"challenge")
        self.recurrence_key = _derive(pepper, b"recurrence")
        self.sealer = AESSIV(_derive(pepper, b"id"))
        self.fingerprint = _derive(pepper, b"fingerprint")[:1]

    def tag(self, phone: str, *, test: bool) -> str:
        # A test number's records lie apart from those of the phone that may have that number.
        return _text(hmac.digest(self.phone_key, (b"test " if test else b"") + phone.encode(), "sha256")[:_TAG])

    def seal(self, phone: str, seed: bytes) -> bytes:
        packed = (int(phone[1:]) << 4 | seed[0]).to_bytes(_PACKED_PHONE, "big")
        return self.fingerprint + self.sealer.encrypt(packed + seed[1:], None)

    def open(self, sealed: bytes) -> tuple[str, bytes] | None:
        """The phone and the seed of an id that this pepper sealed."""
        try:
            opened = self.sealer.decrypt(sealed[1:], None)
        except InvalidTag:
            return None
        packed = int.from_bytes(opened[:_PACKED_PHONE], "big")
        return f"+{packed >> 4}", bytes([packed & 0b1111]) + opened[_PACKED_PHONE:]

    def idempotency(self, client: str, operation: str, once: IdempotentRequest) -> "IdempotencyRef":
        name = hmac.digest(self.request_key, f"{client}\n{once.key}".encode(), "sha256")
        body = hmac.digest(self.request_key, name + operation.encode() + b"\n" + once.body, "sha256")
        return IdempotencyRef(_text(name[:_DIGEST]), body[:_DIGEST])


@value
class VerificationRef:
    """What an id opens to: where its verification lies, whose phone it is, how its code is digested.

    Attributes:
        id: the public id.
        tag: the phone's digest, 96 bits in base64url: the hash tag that all keys of one phone share.
        ref: names this verification under the tag, 96 bits in base64url.
        phone: E.164.
        code_length: digits of its code.
        test: of a test number: never called, counted apart.
        outdated: it was born under the pepper before this one.
        seed: with the phone it makes the id again: 1 byte of code length and test, 9 random ones. Alone it tells nothing and makes nothing.
    """

    id: str
    tag: str
    ref: str
    phone: str = field(repr=False)
    code_length: int
    test: bool
    outdated: bool
    seed: bytes = field(repr=False)
    _pepper: _Pepper = field(repr=False, compare=False)

    def digest(self, code: str) -> bytes:
        """The keyed digest of one of this verification's codes: 16 bytes, of no use under another verification."""
        return hmac.digest(self._pepper.code_key, f"{self.ref}:{code}".encode(), "sha256")[:_DIGEST]

    def longer(self, code_length: int) -> "VerificationRef":
        """The same verification, if its code had so many digits."""
        return self.again(bytes([self.test << 3 | code_length]) + self.seed[1:])

    def again(self, seed: bytes) -> "VerificationRef":
        """The verification of the same phone that once had this seed."""
        sealed = self._pepper.seal(self.phone, seed)
        tag = self.tag if seed[0] >> 3 == self.test else None
        return _named(self._pepper, _PREFIX + _text(sealed), sealed, self.phone, seed, outdated=self.outdated, tag=tag)


@value
class IdempotencyRef:
    """Where the outcome of a request with an idempotency key is kept.

    Attributes:
        name: keyed digest of client and key.
        body: keyed digest of what was asked for: 16 bytes.
    """

    name: str
    body: bytes = field(repr=False)


class IdCodec:
    """The pepper in force and, while rotating, the one before it."""

    def __init__(self, pepper: bytes, previous: bytes | None = None) -> None:
        """Derive the keys.

        Args:
            pepper: the secret that new verifications use.
            previous: the secret before it: its verifications, its phones' limits and its idempotency keys stay in force. Keep it set for a day.
        """
        self._current = _Pepper(pepper)
        self._previous = _Pepper(previous) if previous else None
        self._young: dict[str, VerificationRef] = {}
        self._old: dict[str, VerificationRef] = {}

    def __repr__(self) -> str:
        return f"IdCodec(rotating={self._previous is not None})"

    def new(self, phone: str, code_length: int, *, test: bool = False) -> VerificationRef:
        """Name a new verification of a phone."""
        seed = bytes([test << 3 | code_length]) + secrets.token_bytes(_RANDOM)
        return _handle(self._current, phone, seed, outdated=False)

    def before(self, ref: VerificationRef) -> VerificationRef | None:
        """Where the same phone's records lie under the pepper before this one; None when not rotating."""
        if self._previous is None or ref.outdated:
            return None
        return _handle(self._previous, ref.phone, ref.seed, outdated=True)

    def open(self, verification_id: str) -> VerificationRef | None:
        """Open an id that we sealed; None for anything else."""
        ref = self._young.get(verification_id) or self._old.get(verification_id)
        if ref is None and (ref := self._open(verification_id)):
            self.remember(ref)
        return ref

    def remember(self, ref: VerificationRef) -> None:
        """Keep a handle for when its id comes back, with each check: opening one anew takes 9 µs.

        Kept are the newest 4,096 to 8,192, some 600 bytes each.
        """
        if len(self._young) >= _REMEMBERED:
            self._young, self._old = {}, self._young
        self._young[ref.id] = ref

    def _open(self, verification_id: str) -> VerificationRef | None:
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
                return _named(pepper, verification_id, sealed, *opened, outdated=pepper is not self._current)
        return None

    def idempotency(self, ref: VerificationRef, client: str, operation: str, once: IdempotentRequest) -> IdempotencyRef:
        """Where the outcome of a request with an idempotency key is kept, under the pepper of its verification."""
        return ref._pepper.idempotency(client, operation, once)  # noqa: SLF001  one room's two classes

    def address(self, address: str) -> str:
        """The keyed digest that limits by address count under: 96 bits in base64url."""
        return _text(hmac.digest(self._current.address_key, address.encode(), "sha256")[:_TAG])

    def challenge_key(self) -> bytes:
        """What challenges are signed with."""
        return self._current.challenge_key

    def recurrence(self, code: str) -> bytes:
        """The keyed digest that a code's recurrence is counted under: 4 bytes, the same for all phones."""
        return hmac.digest(self._current.recurrence_key, code.encode(), "sha256")[:RECURRENCE]

    def subject(self, phone: str) -> str:
        """The keyed digest of a phone that proofs carry as `sub`: it names no key of the store's."""
        return _text(hmac.digest(self._current.subject_key, phone.encode(), "sha256")[:_DIGEST])


def _handle(pepper: _Pepper, phone: str, seed: bytes, *, outdated: bool) -> VerificationRef:
    sealed = pepper.seal(phone, seed)
    return _named(pepper, _PREFIX + _text(sealed), sealed, phone, seed, outdated=outdated)


def _named(  # noqa: PLR0913  all that an id holds
    pepper: _Pepper, public: str, sealed: bytes, phone: str, seed: bytes, *, outdated: bool, tag: str | None = None
) -> VerificationRef:
    code_length, test = seed[0] & 0b111, bool(seed[0] & 0b1000)
    tag = tag or pepper.tag(phone, test=test)
    return VerificationRef(public, tag, _ref(sealed), phone, code_length, test, outdated, seed, pepper)


def _derive(pepper: bytes, purpose: bytes) -> bytes:
    """One key for one purpose."""
    return HKDF(algorithm=SHA256(), length=32, salt=b"lastdigits/1", info=purpose).derive(pepper)


def _ref(sealed: bytes) -> str:
    return _text(sealed[1 : 1 + _REF])


def _text(raw: bytes) -> str:
    """base64url without padding, at half the price of `urlsafe_b64encode`."""
    return b2a_base64(raw, newline=False).translate(_URL_SAFE).rstrip(b"=").decode()
