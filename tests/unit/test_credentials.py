"""The three ways to authorise: no repr and no message shows a secret."""

import pytest

from app.provider.credentials import BodyKey, Credentials, HeaderKey, Login, authorisation, secret_words

KEY = "Pa5s-key-7d1f9c"


@pytest.mark.parametrize("credentials", [HeaderKey(KEY), BodyKey(KEY), Login(KEY, KEY)])
def test_no_repr_shows_a_secret(credentials: Credentials) -> None:
    assert KEY not in repr(credentials)
    assert set(secret_words(credentials)) == {KEY}


@pytest.mark.parametrize("key", ["hidden\r\nX-Other: b", "ключ", " hidden", "hidden "])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="key") as error:
        authorisation(HeaderKey(key))
    assert key not in str(error.value)
    assert "hidden" not in str(error.value)


def test_the_longer_secret_is_removed_first() -> None:
    assert secret_words(Login("user", "user-and-more")) == ("user-and-more", "user")
