"""The clients file: what may be in it, and what is refused with the fix; origins, and addresses that the hosted page returns to."""

from dataclasses import replace

import pytest

from app.api.clients import Clients, ClientsError, Kind, clients_entry, new_key, parse_clients
from app.api.origins import LOCALHOST_ORIGINS, canonical_origin, listed_return_url, read_return_url
from tests.contract.conftest import POLICY

DIGEST = "ab" * 32


def _entry(**members: object) -> str:
    lines = {"id": '"web"', "kind": '"secret"', "key_sha256": f'"{DIGEST}"'} | {k: str(v) for k, v in members.items()}
    return "[[client]]\n" + "\n".join(f"{name} = {value}" for name, value in lines.items()) + "\n"


def test_a_new_key_is_found_by_its_entry_and_no_other() -> None:
    key = new_key(Kind.PUBLIC)
    clients = parse_clients(clients_entry("web", Kind.PUBLIC, key, ("https://shop.example",)), "test")
    found = clients.find(key)
    assert found is not None
    members = (found.id, found.kind, found.origins, found.native)
    assert members == ("web", Kind.PUBLIC, frozenset({"https://shop.example"}), False)
    assert clients.find(key + "x") is None
    assert clients.find("") is None
    assert clients.find("\udcff") is None


def test_a_client_has_several_keys_while_it_rotates() -> None:
    one, two = new_key(Kind.SECRET), new_key(Kind.SECRET)
    clients = parse_clients(clients_entry("api", Kind.SECRET, one) + clients_entry("api", Kind.SECRET, two), "test")
    assert clients.find(one) == clients.find(two) is not None
    assert len(clients) == 1
    listed = parse_clients(_entry(key_sha256=f'["{DIGEST}", "{"cd" * 32}"]'), "test")
    assert len(listed) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"it has no \[\[client\]\]"),
        ("client = []", r"it has no \[\[client\]\]"),
        ("clients = []", "clients: There is no such field"),
        ("[[client]", "not TOML"),
        (_entry().replace("[[client]]", "[client]"), r"client: write \[\[client\]\]"),
        (_entry(kind='"public"', origins='"https://shop.example"'), r"client 1, origins: Write a list"),
        ("a = " + "9" * 5000, "not TOML"),
        ("a = " + "[" * 100_000, "not TOML"),
        (_entry(key_sha256='"short"'), "client 1, key_sha256: write the 64 hexadecimal digits"),
        (_entry(key_sha256=7), "client 1, key_sha256: write the 64 hexadecimal digits"),
        (_entry(key_sha256="[]"), "client 1, key_sha256: "),
        (_entry(key_sha256='"pk_Ym9ndXM"'), "this is a key, .* run `lastdigits keys new`"),
        (_entry(key_sha256='[" sk_Ym9ndXM"]'), "this is a key, .* run `lastdigits keys new`"),
        (_entry(key='"sk_plain"'), "client 1, key: There is no such field: the file has the key's digest, as key_sha256"),
        (_entry() + _entry(id='"a b"'), "client 2, id: up to 40 letters"),
        (_entry(kind='"admin"'), "client 1, kind: Send 'public' or 'secret'"),
        (_entry(kind='"public"'), "list its origins"),
        (_entry(origins='["https://shop.example"]'), "leave out origins"),
        (_entry(return_urls='["https://shop.example/v"]'), "leave out origins, native and return_urls"),
        (_entry(kind='"public"', return_urls='["http://shop.example/v"]'), "client 1, return_urls: .* must be https"),
        (_entry(kind='"public"', return_urls='["https://shop.example/#v"]'), "is no return URL: write the whole"),
        (_entry(kind='"public"', origins='["https://*.example"]'), "a star is not supported"),
        (_entry(kind='"public"', origins='["https://shop.example/path"]'), "is not an origin: write a scheme"),
        (_entry(kind='"public"', origins='["https://shop.example:*"]'), "only for the port of localhost"),
        (_entry(calls="5"), "client 1, calls: write it in quotes"),
        (_entry(calls='"many"'), "client 1, calls: 'many' is not a limit"),
        (_entry(spend='"1/week"'), "client 1, spend: '1/week' "),
        (_entry(guarded="false"), "client 1, guarded: There is no such field"),
        (_entry() + _entry(id='"other"'), "appears twice"),
        (_entry() + _entry(kind='"public"', native="true", key_sha256='"' + "cd" * 32 + '"'), "differ"),
    ],
)  # fmt: skip
def test_what_is_invalid_is_refused_with_the_fix(text: str, message: str) -> None:
    with pytest.raises(ClientsError, match=message) as refused:
        parse_clients(text, "clients.toml")
    assert not {"constrained", "Value error", "Ym9ndXM", "sk_plain"} & set(str(refused.value).split())
    assert "Ym9ndXM" not in str(refused.value), "a pasted key is not repeated"


def test_all_that_is_invalid_is_in_one_message() -> None:
    with pytest.raises(ClientsError, match=r"client 1, id: .*; .*client 1, kind: .*; .*client 2, calls: "):
        parse_clients(_entry(id='""', kind='"x"') + _entry(calls="1"), "clients.toml")


def test_a_client_of_the_hosted_page_needs_no_origin() -> None:
    urls = ("https://shop.example/verified", "https://shop.example/v?a=b")
    (client, _), *_ = parse_clients(clients_entry("web", Kind.PUBLIC, "pk_1", return_urls=urls), "test").listed()
    assert (client.return_urls, client.origins, client.native) == (frozenset(urls), frozenset(), False)


def test_limits_of_its_own_are_read() -> None:
    (client, _), *_ = parse_clients(_entry(calls='"5/hour, 10/day"', spend='"3.50/hour"'), "test").listed()
    assert [str(rate) for rate in client.calls] == ["5/hour", "10/day"]
    assert [(cap.count, cap.seconds) for cap in client.spend] == [(35_000, 3600)]


def test_a_public_client_must_have_a_call_in_its_strangers_share() -> None:
    page = _entry(kind='"public"', native="true", calls='"1/day"')
    with pytest.raises(
        ClientsError, match=r"client web: PUBLIC_SHARE=0\.5 of its calls leaves strangers no call: raise"
    ):
        parse_clients(page, "c.toml", POLICY)
    for policy in (None, replace(POLICY, public_share=0.0), replace(POLICY, public_share=1.0)):
        assert parse_clients(page, "c.toml", policy)
    assert parse_clients(page.replace("1/day", "2/day"), "c.toml", POLICY)
    assert parse_clients(_entry(calls='"1/day"'), "c.toml", POLICY), "a backend is no stranger"


# ---- origins


def _allowing(*origins: str) -> Clients:
    return parse_clients(clients_entry("web", Kind.PUBLIC, new_key(Kind.PUBLIC), origins), "test")


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        *((same, same) for same in ("https://a.example", "http://localhost:3000", "https://a.example:8443", "http://[::1]:81")),
        *((same, same) for same in ("capacitor://localhost", "https://my_shop.example", "https://xn--e1afmkfd.xn--p1ai", "null", "file://")),
        ("http://[0:0::1]", "http://[::1]"),
        ("https://A.Example", "https://a.example"),
        ("HTTPS://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("https://a.example:0443", "https://a.example"),
        ("https://a.example:08443", "https://a.example:8443"),
        ("https://a.example:65535", "https://a.example:65535"),
        ("https://пример.рф", "https://xn--e1afmkfd.xn--p1ai"),
        ("https://Straße.example:8443", "https://xn--strae-oqa.example:8443"),
    ],
)  # fmt: skip
def test_an_origin_is_the_one_that_browsers_send_however_it_is_written(written: str, sent: str) -> None:
    assert canonical_origin(written) == sent
    clients = _allowing(written)
    assert clients.allows(sent)
    assert not clients.allows(sent + "x")


@pytest.mark.parametrize(
    "text",
    [
        *("*", "", "a.example", "https://", "https://a.example/x", "https://a.example?x", "https://a.example#x"),
        *("https://a.example/", "https://user@a.example", "https://a.example:65536", "https://a.example:x"),
        *("file:///page.html", "file://host", "https://[::g]", "https://*.example", "https://\u2028", "Null"),
        *("https://a.example:*", "http://localhost.evil.example:*", "ftp://localhost:*", "http://127.0.0.2:*"),
        "http://127.0.0x1:*",
        "https://a b.example",
    ],
)
def test_what_no_browser_sends_is_not_an_origin(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an origin|a star may stand only"):
        canonical_origin(text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("port", ["", ":1", ":3000", ":65535"])
def test_any_port_of_localhost_may_be_allowed(scheme: str, host: str, port: str) -> None:
    assert _allowing(*LOCALHOST_ORIGINS).allows(f"{scheme}://{host}{port}")
    assert _allowing(f"{scheme}://{host}:*").allows(f"{scheme}://{host}{port}")
    assert not _allowing("http://localhost:4000", "https://[::1]:4000").allows(f"{scheme}://{host}{port}")


@pytest.mark.parametrize(
    "origin",
    [
        *("http://localhost.evil.example:3000", "http://evil.example", "http://evillocalhost:3000", "null", "file://"),
        *("http://localhost:3000/", "http://localhost:*.evil", "http://127.0.0.1.evil.example", "HTTP://localhost"),
        *("capacitor://localhost", "http://localhost:999999", "http://user@localhost:1", "http://127.0.0.12"),
    ],
)
def test_nothing_else_is_localhost(origin: str) -> None:
    assert not _allowing(*LOCALHOST_ORIGINS).allows(origin)


def test_an_origin_that_anyone_may_send_comes_with_a_warning() -> None:
    assert _allowing("https://a.example").warnings == ()
    warnings = _allowing("null", "https://a.example", "file://").warnings
    assert len(warnings) == 2
    assert all("client web allows the origin" in warning for warning in warnings)


# ---- where the hosted page returns to


@pytest.mark.parametrize(
    ("text", "site", "source"),
    [
        ("https://shop.example", "shop.example", "https://shop.example"),
        ("https://shop.example/", "shop.example", "https://shop.example/"),
        ("https://shop.example:8443/a/b", "shop.example:8443", "https://shop.example:8443/a/b"),
        ("https://Shop.Example:443/A", "Shop.Example:443", "https://shop.example/A"),
        ("https://shop.example/v?step=2;3,4&next=/a", "shop.example", "https://shop.example/v"),
        ("https://shop.example/%D1%8F", "shop.example", "https://shop.example/%D1%8F"),
        ("https://пример.рф/done", "пример.рф", "https://xn--e1afmkfd.xn--p1ai/done"),
        ("https://[2001:db8::1]/v", "[2001:db8::1]", "https://[2001:db8::1]/v"),
    ],
)
def test_a_return_url_is_shown_to_people_and_allowed_to_the_form(text: str, site: str, source: str) -> None:
    assert read_return_url(text) == (site, source, True, False)
    assert listed_return_url(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "verified", "/verified", "//shop.example/verified", "shop.example/verified", "https:shop.example"),
        *("javascript:alert(1)", "data:text/html,x", "ftp://shop.example/", "shop://verified", "file:///etc/passwd"),
        *("https://user@shop.example/", "https://user:word@shop.example/", "https://shop.example@evil.example/"),
        *("https://shop.example/#x", "https://shop.example#", "https://shop.example\\@evil.example/"),
        *("https://shop.example/a;script-src *", "https://shop.example/a;b", "https://shop.example/a,b"),
        *(
            "https://shop.example/a b",
            "https://shop.example/\n",
            "https://a.example/\"'><script>",
            " https://a.example/",
        ),
        *("https://shop.example:*/", "https://*.example/", "https://shop.example:99999/", "https://shop.example:x/"),
        *("https://", "https:///verified", "https://shop.example/я", "HTTPS://shop.example/", "https://a\u2028b/"),
        "https://shop.example/" + "a" * 1000,
    ],
)
def test_anything_else_is_no_return_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not? "):
        read_return_url(text)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        *((text, True) for text in ("http://localhost:5000/v", "https://127.0.0.1/v", "http://[::1]:81/v")),
        *((text, False) for text in ("http://localhost.evil.example/", "http://evil.example/localhost", "http://127.0.0.2/")),
    ],
)  # fmt: skip
def test_pages_of_this_machine_are_local_and_no_other(text: str, local: bool) -> None:
    assert read_return_url(text).local is local


def test_a_file_lists_https_only() -> None:
    with pytest.raises(ValueError, match="must be https"):
        listed_return_url("http://localhost:5000/verified")
