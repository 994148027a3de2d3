"""Our client against a provider, and our simulator against a client, that were written from the provider's document alone."""

from typing import Literal

import pytest

from app.provider.mobilgroup import Credentials, Mobilgroup, body_key, header_key, login
from app.verification.model import Refusal
from app.verification.ports import Placed, Refused
from tests.contract.independent_client import Answer, read_answer, send
from tests.contract.independent_client import Refusal as DocumentedRefusal
from tests.contract.independent_provider import IndependentProvider
from tests.harness import PROVIDER_KEY, Simulator

WAYS = ["header", "body_key", "login"]


def _credentials(provider: IndependentProvider, way: str) -> Credentials:
    if way == "login":
        return login(provider.login, provider.password)
    return header_key(provider.api_key) if way == "header" else body_key(provider.api_key)


@pytest.mark.parametrize("shape", ["documented", "numbers", "sparse"])
@pytest.mark.parametrize("way", WAYS)
async def test_our_client_is_understood_by_an_independent_provider(
    way: str, shape: Literal["documented", "numbers", "sparse"], phone: str
) -> None:
    with IndependentProvider(shape=shape) as provider:
        async with Mobilgroup(provider.url, _credentials(provider, way)) as client:
            for length in (4, 5, 6):
                outcome = await client.place(phone, length)
                assert isinstance(outcome, Placed), outcome
                assert outcome.code == provider.last_code(phone[1:])
                assert len(outcome.code) == length
        assert provider.violations == []
        assert [request.auth for request in provider.requests] == [way] * 3
        assert provider.placed[phone[1:]] == 3


@pytest.mark.parametrize("way", WAYS)
async def test_an_independent_provider_refuses_our_wrong_credentials(way: str, phone: str) -> None:
    with (
        IndependentProvider() as provider,
        IndependentProvider(api_key="other", login="other", password="other") as other,
    ):
        async with Mobilgroup(provider.url, _credentials(other, way)) as client:
            outcome = await client.place(phone, 4)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.CREDENTIALS
        assert provider.placed[phone[1:]] == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("capacity", ["4", "5", "6"])
def test_our_simulator_answers_an_independent_client_as_documented(
    simulator: Simulator, phone: str, way: str, capacity: str
) -> None:
    keys = {
        "header": {"header_key": PROVIDER_KEY},
        "body_key": {"body_key": PROVIDER_KEY},
        "login": {"login": "user", "password": "provider-password-1"},
    }[way]
    answer = read_answer(send(simulator.send_url, phone[1:], capacity, **keys), number=phone[1:], capacity=capacity)  # type: ignore[arg-type]  # a row's keys are strings
    assert isinstance(answer, Answer)
    assert answer.code == simulator.code(phone)


def test_our_simulator_refuses_an_independent_clients_wrong_key(simulator: Simulator, phone: str) -> None:
    answer = read_answer(send(simulator.send_url, phone[1:], "4", header_key="wrong"), number=phone[1:], capacity="4")
    assert answer == DocumentedRefusal("authorisation_failed")
    assert simulator.count(phone) == 0
