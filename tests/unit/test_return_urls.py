"""Which addresses the hosted page may return to, and what a Content-Security-Policy says of them."""

import pytest

from app.api.origins import listed_return_url, read_return_url


@pytest.mark.parametrize(
    ("text", "site", "source"),
    [
        ("https://shop.example/verified", "shop.example", "https://shop.example/verified"),
        ("https://shop.example", "shop.example", "https://shop.example"),
        ("https://shop.example/", "shop.example", "https://shop.example/"),
        ("https://shop.example:8443/a/b", "shop.example:8443", "https://shop.example:8443/a/b"),
        ("https://Shop.Example:443/A", "Shop.Example:443", "https://shop.example/A"),
        ("https://shop.example/v?step=2;3,4&next=/a", "shop.example", "https://shop.example/v"),
        ("https://shop.example/%D1%8F", "shop.example", "https://shop.example/%D1%8F"),
        ("https://пример.рф/готово".replace("готово", "done"), "пример.рф", "https://xn--e1afmkfd.xn--p1ai/done"),
        ("https://[2001:db8::1]/v", "[2001:db8::1]", "https://[2001:db8::1]/v"),
    ],
)
def test_an_address_is_shown_to_people_and_allowed_to_the_form(text: str, site: str, source: str) -> None:
    url = read_return_url(text)
    assert (url.site, url.source, url.secure, url.local) == (site, source, True, False)
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
            "https://shop.example/\"'><script>",
            " https://a.example/",
        ),
        *("https://shop.example:*/", "https://*.example/", "https://shop.example:99999/", "https://shop.example:x/"),
        *("https://", "https:///verified", "https://shop.example/я", "HTTPS://shop.example/", "https://a\u2028b/"),
        "https://shop.example/" + "a" * 1000,
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not? "):
        read_return_url(text)


@pytest.mark.parametrize("text", ["http://localhost:5000/v", "https://127.0.0.1/v", "http://[::1]:81/v"])
def test_pages_of_this_machine_are_local(text: str) -> None:
    assert read_return_url(text).local


@pytest.mark.parametrize(
    "text",
    ["http://localhost.evil.example/", "http://evil.example/localhost", "http://127.0.0.2/", "http://localhostt/"],
)
def test_nothing_else_is_local(text: str) -> None:
    assert not read_return_url(text).local


def test_a_file_lists_https_only() -> None:
    with pytest.raises(ValueError, match="must be https"):
        listed_return_url("http://localhost:5000/verified")
