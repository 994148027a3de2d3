"""clients/python against the real service: its requests, what it sends again, and its check of tokens."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest
from lastdigits_client import AsyncClient, Client, NoAnswer, Problem, TokenRefused, TokenVerifier

from tests.consumers.conftest import RealTokens
from tests.consumers.contract import AcceptsTokens
from tests.consumers.issuer import PHONE, Issuer
from tests.consumers.lossy import losing
from tests.harness import Service, Simulator, wait_out_the_cooldown, wrong


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, service.keys["backend"]) as client:
        yield client


@pytest.fixture
async def asynchronous(service: Service) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(service.url, service.keys["backend"]) as client:
        yield client


class TestRequests:
    def test_a_phone_is_verified_and_its_token_redeemed_once(
        self, client: Client, simulator: Simulator, phone: str
    ) -> None:
        started = client.start(phone, purpose="login", client_ip="203.0.113.7", code_length=5)
        assert (started.phone, started.code_length, started.status) == (phone, 5, "pending")
        assert started.expires_at > started.created_at
        approved = client.check(started.id, simulator.code(phone), client_ip="203.0.113.7")
        assert (approved.id, approved.phone) == (started.id, phone)
        assert client.redeem(approved.token).purpose == "login"
        with pytest.raises(Problem, match="409 token_redeemed"):
            client.redeem(approved.token)

    async def test_the_same_by_asyncio(self, asynchronous: AsyncClient, simulator: Simulator, phone: str) -> None:
        started = await asynchronous.start(phone, purpose="login", client_ip="203.0.113.8")
        approved = await asynchronous.check(started.id, simulator.code(phone))
        assert (await asynchronous.redeem(approved.token)).phone == phone
        state = await asynchronous.read(started.id)
        assert (state.status, state.calls, state.approved_at, state.test) == (
            "approved",
            1,
            approved.approved_at,
            False,
        )

    async def test_a_resend_calls_again_and_a_cancel_ends_it(
        self, client: Client, asynchronous: AsyncClient, service: Service, simulator: Simulator, phone: str
    ) -> None:
        started = client.start(phone)
        with pytest.raises(Problem) as early:
            client.resend(started.id)
        assert (early.value.code, early.value.members["limit"]) == ("limit_reached", "resend_cooldown")
        assert 0 < (early.value.retry_after or 0) <= 30
        await wait_out_the_cooldown(service, started.id)
        assert (await asynchronous.resend(started.id)).id == started.id
        assert simulator.count(phone) == 2
        assert client.cancel(started.id).status == "canceled"
        assert (await asynchronous.cancel(started.id)).status == "canceled"

    def test_a_wrong_code_is_a_problem_with_the_attempts_left(
        self, client: Client, simulator: Simulator, phone: str
    ) -> None:
        started = client.start(phone)
        with pytest.raises(Problem) as refused:
            client.check(started.id, wrong(simulator.code(phone)))
        assert (refused.value.status, refused.value.code) == (422, "code_incorrect")
        assert refused.value.members["attempts_left"] == 2

    def test_neither_token_nor_device_is_shown(self, client: Client, simulator: Simulator, phone: str) -> None:
        approved = client.check(client.start(phone).id, simulator.code(phone))
        assert approved.token not in repr(approved)
        assert approved.device not in repr(approved)


# ---- answers that are lost


class TestLostAnswers:
    def test_a_start_is_sent_again_under_its_key_and_calls_once(
        self, service: Service, simulator: Simulator, phone: str
    ) -> None:
        with losing(service) as proxy, Client(proxy.url, service.keys["backend"]) as client:
            started = client.start(phone)
            assert len(proxy.keys) == 2
            assert proxy.keys[0] == proxy.keys[1]
            assert simulator.count(phone) == 1
            assert client.check(started.id, simulator.code(phone)).phone == phone

    async def test_by_asyncio_too(self, service: Service, simulator: Simulator, phone: str) -> None:
        with losing(service) as proxy:
            async with AsyncClient(proxy.url, service.keys["backend"]) as client:
                await client.start(phone)
        assert (len(proxy.keys), len(set(proxy.keys)), simulator.count(phone)) == (2, 1, 1)

    def test_an_action_that_failed_is_continued_by_its_key(
        self, service: Service, simulator: Simulator, phone: str
    ) -> None:
        with losing(service) as proxy, Client(proxy.url, service.keys["backend"], retries=0) as client:
            with pytest.raises(NoAnswer) as lost:
                client.start(phone)
            assert lost.value.sent
            assert lost.value.idempotency_key
            started = client.start(phone, idempotency_key=lost.value.idempotency_key)
        assert simulator.count(phone) == 1
        assert started.phone == phone

    def test_a_check_is_not_sent_again(
        self, service: Service, simulator: Simulator, client: Client, phone: str
    ) -> None:
        started = client.start(phone)
        with losing(service) as proxy, Client(proxy.url, service.keys["backend"]) as lossy:
            with pytest.raises(NoAnswer) as lost:
                lossy.check(started.id, wrong(simulator.code(phone)))
            assert lost.value.sent
        assert client.read(started.id).attempts_left == 2

    def test_a_service_that_is_not_there_was_sent_nothing(self) -> None:
        with Client("http://127.0.0.1:9", "sk_none", retries=1) as client, pytest.raises(NoAnswer) as unreachable:
            client.check("vrf_x", "1234")
        assert not unreachable.value.sent

    def test_an_answer_of_something_else_is_a_problem(self, simulator: Simulator) -> None:
        with Client(simulator.url, "sk_none") as client, pytest.raises(Problem) as foreign:
            client.start(PHONE)
        assert (foreign.value.status, foreign.value.code) == (404, "unexpected_answer")


# ---- tokens


@dataclass(frozen=True)
class Verifying:
    """A verifier in the place of a backend."""

    verifier: TokenVerifier

    def phone(self, token: str) -> str:
        return self.verifier.verify(token, "login").phone

    def refuses(self, token: str) -> bool:
        """Whether it refuses the token by itself: another exception is no refusal."""
        try:
            self.verifier.verify(token, "login")
        except TokenRefused:
            return True
        return False


@pytest.fixture(scope="module")
def backend(issuer: Issuer) -> Verifying:
    return Verifying(TokenVerifier(issuer.url, "lastdigits", "backend"))


@pytest.fixture(scope="module")
def ed25519_backend(issuer: Issuer) -> Verifying:
    return Verifying(TokenVerifier(issuer.url, "lastdigits", "backend", algorithm="EdDSA"))


@pytest.fixture(scope="module")
def shop(real: RealTokens) -> Verifying:
    return Verifying(TokenVerifier(real.jwks_url, "lastdigits", "backend"))


class TestVerifier(AcceptsTokens):
    """The backends of the guides stand on it."""


@pytest.fixture
def verifier(issuer: Issuer) -> Callable[..., TokenVerifier]:
    return lambda **options: TokenVerifier(issuer.url, "lastdigits", "backend", **options)


def test_a_test_number_is_refused_unless_asked_for(issuer: Issuer, verifier: Callable[..., TokenVerifier]) -> None:
    token = issuer.token(claims={"test": True})
    with pytest.raises(TokenRefused, match="test number"):
        verifier().verify(token, "login")
    verified = verifier(accept_test=True).verify(token, "login")
    assert (verified.phone, verified.test) == (PHONE, True)


def test_with_redeem_a_token_is_accepted_once(real: RealTokens, client: Client) -> None:
    phone, token = real.of("backend")
    verifier = TokenVerifier(real.jwks_url, "lastdigits", "backend")
    assert verifier.verify(token, "login", redeem_with=client).phone == phone
    with pytest.raises(TokenRefused, match="token_redeemed"):
        verifier.verify(token, "login", redeem_with=client)
    assert verifier.verify(token, "login").phone == phone


def test_a_token_for_another_purpose_is_not_used_up(real: RealTokens, client: Client) -> None:
    _, token = real.of("backend", purpose="newsletter")
    with pytest.raises(TokenRefused):
        TokenVerifier(real.jwks_url, "lastdigits", "backend").verify(token, "login", redeem_with=client)
    assert client.redeem(token).purpose == "newsletter"


def test_no_answer_to_a_redeem_is_a_no(real: RealTokens) -> None:
    _, token = real.of("backend")
    with Client("http://127.0.0.1:9", "sk_none", retries=0) as nowhere, pytest.raises(TokenRefused, match="NoAnswer"):
        TokenVerifier(real.jwks_url, "lastdigits", "backend").verify(token, "login", redeem_with=nowhere)


@pytest.mark.parametrize(
    "bad", [{"issuer": ""}, {"audience": ""}, {"algorithm": "HS256"}, {"algorithm": "none"}], ids=str
)
def test_a_verifier_that_would_check_too_little_is_not_made(issuer: Issuer, bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="TokenVerifier"):
        TokenVerifier(issuer.url, **({"issuer": "lastdigits", "audience": "backend"} | bad))  # type: ignore[arg-type]  # of strings
