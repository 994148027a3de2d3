"""`REDIS_URL`: every form that is read, and what a message never repeats."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.connection import StoreUrl, StoreUrlError, parse_url

READ = {
    "redis://host": StoreUrl("standalone", (("host", 6379),)),
    "redis://host/": StoreUrl("standalone", (("host", 6379),)),
    "redis://redis_1.internal:6380/3": StoreUrl("standalone", (("redis_1.internal", 6380),), db=3),
    "redis://[2001:db8::1]:6380/0": StoreUrl("standalone", (("2001:db8::1", 6380),)),
    "redis://me@host": StoreUrl("standalone", (("host", 6379),), username="me"),
    "redis://:a:b@host": StoreUrl("standalone", (("host", 6379),), password="a:b"),
    "redis://me:a%3Fb%40%2F@host": StoreUrl("standalone", (("host", 6379),), username="me", password="a?b@/"),
    "rediss://h/0?ssl_ca_certs=/etc/ca.pem": StoreUrl(
        "standalone", (("h", 6379),), tls=True, options={"ssl_ca_certs": "/etc/ca.pem"}
    ),
    "unix:///run/redis.sock": StoreUrl("unix", path=Path("/run/redis.sock")),
    "unix://:p@/run/redis.sock?db=2": StoreUrl("unix", path=Path("/run/redis.sock"), password="p", db=2),
    "embedded://./data": StoreUrl("embedded", path=Path("data")),
    "embedded:///var/lib/a b": StoreUrl("embedded", path=Path("/var/lib/a b")),
    "redis+sentinel://h1,h2:26380/main": StoreUrl("sentinel", (("h1", 26379), ("h2", 26380)), service="main"),
    "rediss+sentinel://u:p@h1:1,[::1]:2/main/4?sentinel_password=s%40&ssl_keyfile=k": StoreUrl(
        "sentinel", (("h1", 1), ("::1", 2)), service="main", db=4, username="u", password="p", tls=True,
        options={"ssl_keyfile": "k"}, sentinel_password="s@",
    ),
    "redis+cluster://h1:7000,h2:7001": StoreUrl("cluster", (("h1", 7000), ("h2", 7001))),
    "rediss+cluster://:p@h1/0": StoreUrl("cluster", (("h1", 6379),), password="p", tls=True),
}  # fmt: skip


@pytest.mark.parametrize("url", READ)
def test_every_form_is_read(url: str) -> None:
    assert parse_url(url) == READ[url]


@pytest.mark.parametrize(
    "url",
    [
        *("", "redis", "redis://", "localhost:6379", "mysql://host", "REDIS://host", "redis+ring://host", "https://host"),
        *("redis://:6379", "redis://host:0", "redis://host:65536", "redis://host:port", "redis://[::zz]:1", "redis://::1"),
        *("redis://host/db", "redis://host/0/1", "redis://h1,h2/0", "redis://host/0?db=1", "redis://host/0#x"),
        *("redis://host?socket_timeout=1", "redis://host?ssl_ca_certs=x", "rediss://h?ssl_keyfile=a&ssl_keyfile=b"),
        *("redis+sentinel://h1,h2", "redis+sentinel://h1/", "redis+sentinel://h1,/main", "redis+sentinel://h1/main/x"),
        *("redis+cluster://h1/1", "redis+cluster://", "redis+cluster://h1,,h2", "unix://relative", "unix:///", "unix:///s?db=x"),
        *("embedded://", "redis://host\n", " redis://host", "redis://ho\x00st"),
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(StoreUrlError):
        parse_url(url)


@pytest.mark.parametrize(
    "password", ["a?b", "ab[cd", "a/b", "a#b", "a@b", "50%off", "a b", "пароль", "a]b", 'a"b', "a^b"]
)
def test_a_password_that_must_be_encoded_is_answered_with_how(password: str) -> None:
    with pytest.raises(StoreUrlError, match=r"percent-encode.*urllib\.parse\.quote"):
        parse_url(f"redis://:{password}@host/0")
    assert parse_url(f"redis://:{quote(password, safe='')}@host/0").password == password


@given(
    st.sampled_from(["redis", "rediss", "redis+sentinel", "redis+cluster", "unix", "mysql", ""]),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_no_message_repeats_a_part_and_nothing_else_is_raised(scheme: str, before: str, after: str) -> None:
    secret = "Zq7Zx9Zw"
    for url in (
        f"{scheme}://{before}{secret}{after}",
        f"{scheme}://:{secret}{before}@h/{after}",
        f"{secret}{before}://",
    ):
        try:
            parse_url(url)
        except StoreUrlError as error:
            assert secret not in str(error)  # noqa: PT017  some of these are valid


def test_a_repr_shows_no_password() -> None:
    assert "hidden" not in repr(parse_url("redis+sentinel://:hidden@h/main?sentinel_password=hidden"))
