"""The provider's URL: where it leads and how requests name it."""

import pytest

from app.telephony.target import Target, target_of


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://voice.example/send/", Target("voice.example", 443, True, "voice.example", "/send/")),
        ("http://voice.example", Target("voice.example", 80, False, "voice.example", "/")),
        ("http://voice.example:80/", Target("voice.example", 80, False, "voice.example", "/")),
        ("https://voice.example:80/", Target("voice.example", 80, True, "voice.example:80", "/")),
        ("HTTPS://Voice.Example:8443/A", Target("voice.example", 8443, True, "voice.example:8443", "/A")),
        ("https://voice.example?a=1&b=%20", Target("voice.example", 443, True, "voice.example", "/?a=1&b=%20")),
        ("https://voice.example/a%2Fb/;c?d#e", Target("voice.example", 443, True, "voice.example", "/a%2Fb/;c?d")),
        ("https://voice.example/a b/é", Target("voice.example", 443, True, "voice.example", "/a%20b/%C3%A9")),
        ("http://127.0.0.1:8080/", Target("127.0.0.1", 8080, False, "127.0.0.1:8080", "/")),
        ("http://[::1]/x", Target("::1", 80, False, "[::1]", "/x")),
        ("https://[2001:DB8::1]:8443/", Target("2001:db8::1", 8443, True, "[2001:db8::1]:8443", "/")),
        ("https://пример.рф/", Target("xn--e1afmkfd.xn--p1ai", 443, True, "xn--e1afmkfd.xn--p1ai", "/")),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target) -> None:
    assert target_of(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/send",
        "voice.example:80/send",
        "ftp://voice.example/",
        "https://",
        "https:///hidden",
        "https://user:hidden@voice.example/",
        "https://@voice.example/",
        "https://voice.example:hidden/",
        "https://voice.example:99999/hidden",
        "https://voice.example:0/hidden",
        "https://[::1/hidden",
        "https://[hidden]/",
        "https://hidden host/",
        "https://hidden\x01/",
        "https://hidden..ё/",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as fault:
        target_of(url)
    assert "hidden" not in str(fault.value)
    assert fault.value.__cause__ is None


def test_no_url_writes_a_line_of_its_own_into_the_head() -> None:
    target = target_of("https://voice.example/a\r\nX-Other: b?c\r\nd")
    assert not {" ", "\r", "\n"} & {*target.path, *target.authority}
