"""Who makes a request: a client, for an end user's address, with or without an idempotency key. How it proves to be one is the API's business."""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv6Address, ip_address, ip_network

from app.verification.limits import Rate


class Lane(StrEnum):
    """Which part of every shared budget a request may use (docs/security.md)."""

    PUBLIC = "public"  # a public key: anyone may have it
    TRUSTED = "trusted"  # a secret key, or a device that was approved before


@dataclass(frozen=True, slots=True)
class Client:
    """A page, an app or a backend that may call."""

    id: str  # its name, which owns the verifications that it starts
    audience: str  # the `aud` of its tokens, and of the tokens that it may redeem
    calls: tuple[Rate, ...] = ()  # its own limits on calls, starts and resends together; none if empty
    spend: tuple[Rate, ...] = ()  # its own caps on what calls cost, counts being units (limits.py); none if empty
    public: bool = False  # whether it is known by a public key


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that is executed once, however often it is sent."""

    key: str = field(repr=False)  # its idempotency key, unique to its client
    body: bytes = field(repr=False)  # what it asks for: the same key with another body is an error


@dataclass(frozen=True, slots=True)
class Caller:
    """Who requests an operation, and for whose address."""

    client: Client
    # The end user's. None from a backend that names none: then no limit by address applies.
    address: str | None = field(default=None, repr=False)
    once: IdempotentRequest | None = None  # set if the request has an idempotency key


@dataclass(frozen=True, slots=True)
class Networks:
    """What an address counts as.

    Attributes:
        host: the address of IPv4, the /64 of IPv6: the other half of an IPv6 address is for its host to choose (RFC 8981).
        site: the /24 of IPv4, the /48 of IPv6: as much as one provider's customer usually has.
        site_limited: whether limits by address count the site too, at four times the limit: for IPv6. A /24 holds strangers to each other.
    """

    host: str
    site: str
    site_limited: bool


def networks_of(address: str) -> Networks:
    """The networks of an address. An IPv4-mapped IPv6 address is its IPv4 address (RFC 4291, section 2.5.5.2). A text that is no address counts as it is."""
    try:
        read = ip_address(address.partition("%")[0])  # a zone is no part of it (RFC 4007, section 11)
    except ValueError:
        return Networks(address, address, site_limited=False)
    if isinstance(read, IPv6Address):
        read = read.ipv4_mapped or read
    v6 = isinstance(read, IPv6Address)
    host, site = (ip_network((read, bits), strict=False) for bits in ((64, 48) if v6 else (32, 24)))
    return Networks(str(host), str(site), site_limited=v6)
