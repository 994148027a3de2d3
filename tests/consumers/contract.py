"""What must hold for every backend that accepts verification tokens. A module gives the fixtures `backend`, `shop` and `ed25519_backend` and inherits it."""

import pytest

from tests.consumers.backends import Backend
from tests.consumers.conftest import RealTokens
from tests.consumers.issuer import FORGERIES, PHONE, WRONG, Forgery, Issuer, ec_jwk, es256, okp_jwk


class AcceptsTokens:
    """`shop` trusts the real service as its client "backend"; `backend` trusts the tests' own key server, so that any token can be signed."""

    def test_the_services_token_is_accepted_with_its_phone(self, shop: Backend, real_token: tuple[str, str]) -> None:
        phone, token = real_token
        assert shop.phone(token) == phone

    def test_another_clients_token_is_refused(self, shop: Backend, real: RealTokens) -> None:
        assert shop.refuses(real.of("other")[1])

    def test_a_token_for_another_purpose_is_refused(self, shop: Backend, real: RealTokens) -> None:
        assert shop.refuses(real.of("backend", purpose="newsletter")[1])

    @pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
    def test_what_anyone_can_make_of_the_services_token_is_refused(
        self, shop: Backend, real: RealTokens, real_token: tuple[str, str], forgery: Forgery
    ) -> None:
        _, token = real_token
        assert shop.refuses(forgery(token, real.key(token)))

    def test_a_valid_token_of_either_key_is_accepted(self, backend: Backend, issuer: Issuer) -> None:
        assert backend.phone(issuer.token()) == PHONE
        next_kid = ec_jwk(issuer.next_key)["kid"]
        assert backend.phone(issuer.token({"kid": next_kid}, sign=es256(issuer.next_key))) == PHONE

    @pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
    def test_what_anyone_can_make_of_a_valid_token_is_refused(
        self, backend: Backend, issuer: Issuer, forgery: Forgery
    ) -> None:
        good = issuer.token()
        assert backend.phone(good) == PHONE
        assert backend.refuses(forgery(good, ec_jwk(issuer.key)))

    @pytest.mark.parametrize("wrong", WRONG)
    def test_a_signed_token_that_is_wrong_in_one_thing_is_refused(
        self, backend: Backend, issuer: Issuer, wrong: str
    ) -> None:
        assert backend.phone(issuer.token()) == PHONE
        assert backend.refuses(WRONG[wrong](issuer))

    def test_a_clock_that_is_a_little_behind_does_no_harm(self, backend: Backend, issuer: Issuer) -> None:
        ahead = issuer.claims()["iat"] + 5
        assert backend.phone(issuer.token(claims={"iat": ahead, "nbf": ahead})) == PHONE

    def test_made_up_kids_do_not_make_it_fetch_the_keys_each_time(self, backend: Backend, issuer: Issuer) -> None:
        assert backend.phone(issuer.token()) == PHONE
        before = issuer.fetches
        assert all(backend.refuses(issuer.token({"kid": f"made-up-{number}"})) for number in range(20))
        assert issuer.fetches - before <= 1
        assert backend.phone(issuer.token()) == PHONE

    def test_eddsa_written_for_es256_takes_the_one_and_not_the_other(
        self, ed25519_backend: Backend, issuer: Issuer
    ) -> None:
        header = {"alg": "EdDSA", "kid": okp_jwk(issuer.other_algorithm)["kid"]}
        assert ed25519_backend.phone(issuer.token(header, sign=issuer.other_algorithm.sign)) == PHONE
        assert ed25519_backend.refuses(issuer.token())
