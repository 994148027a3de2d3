"""Who asks is who the operator's own proxies say it is; what a stranger writes into headers changes nothing."""

import pickle
from ipaddress import IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from app.api.address import TrustedProxies, counted

PROXY = "10.0.0.1"
PROXIES = TrustedProxies.parse("10.0.0.0/8, 2001:db8:ffff::/48, 192.0.2.1")
NOBODY = TrustedProxies.parse(None)

Headers = list[tuple[bytes, bytes]]


def _forwarded(*lines: str) -> Headers:
    return [(b"forwarded", line.encode("latin-1")) for line in lines]


def _x_forwarded_for(*lines: str) -> Headers:
    return [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]


# ---- whose headers count


@pytest.mark.parametrize("text", [None, "", "  "])
def test_without_proxies_nobody_is_trusted(text: str | None) -> None:
    assert TrustedProxies.parse(text) == TrustedProxies()
    assert PROXY not in TrustedProxies.parse(text)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (
            "10.0.0.0/8",
            ["10.0.0.0", "10.255.255.255", "::ffff:10.0.0.1", "::FFFF:0a00:0001"],
            ["11.0.0.0", "::10.0.0.1"],
        ),
        ("10.0.0.7/8", ["10.1.2.3"], ["9.255.255.255"]),
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1"]),
        ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["127.0.0.1", "::2"]),
        ("fe80::/10", ["fe80::1", "fe80::1%eth0"], ["fec0::1"]),
        ("::ffff:10.0.0.0/104", ["10.0.0.1", "::ffff:10.0.0.1"], ["11.0.0.1", "::1"]),
        ("::ffff:10.0.0.1", ["10.0.0.1"], ["10.0.0.2"]),
        ("::/1", ["::1"], ["8000::1"]),
        (" 10.0.0.0/8 ,2001:db8::/32,\t127.0.0.1 ", ["10.0.0.1", "2001:db8::1", "127.0.0.1"], ["2001:db9::1"]),
        ("10.0.0.0/255.0.0.0", ["10.0.0.1"], ["11.0.0.1"]),
    ],
)
def test_addresses_and_networks_are_trusted(text: str, inside: list[str], outside: list[str]) -> None:
    proxies = TrustedProxies.parse(text)
    assert [address for address in inside if address not in proxies] == []
    assert [address for address in outside if address in proxies] == []


@pytest.mark.parametrize(
    "address", ["", "nginx", "10.0.0.1:80", "10.0.0", "010.0.0.1", "10.0.0.1 ", "/run/socket", "\udcff"]
)
def test_what_is_no_address_is_no_proxy(address: str) -> None:
    assert address not in TrustedProxies.parse("0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nginx", "'nginx'"),
        ("*", r"'\*'"),
        ("10.0.0.0/33", "'10.0.0.0/33'"),
        ("10.0.0.1:80", "'10.0.0.1:80'"),
        ("[::1]", r"'\[::1\]'"),
        ("10.0.0.0/8 127.0.0.1", "'10.0.0.0/8 127.0.0.1'"),
        ("10.0.0.0/8,", "''"),
        (",", "''"),
        ("fe80::1%eth0", "'fe80::1%eth0'"),
        ("010.0.0.1", "'010.0.0.1'"),
        ("167772161", "'167772161'"),
    ],
)
def test_what_is_no_network_is_refused_with_the_mend(text: str, told: str) -> None:
    with pytest.raises(
        ValueError, match=f"^{told} is no address or network: write them like 10.0.0.0/8, 2001:db8::/32$"
    ):
        TrustedProxies.parse(text)


def test_proxies_survive_the_way_to_a_worker() -> None:
    assert pickle.loads(pickle.dumps(PROXIES)) == PROXIES
    assert PROXY in pickle.loads(pickle.dumps(PROXIES))


# ---- the walk


@pytest.mark.parametrize(
    ("line", "caller"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:49152", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:cb00:7107]:1", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1,203.0.113.7,10.1.1.1,2001:db8:ffff::1", "203.0.113.7"),
        ("203.0.113.7 ,\t10.1.1.1", "203.0.113.7"),
        (", 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7,, 10.1.1.1,", "203.0.113.7"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("10.0.0.9", "10.0.0.9"),
        # What is no address ends the walk.
        ("unknown", PROXY),
        ("203.0.113.7, unknown", PROXY),
        ("203.0.113.7, unknown, 10.0.0.8", "10.0.0.8"),
        ("203.0.113.7, 10.0.0.9, fe80::1%eth0, 10.0.0.8", "10.0.0.8"),
        ("203.0.113.7, 1.2.3.4.5, 10.0.0.8", "10.0.0.8"),
        ("203.0.113.7, 010.0.0.9", PROXY),
        ("203.0.113.7, 10.0.0.256", PROXY),
        ("203.0.113.7, [2001:db8::7", PROXY),
        ("203.0.113.7, 2001:db8::7]:1", PROXY),
        ("203.0.113.7, [2001:db8::7]1", PROXY),
        ("203.0.113.7, 198.51.100.1:http", PROXY),
        ("203.0.113.7, 198.51.100.1:", PROXY),
        ("203.0.113.7, for=198.51.100.1", PROXY),
        ("203.0.113.7 198.51.100.1", PROXY),
        ("203.0.113.\xb2", PROXY),
        ("\xff\x00", PROXY),
        ("", PROXY),
        (" , ,", PROXY),
    ],
)
def test_x_forwarded_for_is_walked_from_the_right(line: str, caller: str) -> None:
    assert PROXIES.address_of(PROXY, _x_forwarded_for(line)) == caller


@pytest.mark.parametrize(
    ("line", "caller"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=203.0.113.7", "203.0.113.7"),
        ('FOR="203.0.113.7:49152"', "203.0.113.7"),
        ('for="203.0.113.7:_hidden"', "203.0.113.7"),
        ('for="[2001:db8::7]"', "2001:db8::7"),
        ('for="[2001:DB8:0::7]:4711"', "2001:db8::7"),
        ('for="[2001:db8::7]:_port.9-a"', "2001:db8::7"),
        (r'for="203\.0.113\.7"', "203.0.113.7"),
        ('for="[::ffff:203.0.113.7]"', "203.0.113.7"),
        ("for=203.0.113.7;proto=https;by=198.51.100.1", "203.0.113.7"),
        ('by="[2001:db8::1]:80";for=203.0.113.7;host="a.example:80"', "203.0.113.7"),
        ("for=203.0.113.7; proto=https ;by=_x", "203.0.113.7"),
        (";;for=203.0.113.7;", "203.0.113.7"),
        ("for=198.51.100.1, for=203.0.113.7;proto=http , for=10.1.1.1", "203.0.113.7"),
        ("for=203.0.113.7,, for=10.1.1.1,", "203.0.113.7"),
        ('for=203.0.113.7;host="a,b", for=10.1.1.1;host="c, for=198.51.100.1;by=_x"', "203.0.113.7"),
        (r'for=203.0.113.7;host="x, for=198.51.100.1;by=\""', "203.0.113.7"),
        (r'for=203.0.113.7;host="x\\"', "203.0.113.7"),
        # Quotes that a proxy should have written.
        ("for=203.0.113.7:49152", "203.0.113.7"),
        ("for=[2001:db8::7]:4711", "2001:db8::7"),
        ("for=2001:db8::7", "2001:db8::7"),
        ("for=10.0.0.9, for=10.0.0.8", "10.0.0.9"),
        # What is no address ends the walk.
        ("for=unknown", PROXY),
        ('for="unknown:80"', PROXY),
        ("for=_gazonk", PROXY),
        ('for="_gazonk:80", for=10.0.0.8', "10.0.0.8"),
        ("for=203.0.113.7, for=Unknown, for=10.0.0.8", "10.0.0.8"),
        ("for=203.0.113.7, proto=https", PROXY),
        ("for=203.0.113.7, by=198.51.100.1", PROXY),
        ("for=203.0.113.7;for=198.51.100.1", PROXY),
        ("for=203.0.113.7;FOR=203.0.113.7", PROXY),
        ('for="203.0.113.7', PROXY),
        ('for=203.0.113.7"', PROXY),
        ('for="203.0.113.7"x', PROXY),
        ("for =203.0.113.7", PROXY),
        ("for= 203.0.113.7", PROXY),
        ("for=203.0.113.7 proto=https", PROXY),
        ("for=", PROXY),
        ('for=""', PROXY),
        ("for", PROXY),
        ("203.0.113.7", PROXY),
        ('for="fe80::1%eth0"', PROXY),
        ('for="[fe80::1%25eth0]"', PROXY),
        ("for=203.0.113.7;\xe9=1", PROXY),
        ("", PROXY),
        (",", PROXY),
    ],
)
def test_forwarded_is_walked_from_the_right(line: str, caller: str) -> None:
    assert PROXIES.address_of(PROXY, _forwarded(line)) == caller


def test_several_lines_are_one_list_in_their_order() -> None:
    other = (b"accept", b"*/*")
    first, second = _x_forwarded_for("198.51.100.1", "203.0.113.7, 10.1.1.1")
    assert PROXIES.address_of(PROXY, [first, other, second]) == "203.0.113.7"
    assert PROXIES.address_of(PROXY, [second, other, first]) == "198.51.100.1"
    first, second = _forwarded('for=198.51.100.1;host="', "for=203.0.113.7")
    assert PROXIES.address_of(PROXY, [first, second]) == "203.0.113.7"


@pytest.mark.parametrize(
    "name", [b"x-real-ip", b"true-client-ip", b"cf-connecting-ip", b"client-ip", b"x-forwarded", b"via"]
)
def test_no_other_header_counts(name: bytes) -> None:
    assert PROXIES.address_of(PROXY, [(name, b"203.0.113.7")]) == PROXY
    headers = [(name, b"198.51.100.1"), *_x_forwarded_for("203.0.113.7")]
    assert PROXIES.address_of(PROXY, headers) == "203.0.113.7"


@pytest.mark.parametrize(
    ("forwarded", "x_forwarded_for", "caller"),
    [
        ("for=203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ('for="[2001:db8::7]:1"', "2001:db8:0::7", "2001:db8::7"),
        ("for=198.51.100.1, for=203.0.113.7", "192.0.2.9, 203.0.113.7, 10.0.0.8", "203.0.113.7"),
        ("for=203.0.113.7", "198.51.100.1", PROXY),
        ("for=203.0.113.7", "unknown", PROXY),
        ("for=_hidden", "203.0.113.7", PROXY),
        ('for="', "203.0.113.7", PROXY),
        # An empty list tells nothing, so the other header is alone.
        ("", "203.0.113.7", "203.0.113.7"),
        ("for=203.0.113.7", " ,", "203.0.113.7"),
        ("", "", PROXY),
    ],
)
def test_two_headers_must_lead_to_one_address(forwarded: str, x_forwarded_for: str, caller: str) -> None:
    headers = [*_forwarded(forwarded), *_x_forwarded_for(x_forwarded_for)]
    assert PROXIES.address_of(PROXY, headers) == caller
    assert PROXIES.address_of(PROXY, headers[::-1]) == caller


def test_only_the_last_fifty_hops_are_looked_at() -> None:
    def caller(hops: int) -> str | None:
        return PROXIES.address_of(PROXY, _x_forwarded_for(", ".join(["203.0.113.7"] + ["10.0.0.9"] * hops)))

    assert caller(49) == "203.0.113.7"
    assert caller(50) == "10.0.0.9"
    elements = ["for=203.0.113.7"] + ["for=10.0.0.9"] * 50
    assert PROXIES.address_of(PROXY, _forwarded(",".join(elements[:50]))) == "203.0.113.7"
    assert PROXIES.address_of(PROXY, _forwarded(",".join(elements))) == "10.0.0.9"


def test_a_peer_that_has_no_address_has_none() -> None:
    assert PROXIES.address_of(None, _x_forwarded_for("203.0.113.7")) is None
    assert NOBODY.address_of(None, []) is None
    assert PROXIES.address_of("testclient", _x_forwarded_for("203.0.113.7")) == "testclient"


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8:ffff::1"])
def test_a_trusted_peer_is_known_by_any_spelling(peer: str) -> None:
    assert PROXIES.address_of(peer, _x_forwarded_for("203.0.113.7")) == "203.0.113.7"
    assert PROXIES.address_of(peer, []) == peer


# ---- what holds for all headers

_LIKELY = st.text(st.sampled_from('for=FOR=by=host=",;\\ \t:[]_.%0123456789abcdefx-\xff\x00'), max_size=60).map(
    lambda text: text.encode("latin-1")
)
_ELEMENTS = st.lists(
    st.sampled_from(
        [
            b"for=203.0.113.7",
            b'for="[2001:db8::7]:80"',
            b"for=10.0.0.2",
            b"10.0.0.2",
            b"198.51.100.1",
            b'host="',
            b'"',
            b"\\",
            b'for="',
            b"unknown",
            b"",
        ]
    ),
    max_size=60,
).map(b",".join)
_VALUES = st.one_of(st.binary(max_size=80), _LIKELY, _ELEMENTS)
_NAMES = st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-real-ip", b"accept"])
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=5)
_ADDRESSES: SearchStrategy[str] = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@given(_HEADERS, st.one_of(st.none(), st.text(max_size=20), _ADDRESSES, st.just(PROXY)))
def test_no_header_and_no_peer_raises(headers: Headers, peer: str | None) -> None:
    address = PROXIES.address_of(peer, headers)
    if address is not None:
        counted(address)
    if peer == PROXY:
        assert address is not None
        assert address == counted(address) or ":" in address


@given(_HEADERS, _ADDRESSES.filter(lambda address: address not in PROXIES))
def test_an_untrusted_peers_headers_never_change_anything(headers: Headers, peer: str) -> None:
    assert PROXIES.address_of(peer, headers) == peer
    assert NOBODY.address_of(peer, headers) == peer
    assert NOBODY.address_of(PROXY, headers) == PROXY


_CALLERS: SearchStrategy[str] = _ADDRESSES.filter(lambda address: address not in PROXIES)


@given(st.lists(_VALUES, max_size=3), _CALLERS, st.booleans(), st.lists(st.just("10.0.0.3"), max_size=3))
def test_what_a_stranger_puts_to_the_left_of_x_forwarded_for_changes_nothing(
    strangers: list[bytes], caller: str, own_line: bool, inner: list[str]
) -> None:
    ours = ", ".join([caller, *inner]).encode()
    *lines, last = strangers or [b""]
    lines += [last, ours] if own_line else [last + b", " + ours]
    alone = PROXIES.address_of(PROXY, [(b"x-forwarded-for", ours)])
    assert PROXIES.address_of(PROXY, [(b"x-forwarded-for", line) for line in lines]) == alone
    assert counted(alone or "") == counted(caller)


_HOSTS = st.text(st.sampled_from('for=203.0.113.7,;:"\\ x'), max_size=30)


@given(st.lists(_VALUES, max_size=3), _CALLERS, st.booleans(), _HOSTS)
@example([b'for="'], "203.0.113.9", False, "")
@example([b'x="'], "203.0.113.9", False, ";for=198.51.100.1")
@example([], "203.0.113.9", False, 'x", for=198.51.100.1;by="')
@example([], "203.0.113.9", False, "x, for=198.51.100.1;by=_x")
@example([b"\\"], "203.0.113.9", False, "\\")
def test_what_a_stranger_puts_to_the_left_of_forwarded_or_into_its_host_changes_nothing(
    strangers: list[bytes], caller: str, own_line: bool, host: str
) -> None:
    """The proxy appends an element whose host the stranger chose, quoted as RFC 9110 has it."""
    quoted = host.replace("\\", "\\\\").replace('"', '\\"')
    node = f'"[{caller}]:80"' if ":" in caller else caller
    ours = f'for={node};host="{quoted}";proto=https'.encode()
    *lines, last = strangers or [b""]
    lines += [last, ours] if own_line else [last + b", " + ours]
    found = PROXIES.address_of(PROXY, [(b"forwarded", line) for line in lines])
    assert counted(found or "") == counted(caller)


@given(_HEADERS, _CALLERS)
def test_the_header_that_a_proxy_does_not_manage_leads_nowhere_else(headers: Headers, caller: str) -> None:
    """A stranger fills in the other header: the caller's address counts, or the proxy's, never one of the stranger's choice."""
    others = [(name, value) for name, value in headers if name != b"x-forwarded-for"]
    found = PROXIES.address_of(PROXY, [*others, (b"x-forwarded-for", caller.encode())])
    assert counted(found or "") in {counted(caller), PROXY}


# ---- what limits count


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:CB00:7107", "203.0.113.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:0db8:0001:0003:0000:0000:0000:0000", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_limits_count_ipv4_whole_and_ipv6_by_its_64(address: str, counts_as: str) -> None:
    assert counted(address) == counts_as


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_spellings_of_a_64_count_as_one(address: IPv6Address, host: int) -> None:
    neighbour = IPv6Address(int(address) >> 64 << 64 | host)
    mapped = address.ipv4_mapped or neighbour.ipv4_mapped
    spellings = {str(address), address.exploded, address.exploded.upper(), address.compressed, f"{address}%eth0"}
    assert len({counted(each) for each in spellings}) == 1
    if not mapped:
        assert counted(str(neighbour)) == counted(str(address))
        elsewhere = IPv6Address(int(address) ^ 1 << 64)
        assert counted(str(elsewhere)) != counted(str(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_and_its_mapped_form_count_as_one(address: object) -> None:
    assert counted(f"::ffff:{address}") == counted(str(address)) == str(address)
