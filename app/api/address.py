"""The address that a request comes from.

Anyone who connects can write any header. So `X-Forwarded-For` counts only from the operator's own proxies, and only as far to the left as these
proxies wrote it: each one appends, on the right, the address that connected to it.

uvicorn's own middleware for this header is not used: it does not recognize a proxy in the IPv4-mapped form that a dual-stack listener sees, and it
takes text that is not an address for one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""

FORWARDED_FOR = b"x-forwarded-for"

_MAX_HOPS = 50  # read from the right: no chain of proxies is longer, but a header may be
_MAX_HOP = 128  # characters: an IPv6 address has at most 45, and a port may follow
_MAPPED = IPv6Network("::ffff:0:0/96")
_PORT = re.compile(r"\[([^\]]*)\](?::\d{1,5})?|([^:]*):\d{1,5}")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose `X-Forwarded-For` counts: addresses and networks. Without any, no proxy is trusted."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> "TrustedProxies":
        """Read addresses and networks: `10.0.0.0/8, 2001:db8::/32`; none of a blank text. A ValueError says how to fix what is neither, or everyone."""
        if not text or not text.strip():
            return cls()
        return cls(tuple(_network(part.strip()) for part in text.split(",")))

    def __contains__(self, address: object) -> bool:
        """Whether an address, as text, is a trusted proxy's."""
        read = _address(address) if self.networks and isinstance(address, str) else None
        return read is not None and any(read in network for network in self.networks)

    def address_of(self, peer: str | None, headers: Headers) -> str | None:
        """The address a request comes from: normalized, where it is one.

        A peer that is not a trusted proxy counts itself, whatever its headers say. Behind a trusted one the first address from the right that is
        not a trusted proxy counts; where all are trusted, the leftmost. Text that is not an address ends the walk, and the proxy that wrote it
        counts. No other header counts. `peer` is the other end of the connection; None if it has no address.
        """
        caller = peer and normalized(peer)
        if caller is None or caller not in self:
            return caller
        lines = b",".join(value for name, value in headers if name == FORWARDED_FOR).decode("latin-1")
        for hop in reversed(lines.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]):
            if not (text := hop.strip(" \t")):
                continue
            address = _address(_without_port(text)) if len(text) <= _MAX_HOP else None
            if address is None:
                break
            caller = str(address)
            if caller not in self:
                break
        return caller


def normalized(text: str) -> str:
    """One spelling for each address; an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) is its IPv4 address. Other text stays as it is."""
    address = _address(text)
    return str(address) if address else text


@lru_cache(128)
def _address(text: str) -> Address | None:
    """Read an address, without the zone that a link-local peer may have (RFC 4007, section 11)."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _without_port(hop: str) -> str:
    """`203.0.113.7:443` and `[2001:db8::7]:443` without brackets and port; anything else as it is."""
    match = _PORT.fullmatch(hop)
    return (match[1] or match[2] or "") if match else hop


def _network(text: str) -> Network:
    try:
        network = ip_network(text.replace("%", " "), strict=False)  # a zone is not part of a network
    except ValueError:
        hint = "everyone could then claim any address" if text == "*" else "write them like 10.0.0.0/8, 2001:db8::/32"
        raise ValueError(f"{text!r} is not an address or network: {hint}") from None
    if network.prefixlen == 0:
        raise ValueError(f"{text!r} is everyone, who could then claim any address: list your proxies")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return ip_network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network
