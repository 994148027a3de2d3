"""The address that a request comes from, and what limits count of it.

Whoever connects may write any header. So headers tell an address only where one of the operator's own proxies hands them on, and only as far to
the left as these proxies wrote them: each one appends on the right whom it was asked by.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MOST_HOPS = 50
"""Hops from the right that are looked at: no chain of proxies is longer, but a header may be."""

_LONGEST_HOP = 128
"""Characters: an IPv6 address has 45 at most, a port of Forwarded may be a name."""

_MAPPED = IPv6Network("::ffff:0:0/96")

# An address, with a port or without. RFC 7239, section 6, wants brackets around IPv6; X-Forwarded-For has them only where a port follows.
_NODE = re.compile(
    r"(?:\[([0-9a-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[0-9a-z._-]+))?|([0-9a-f:.]+)", re.ASCII | re.IGNORECASE
)
# name=value; of RFC 7239, section 4. Proxies often leave out the quotes that a colon and brackets need, so an unquoted value may have these.
_PAIR = re.compile(
    r"""(?:([!#$%&'*+.^_`|~0-9a-z-]+)=("(?:[^"\\]|\\.)*"|[^\s",;\\]*)[ \t]*)?(?:;[; \t]*|\Z)""",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose forwarding headers count.

    Attributes:
        networks: their addresses; none trusts nobody.
    """

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> "TrustedProxies":
        """Read addresses and networks: `10.0.0.0/8, 2001:db8::/32, 127.0.0.1`. None and a blank text are none.

        Raises:
            ValueError: one is neither; the message names the mend.
        """
        if not text or not text.strip():
            return cls()
        return cls(tuple(_network(part.strip()) for part in text.split(",")))

    def __contains__(self, address: object) -> bool:
        """Whether an address, as text, is such a proxy's."""
        read = _address(address) if isinstance(address, str) else None
        return read is not None and self._trusts(read)

    def address_of(self, peer: str | None, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """The address a request comes from.

        A peer that is no trusted proxy counts itself, whatever its headers say. Behind a trusted one the first address from the right that is no
        trusted proxy counts, in `Forwarded` (RFC 7239, section 4) or in `X-Forwarded-For`; where all are trusted, the leftmost. What is no address
        (`unknown`, `_hidden`, nonsense) ends the walk, and the proxy that told it counts. No other header does.

        A proxy manages one of the two headers and may hand on the other as a stranger wrote it, and which one it manages can't be seen. So where
        both are there they must lead to one address. If they don't, the peer counts,
        one for all who do so: a stranger has a second address then, and no third.

        Args:
            peer: the address at the other end of the connection; None if it has none.
            headers: as ASGI has them: names in lower case.
        """
        if not self.networks or peer is None or peer not in self:
            return peer
        callers = set()
        for name, hops_of in _HEADERS:
            if lines := [value for header, value in headers if header == name]:
                callers.add(self._caller(peer, hops_of(b",".join(lines).decode("latin-1"))))
        callers.discard(None)
        return callers.pop() if len(callers) == 1 else peer

    def _caller(self, peer: str, hops: Iterator[str | None]) -> str | None:
        """Walk a header's hops, the last one first; None if it has none."""
        caller = None
        for hop in hops:
            read = _address(hop) if hop else None
            if read is None:
                return caller or peer
            caller = str(read)
            if not self._trusts(read):
                break
        return caller

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


@lru_cache(4096)
def counted(address: str) -> str:
    """What limits count an address by: IPv4 whole, IPv6 as its /64 (`2001:db8:1:2::/64`).

    The other half of an IPv6 address is for its host to choose, as often as it likes (RFC 8981). An IPv4-mapped IPv6 address (RFC 4291, section
    2.5.5.2) is its IPv4 address. A text that is no address counts as it is.
    """
    read = _address(address)
    if isinstance(read, IPv6Address):
        return str(IPv6Network((int(read) >> 64 << 64, 64)))
    return str(read) if read else address


@lru_cache(4096)
def _address(text: str) -> Address | None:
    """Read an address; an IPv4-mapped one as IPv4, and without the zone that a link-local peer may have (RFC 4007, section 11)."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _network(text: str) -> Network:
    try:
        network = ip_network(text.replace("%", " "), strict=False)  # a zone is no part of a network
    except ValueError:
        raise ValueError(f"{text!r} is no address or network: write them like 10.0.0.0/8, 2001:db8::/32") from None
    if network.prefixlen == 0:
        raise ValueError(f"{text!r} is everybody, who could then claim any address: name your proxies")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return ip_network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


# ---- hops: from right to left, None for one that is no address


def _of_x_forwarded_for(text: str) -> Iterator[str | None]:
    for hop in _pieces(text):
        if stripped := hop.strip(" \t"):
            yield _node(stripped)


def _of_forwarded(text: str) -> Iterator[str | None]:
    """Cut at the commas that stand in no quoted string.

    Quotes are counted from the right too. Counted from the left, one that a stranger opens and never closes would swallow what our proxy appends.
    """
    pieces: list[str] = []
    quotes = 0
    for piece in _pieces(text):
        pieces.insert(0, piece)
        quotes += _quotes(piece)
        if quotes % 2 == 0:
            if element := ",".join(pieces).strip(" \t"):
                yield _node(_for_of(element))
            pieces = []
    if pieces:
        yield None


_HEADERS = ((b"forwarded", _of_forwarded), (b"x-forwarded-for", _of_x_forwarded_for))


def _pieces(text: str) -> Iterator[str]:
    return reversed(text.rsplit(",", _MOST_HOPS)[-_MOST_HOPS:])


def _quotes(text: str) -> int:
    """How many quotes begin or end a string: one after a backslash does neither (RFC 9110, section 5.6.4)."""
    return text.replace("\\\\", "").replace('\\"', "").count('"')


def _for_of(element: str) -> str:
    """The value of the one `for` parameter; empty where there is none, more than one, or anything that is no parameter."""
    values = []
    at = 0
    while at < len(element):
        pair = _PAIR.match(element, at)
        if not pair:
            return ""
        if pair[1] and pair[1].lower() == "for":
            values.append(pair[2])
        at = pair.end()
    if len(values) != 1:
        return ""
    quoted = values[0].startswith('"')
    return re.sub(r"\\(.)", r"\1", values[0][1:-1]) if quoted else values[0]


def _node(text: str) -> str | None:
    match = _NODE.fullmatch(text) if len(text) <= _LONGEST_HOP else None
    return match[1] or match[2] or match[3] if match else None
