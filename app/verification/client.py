"""Who makes a request: a client, for an end user's address, with or without an idempotency key. How it proves to be one is the API's business."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.verification.rates import Rate


class Lane(StrEnum):
    """Which part of every shared budget a request may use (docs/security.md)."""

    PUBLIC = "public"  # a public key: anyone may have it
    TRUSTED = "trusted"  # a secret key, or a device that was approved before


@dataclass(frozen=True, slots=True)
class Client:
    """A page, an app or a backend that may call.

    Attributes:
        id: its name, which owns the verifications that it starts.
        audience: the `aud` of its tokens, and of the tokens that it may redeem.
        calls: its own limits on calls, starts and resends together; none if empty.
        spend: its own caps on what calls cost, counts being units (money.py); none if empty.
        public: whether it is known by a public key.
    """

    id: str
    audience: str
    calls: tuple[Rate, ...] = ()
    spend: tuple[Rate, ...] = ()
    public: bool = False


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that is executed once, however often it is sent.

    Attributes:
        key: its idempotency key, unique to its client.
        body: what it asks for: the same key with another body is an error.
    """

    key: str = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who requests an operation, and for whose address.

    Attributes:
        client: whose key the request has.
        address: the end user's IP address; None from a backend that names none: then no limit by address applies.
        once: set if the request has an idempotency key.
    """

    client: Client
    address: str | None = field(default=None, repr=False)
    once: IdempotentRequest | None = None
