"""Who asks: a client, from an address, with or without an idempotency key. How it proves to be one is the API's business."""

from dataclasses import dataclass, field

from app.verification.rates import Rate
from app.verification.values import value


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who may call.

    Attributes:
        id: its name, which owns the verifications that it starts.
        audience: the `aud` of its proofs, and of the proofs it may redeem.
        starts: its own limits on calls, starts and resends together; none if empty.
        spend: its own caps on what calls cost, counts being units (money.py); none if empty.
        public: its key is no secret, so anybody may start verifications with it; then challenges are for it (challenge.py).
        guarded: what comes of its calls closes destinations, and closed ones are closed to it (guard.py).
    """

    id: str
    audience: str
    starts: tuple[Rate, ...] = ()
    spend: tuple[Rate, ...] = ()
    public: bool = False
    guarded: bool = True


@value
class IdempotentRequest:
    """A request that must be carried out once, however often it is sent.

    Attributes:
        key: its idempotency key, which nobody else of the same client uses.
        body: what it asks for: the same key with another body is a mistake.
    """

    key: str = field(repr=False)
    body: bytes = field(repr=False)


@value
class Caller:
    """Who asks for an operation, and from where.

    Attributes:
        client: whose key the request bears.
        address: what limits by address count, as `counted` of the API writes it; None: a backend that names no user's address.
        once: set if the request is to be carried out once.
    """

    client: Client
    address: str | None = field(default=None, repr=False)
    once: IdempotentRequest | None = None
