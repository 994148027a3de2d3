"""The caller's address is the one that the operator's own proxies report; what a stranger writes into headers changes nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from app.api.address import TrustedProxies, normalized

PROXY = "10.0.0.1"
PROXIES = TrustedProxies.parse("10.0.0.0/8, 2001:db8:ffff::/48, 192.0.2.1")
NONE = TrustedProxies()

Headers = list[tuple[bytes, bytes]]


def _x_forwarded_for(*lines: str) -> Headers:
    return [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]


# ---- whose headers count


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (None, [], [PROXY]),
        ("", [], [PROXY]),
        ("  ", [], [PROXY]),
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.0.0.1", "::FFFF:0a00:0001"], ["11.0.0.0", "::10.0.0.1"]),
        ("10.0.0.7/8", ["10.1.2.3"], ["9.255.255.255"]),
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1"]),
        ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["127.0.0.1", "::2"]),
        ("fe80::/10", ["fe80::1", "fe80::1%eth0"], ["fec0::1"]),
        ("::ffff:10.0.0.0/104", ["10.0.0.1", "::ffff:10.0.0.1"], ["11.0.0.1", "::1"]),
        ("::ffff:10.0.0.1", ["10.0.0.1"], ["10.0.0.2"]),
        ("::/1", ["::1"], ["8000::1"]),
        (" 10.0.0.0/8 ,2001:db8::/32,\t127.0.0.1 ", ["10.0.0.1", "2001:db8::1", "127.0.0.1"], ["2001:db9::1"]),
        ("10.0.0.0/255.0.0.0", ["10.0.0.1"], ["11.0.0.1"]),
        ("0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1", ["1.1.1.1"], ["", "nginx", "10.0.0.1:80", "10.0.0", "010.0.0.1", "/run/socket", "\udcff"]),
    ],
)  # fmt: skip
def test_addresses_and_networks_are_trusted(text: str | None, inside: list[str], outside: list[str]) -> None:
    proxies = TrustedProxies.parse(text)
    assert [address for address in inside if address not in proxies] == []
    assert [address for address in outside if address in proxies] == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        *((text, text) for text in ("nginx", "10.0.0.0/33", "10.0.0.1:80", "[::1]", "10.0.0.0/8 127.0.0.1", "fe80::1%eth0")),
        *((text, text) for text in ("010.0.0.1", "167772161")),
        ("10.0.0.0/8,", ""),
        (",", ""),
    ],
)  # fmt: skip
def test_text_that_is_not_a_network_is_refused_with_the_fix(text: str, named: str) -> None:
    said = f"{named!r} is not an address or network: write them like 10.0.0.0/8, 2001:db8::/32"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        TrustedProxies.parse(text)


@pytest.mark.parametrize("text", ["*", "0.0.0.0/0", "::/0", "10.0.0.0/8, 0.0.0.0/0", "192.0.2.1/0"])
def test_everyone_is_no_proxy(text: str) -> None:
    with pytest.raises(ValueError, match="could then claim any address"):
        TrustedProxies.parse(text)


# ---- the walk


@pytest.mark.parametrize(
    ("line", "caller"),
    [
        *((line, "203.0.113.7") for line in ("203.0.113.7", "203.0.113.7:49152", "::ffff:203.0.113.7", "[::ffff:cb00:7107]:1")),
        *((line, "2001:db8::7") for line in ("2001:db8::7", "2001:DB8:0:0::7", "[2001:db8::7]", "[2001:db8::7]:443")),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1,203.0.113.7,10.1.1.1,2001:db8:ffff::1", "203.0.113.7"),
        ("203.0.113.7 ,\t10.1.1.1", "203.0.113.7"),
        (", 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7,, 10.1.1.1,", "203.0.113.7"),
        ("203.0.113.7, ::ffff:10.0.0.8, [::ffff:10.0.0.9]:80", "203.0.113.7"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("10.0.0.9", "10.0.0.9"),
        ("[fe80::7%eth0]:80", "fe80::7"),
        # Text that is not an address ends the walk.
        *((line, PROXY) for line in ("unknown", "203.0.113.\xb2", "\xff\x00", "", " , ,", "203.0.113.7 198.51.100.1")),
        *((f"203.0.113.7, {last}", PROXY) for last in ("unknown", "010.0.0.9", "10.0.0.256", "for=198.51.100.1")),
        *((f"203.0.113.7, {last}", PROXY) for last in ("[2001:db8::7", "2001:db8::7]:1", "[2001:db8::7]1")),
        *((f"203.0.113.7, {last}", PROXY) for last in ("198.51.100.1:http", "198.51.100.1:", f"2001:db8::7%{'x' * 128}")),
        *((f"203.0.113.7, {middle}, 10.0.0.8", "10.0.0.8") for middle in ("unknown", "[]:80", "1.2.3.4.5", "10.0.0.9, unknown")),
    ],
)  # fmt: skip
def test_x_forwarded_for_is_walked_from_the_right(line: str, caller: str) -> None:
    assert PROXIES.address_of(PROXY, _x_forwarded_for(line)) == caller


def test_several_lines_are_one_list_in_their_order() -> None:
    other = (b"accept", b"*/*")
    first, second = _x_forwarded_for("198.51.100.1", "203.0.113.7, 10.1.1.1")
    assert PROXIES.address_of(PROXY, [first, other, second]) == "203.0.113.7"
    assert PROXIES.address_of(PROXY, [second, other, first]) == "198.51.100.1"


def test_only_the_last_fifty_hops_are_looked_at() -> None:
    def caller(hops: int) -> str | None:
        return PROXIES.address_of(PROXY, _x_forwarded_for(", ".join(["203.0.113.7"] + ["10.0.0.9"] * hops)))

    assert caller(49) == "203.0.113.7"
    assert caller(50) == "10.0.0.9"


def test_a_peer_that_has_no_address_has_none() -> None:
    assert PROXIES.address_of(None, _x_forwarded_for("203.0.113.7")) is None
    assert NONE.address_of(None, []) is None
    assert PROXIES.address_of("testclient", _x_forwarded_for("203.0.113.7")) == "testclient"


# ---- what holds for all headers

_PARTS = b'203.0.113.7|[2001:db8::7]:80|10.0.0.2|10.0.0.2:80|[|:|"|unknown|| |\xff'.split(b"|")
_VALUES = st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(_PARTS), max_size=60).map(b",".join))
_NAMES = st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-real-ip", b"accept"])
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=5)
_ADDRESSES: SearchStrategy[str] = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
_STRANGERS: SearchStrategy[str] = _ADDRESSES.filter(lambda address: address not in PROXIES)


@given(_HEADERS, st.one_of(st.none(), st.text(max_size=20), _ADDRESSES, st.just(PROXY)))
def test_no_header_and_no_peer_raises(headers: Headers, peer: str | None) -> None:
    address = PROXIES.address_of(peer, headers)
    assert (address is None) == (peer is None)
    if address is not None:
        assert normalized(address) == address


@given(_HEADERS, _STRANGERS)
def test_an_untrusted_peers_headers_never_change_anything(headers: Headers, peer: str) -> None:
    assert PROXIES.address_of(peer, headers) == normalized(peer)
    assert NONE.address_of(peer, headers) == normalized(peer)
    assert NONE.address_of(PROXY, headers) == PROXY


@given(st.lists(_VALUES, max_size=3), _STRANGERS, st.booleans(), st.lists(st.just("10.0.0.3"), max_size=3))
def test_what_a_stranger_puts_to_the_left_of_x_forwarded_for_changes_nothing(
    strangers: list[bytes], caller: str, own_line: bool, inner: list[str]
) -> None:
    ours = ", ".join([caller, *inner]).encode()
    *lines, last = strangers or [b""]
    lines += [last, ours] if own_line else [last + b", " + ours]
    assert PROXIES.address_of(PROXY, [(b"x-forwarded-for", line) for line in lines]) == normalized(caller)
