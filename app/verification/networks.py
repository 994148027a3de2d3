"""Which networks limits count of an address."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


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


@lru_cache(512)
def networks_of(address: str) -> Networks:
    """The networks of an address. An IPv4-mapped IPv6 address is its IPv4 address (RFC 4291, section 2.5.5.2). A text that is no address counts as it is."""
    read = _read(address)
    if read is None:
        return Networks(address, address, site_limited=False)
    host, site = (64, 48) if read.version == 6 else (32, 24)  # noqa: PLR2004  IPv6
    return Networks(_network(read, host), _network(read, site), site_limited=read.version == 6)  # noqa: PLR2004  IPv6


def _network(address: IPv4Address | IPv6Address, bits: int) -> str:
    return str(ip_network(f"{address}/{bits}", strict=False))


def _read(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])  # a zone is no part of it (RFC 4007, section 11)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
