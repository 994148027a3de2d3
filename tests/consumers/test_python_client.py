"""clients/python against the real service: its requests, and what it sends again. test_tokens.py has its check of tokens."""

import traceback
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from lastdigits_client import AsyncClient, Client, NoAnswer, Problem, TokenRefused, TokenVerifier

from tests.consumers.conftest import RealTokens
from tests.consumers.issuer import PHONE, Issuer
from tests.consumers.loopback import answering, listening, losing
from tests.harness import Service, Simulator, wait_out_the_cooldown, wrong


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, service.keys["backend"]) as client:
        yield client


@pytest.fixture
async def asynchronous(service: Service) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(service.url, service.keys["backend"]) as client:
        yield client


def test_a_phone_is_verified_and_its_token_redeemed_once(client: Client, simulator: Simulator, phone: str) -> None:
    started = client.start(phone, purpose="login", client_ip="203.0.113.7", code_length=5)
    assert (started.phone, started.code_length, started.status) == (phone, 5, "pending")
    assert started.expires_at > started.created_at
    with pytest.raises(Problem) as refused:
        client.check(started.id, wrong(simulator.code(phone)))
    assert (refused.value.status, refused.value.code) == (422, "code_incorrect")
    assert refused.value.members["attempts_left"] == 2
    approved = client.check(started.id, simulator.code(phone), client_ip="203.0.113.7")
    assert (approved.id, approved.phone) == (started.id, phone)
    assert approved.token not in repr(approved)
    assert approved.device not in repr(approved)
    assert client.redeem(approved.token).purpose == "login"
    with pytest.raises(Problem, match="409 token_redeemed"):
        client.redeem(approved.token)


async def test_the_same_by_asyncio(asynchronous: AsyncClient, simulator: Simulator, phone: str) -> None:
    started = await asynchronous.start(phone, purpose="login", client_ip="203.0.113.8")
    approved = await asynchronous.check(started.id, simulator.code(phone))
    assert (await asynchronous.redeem(approved.token)).phone == phone
    state = await asynchronous.read(started.id)
    assert (state.status, state.calls, state.approved_at, state.test) == ("approved", 1, approved.approved_at, False)


async def test_a_resend_calls_again_and_a_cancel_ends_it(
    client: Client, asynchronous: AsyncClient, service: Service, simulator: Simulator, phone: str
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


# ---- answers that are lost


def test_a_start_is_sent_again_under_its_key_and_calls_once(service: Service, simulator: Simulator, phone: str) -> None:
    with losing(service) as proxy, Client(proxy.url, service.keys["backend"]) as client:
        started = client.start(phone)
        assert client.check(started.id, simulator.code(phone)).phone == phone
    assert (proxy.keys[0], simulator.count(phone)) == (proxy.keys[1], 1)


async def test_by_asyncio_too(service: Service, simulator: Simulator, phone: str) -> None:
    with losing(service) as proxy:
        async with AsyncClient(proxy.url, service.keys["backend"]) as client:
            await client.start(phone)
    assert (len(proxy.keys), len(set(proxy.keys)), simulator.count(phone)) == (2, 1, 1)


def test_an_action_that_failed_is_continued_by_its_key(service: Service, simulator: Simulator, phone: str) -> None:
    with losing(service) as proxy, Client(proxy.url, service.keys["backend"], retries=0) as client:
        with pytest.raises(NoAnswer) as lost:
            client.start(phone)
        assert lost.value.sent
        assert lost.value.idempotency_key
        started = client.start(phone, idempotency_key=lost.value.idempotency_key)
    assert (started.phone, simulator.count(phone)) == (phone, 1)


def test_a_check_is_not_sent_again(service: Service, simulator: Simulator, client: Client, phone: str) -> None:
    started = client.start(phone)
    with losing(service) as proxy, Client(proxy.url, service.keys["backend"]) as lossy:
        with pytest.raises(NoAnswer) as lost:
            lossy.check(started.id, wrong(simulator.code(phone)))
        assert lost.value.sent
    assert client.read(started.id).attempts_left == 2


def test_a_service_that_is_not_there_was_sent_nothing() -> None:
    with Client("http://127.0.0.1:9", "sk_none", retries=1) as client, pytest.raises(NoAnswer) as unreachable:
        client.check("vrf_x", "1234")
    assert not unreachable.value.sent


def test_an_answer_of_something_else_is_a_problem(simulator: Simulator) -> None:
    with Client(simulator.url, "sk_none") as client, pytest.raises(Problem) as foreign:
        client.start(PHONE)
    assert (foreign.value.status, foreign.value.code) == (404, "unexpected_answer")


def test_a_proxy_that_says_200_in_the_services_place_is_no_answer(service: Service) -> None:
    """A backend that passes a problem's status on would let the person in."""
    with answering(lambda *_: (200, b"<html>")) as url, Client(url, service.keys["backend"]) as client:
        with pytest.raises(NoAnswer) as lost:
            client.check("vrf_x", "1234")
        with pytest.raises(NoAnswer):
            client.start(PHONE)
    assert lost.value.sent


def test_an_answer_that_can_t_be_unpacked_is_no_answer() -> None:
    class Broken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the base class calls it so
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"none")

    with listening(Broken) as url, Client(url, "sk_none") as client, pytest.raises(NoAnswer):
        client.redeem("token")


@pytest.mark.parametrize("key", ["x\r\nHost: y", "\u043a\u043b\u044e\u0447"], ids=repr)
def test_an_idempotency_key_that_no_header_can_have_is_the_services_problem(client: Client, key: str) -> None:
    with pytest.raises(Problem, match="400 idempotency_key_invalid"):
        client.start(PHONE, idempotency_key=key)


@pytest.mark.parametrize("key", ["sk_hidden\n", " sk_hidden", "sk_hidden\u044f"], ids=repr)
def test_a_key_that_no_header_can_have_is_refused_at_once_and_not_repeated(key: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="The key has") as refused:
            kind("http://127.0.0.1:9", key)
        assert "hidden" not in "".join(traceback.format_exception_only(refused.value))


# ---- tokens


@pytest.fixture
def verifier(real: RealTokens) -> TokenVerifier:
    return TokenVerifier(real.jwks_url, "lastdigits", "backend")


def test_a_test_number_is_accepted_where_it_is_asked_for(issuer: Issuer) -> None:
    verifier = TokenVerifier(issuer.url, "lastdigits", "backend", accept_test=True)
    verified = verifier.verify(issuer.token(claims={"test": True}), "login")
    assert (verified.phone, verified.test) == (PHONE, True)


def test_with_redeem_a_token_is_accepted_once(verifier: TokenVerifier, real: RealTokens, client: Client) -> None:
    phone, token = real.of("backend")
    assert verifier.verify(token, "login", redeem_with=client).phone == phone
    with pytest.raises(TokenRefused, match="token_redeemed"):
        verifier.verify(token, "login", redeem_with=client)
    assert verifier.verify(token, "login").phone == phone


def test_a_token_for_another_purpose_is_not_used_up(verifier: TokenVerifier, real: RealTokens, client: Client) -> None:
    _, token = real.of("backend", purpose="newsletter")
    with pytest.raises(TokenRefused):
        verifier.verify(token, "login", redeem_with=client)
    assert client.redeem(token).purpose == "newsletter"


def test_no_answer_to_a_redeem_is_a_no(verifier: TokenVerifier, real: RealTokens) -> None:
    _, token = real.of("backend")
    with Client("http://127.0.0.1:9", "sk_none", retries=0) as nowhere, pytest.raises(TokenRefused, match="NoAnswer"):
        verifier.verify(token, "login", redeem_with=nowhere)


@pytest.mark.parametrize(
    "bad", [{"issuer": ""}, {"audience": ""}, {"algorithm": "HS256"}, {"algorithm": "none"}], ids=str
)
def test_a_verifier_that_would_check_too_little_is_not_made(issuer: Issuer, bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="TokenVerifier"):
        TokenVerifier(issuer.url, **({"issuer": "lastdigits", "audience": "backend"} | bad))  # type: ignore[arg-type]  # of strings
