"""The clients file: what stands in it, and what is refused with the mend."""

import pytest

from app.api.clients import ClientsError, Kind, clients_entry, is_origin, new_key, parse_clients

DIGEST = "ab" * 32


def _entry(**members: object) -> str:
    lines = {"id": '"web"', "kind": '"secret"', "key_sha256": f'"{DIGEST}"'} | {k: str(v) for k, v in members.items()}
    return "[[client]]\n" + "\n".join(f"{name} = {value}" for name, value in lines.items()) + "\n"


def test_a_made_key_is_found_by_its_entry_and_no_other() -> None:
    key = new_key(Kind.PUBLIC)
    clients = parse_clients(clients_entry("web", Kind.PUBLIC, key, ("https://shop.example",)), "test")
    found = clients.find(key)
    assert found is not None
    assert (found.id, found.kind, found.origins, found.native) == (
        "web",
        Kind.PUBLIC,
        frozenset({"https://shop.example"}),
        False,
    )
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
    ("text", "told"),
    [
        ("", "client"),
        ("[[client]", "not TOML"),
        ("a = " + "9" * 5000, "not TOML"),
        ("a = " + "[" * 100_000, "not TOML"),
        (_entry(key_sha256='"short"'), "key_sha256"),
        (_entry(key='"sk_plain"'), "key"),
        (_entry(id='"a b"'), "id"),
        (_entry(kind='"admin"'), "kind"),
        (_entry(kind='"public"'), "name its origins"),
        (_entry(origins='["https://shop.example"]'), "leave out origins"),
        (_entry(kind='"public"', origins='["https://*.example"]'), "no origin"),
        (_entry(kind='"public"', origins='["https://shop.example/path"]'), "no origin"),
        (_entry() + _entry(id='"other"'), "stands twice"),
        (_entry() + _entry(kind='"public"', native="true", key_sha256='"' + "cd" * 32 + '"'), "differ"),
        (
            '[[client]]\nid = "web"\nkind = "public"\nnative = true\nguarded = false\nkey_sha256 = "' + "0" * 64 + '"',
            "leave out guarded",
        ),
    ],
)
def test_what_cant_stand_is_refused_with_the_mend(text: str, told: str) -> None:
    with pytest.raises(ClientsError, match=told):
        parse_clients(text, "clients.toml")


@pytest.mark.parametrize(
    "text", ["https://a.example", "http://localhost:3000", "https://a.example:8443", "http://[::1]:80a"[:-1] + "81"]
)
def test_origins_as_browsers_send_them(text: str) -> None:
    assert is_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "a.example",
        "https://a.example/",
        "https://A.example",
        "https://a.example:443",
        "http://a.example:80",
        "https://a.example:99999",
    ],
)
def test_what_no_browser_sends_as_an_origin(text: str) -> None:
    assert not is_origin(text)
