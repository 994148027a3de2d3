"""Bypasses: ATTACKS.md, "Bypasses", as far as the routes exist."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.harness import Service, Simulator, wait_out_the_cooldown, wrong

INTERNAL = [("GET", "/verify/{id}"), ("POST", "/verify/{id}/cancel"), ("POST", "/verify/redeem"), ("GET", "/policy")]
ALL = [("POST", "/verify/start"), ("POST", "/verify/check"), ("POST", "/verify/resend"), *INTERNAL]


def _ask(service: Service, method: str, path: str, verification: str, headers: dict[str, str]) -> tuple[int, str]:
    body = {"phone": "+79991234567"} if path.endswith("start") else {"id": verification, "code": "0000"}
    if path.endswith("resend"):
        body = {"id": verification}
    if path.endswith("redeem"):
        body = {"token": "a.b.c"}
    answer = service.http.request(
        method, path.format(id=verification), json=body if method == "POST" else None, headers=headers
    )
    return answer.status_code, answer.json().get("code", "")


@pytest.mark.parametrize(("method", "path"), ALL)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Basic dXNlcjpwYXNz", "sk_x", "Bearer sk_" + "A" * 43, "Bearer \xff"]
)
def test_no_route_opens_without_a_known_key(
    service: Service, method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    status, code = _ask(service, method, path, "vrf_" + "A" * 44, {k: v.encode("latin-1") for k, v in headers.items()})  # type: ignore[misc]
    assert (status, code) in {(401, "key_missing"), (401, "key_unknown")}


@pytest.mark.parametrize(("method", "path"), INTERNAL)
def test_a_public_key_reaches_no_internal_route(service: Service, method: str, path: str) -> None:
    headers = service.headers("app")
    assert _ask(service, method, path, "vrf_" + "A" * 44, headers) == (403, "key_not_allowed")


def test_a_public_key_of_a_page_works_from_its_origin_only(service: Service, phone: str) -> None:
    def start(**headers: str) -> tuple[int, str]:
        answer = service.post("/verify/start", {"phone": phone}, "web", headers=headers)
        return answer.status_code, answer.json().get("code", "")

    for origin in (
        "https://evil.example",
        "https://shop.example.evil.example",
        "http://shop.example",
        "null",
        "https://shop.example:8443",
    ):
        assert start(Origin=origin) == (403, "origin_not_allowed")
    assert start() == (403, "origin_not_allowed")
    assert start(Origin="https://shop.example")[0] == 201


def test_another_clients_verification_is_like_an_unknown_one(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification = service.start(phone).json()["id"]
    code = simulator.code(phone)
    unknown = "vrf_" + "A" * 44
    asks = [("POST", "/verify/check", code), ("POST", "/verify/check", "1"), ("POST", "/verify/resend", "")]
    for method, path, typed in [*asks, *((method, path, "") for method, path in INTERNAL if "{id}" in path)]:
        answers = set()
        for asked in (verification, unknown, "vrf_", "x" * 100):
            body = {"id": asked, "code": typed} if path.endswith("check") else {"id": asked}
            answer = service.http.request(
                method, path.format(id=asked), json=body if method == "POST" else None, headers=service.headers("other")
            )
            answers.add((answer.status_code, answer.content))
        assert len(answers) == 1, f"{path} distinguishes a foreign id from an unknown one: {answers}"
        assert next(iter(answers))[0] == 404
    assert service.check(verification, code).status_code == 200, "the foreign client spent nothing and ended nothing"


def test_a_stranger_without_the_id_cannot_burn_attempts(service: Service, simulator: Simulator, phone: str) -> None:
    verification = service.start(phone).json()["id"]
    for forged in (
        verification[:-1] + ("A" if verification[-1] != "A" else "B"),
        verification.swapcase(),
        verification + "A",
    ):
        assert service.check(forged, "0000").status_code == 404
    assert service.get(f"/verify/{verification}").json()["attempts_left"] == 3


async def test_a_new_verification_does_not_revive_an_old_one(
    service: Service, simulator: Simulator, phone: str
) -> None:
    first = service.start(phone).json()["id"]
    code = simulator.code(phone)
    for nth in (1, 2, 3):
        service.check(first, wrong(code, nth))
    await wait_out_the_cooldown(service, first)
    assert service.start(phone).status_code == 201
    assert service.check(first, code).json()["code"] == "attempts_exhausted"
    assert service.check(first, simulator.code(phone)).json()["code"] == "attempts_exhausted"


def test_after_approval_a_wrong_code_is_refused_and_the_right_one_is_the_same_approval(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification = service.start(phone).json()["id"]
    code = simulator.code(phone)
    first = service.check(verification, code)
    assert service.check(verification, wrong(code)).status_code == 409
    assert service.check(verification, code).content == first.content


def test_a_page_cannot_name_its_own_address(service: Service, phone: str) -> None:
    answer = service.start(phone, "app", client_ip="203.0.113.7")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "client_ip")
    assert service.start(phone, client_ip="203.0.113.7").status_code == 201


def test_a_body_that_breaks_off_calls_no_one(service: Service, simulator: Simulator, phone: str) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 5) as connection:
        head = f"POST /verify/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {service.keys['backend']}\r\n"
        connection.sendall(f'{head}Content-Length: 200\r\n\r\n{{"phone": "{phone}"}}'.encode())
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)
    assert service.start(phone).status_code == 201, "the broken request reserved nothing"
    assert simulator.count(phone) == 1
