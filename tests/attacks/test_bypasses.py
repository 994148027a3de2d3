"""Bypasses: ATTACKS.md, "Bypasses": no route without its key, and nothing of others."""

import httpx
import pytest

from tests.harness import Service, Simulator, wrong

UNKNOWN = "vrf_" + "A" * 44
INTERNAL = [("GET", "/verify/{id}"), ("POST", "/verify/{id}/cancel"), ("POST", "/verify/redeem"), ("GET", "/policy")]
ALL = [("POST", "/verify/start"), ("POST", "/verify/check"), ("POST", "/verify/resend"), *INTERNAL]
BODIES = {
    "/verify/start": {"phone": "+79991234567"},
    "/verify/check": {"code": "0000"},
    "/verify/redeem": {"token": "a.b.c"},
}


def _ask(
    service: Service, method: str, path: str, headers: dict[str, str], asked: str = UNKNOWN, **members: str
) -> httpx.Response:
    named = {"id": asked} if path in {"/verify/check", "/verify/resend"} else {}
    body = BODIES.get(path, {}) | named | members if method == "POST" else None
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    return service.http.request(method, path.format(id=asked), json=body, headers=encoded)  # type: ignore[arg-type]


@pytest.mark.parametrize(("method", "path"), ALL)
def test_no_route_opens_without_a_known_key(service: Service, method: str, path: str) -> None:
    assert _ask(service, method, path, {}).json()["code"] == "key_missing"
    for key in ("", "Bearer", "Basic dXNlcjpwYXNz", "sk_x", "Bearer sk_" + "A" * 43, "Bearer \xff"):
        answer = _ask(service, method, path, {"Authorization": key})
        assert answer.status_code == 401, key
        assert answer.json()["code"] in {"key_missing", "key_unknown"}


@pytest.mark.parametrize(("method", "path"), INTERNAL)
def test_a_public_key_reaches_no_internal_route(service: Service, method: str, path: str) -> None:
    answer = _ask(service, method, path, service.headers("app"))
    assert (answer.status_code, answer.json()["code"]) == (403, "key_not_allowed")


def test_a_public_key_of_a_page_works_from_its_origin_only(service: Service, phone: str) -> None:
    for origin in (
        None,
        "null",
        "https://evil.example",
        "https://shop.example.evil.example",
        "http://shop.example",
        "https://shop.example:8443",
    ):
        answer = service.start(phone, "web", {"Origin": origin} if origin else {})
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert service.start(phone, "web", {"Origin": "https://shop.example"}).status_code == 201


def test_another_clients_verification_is_like_an_unknown_one(service: Service, simulator: Simulator) -> None:
    verification, code = service.begin(simulator)
    asks = [("POST", "/verify/check", {"code": code}), ("POST", "/verify/check", {"code": "1"})]
    asks += [(method, path, {}) for method, path in [("POST", "/verify/resend"), *INTERNAL[:2]]]
    for method, path, members in asks:
        ids = (verification, UNKNOWN, "vrf_", "x" * 100)
        answers = [_ask(service, method, path, service.headers("other"), asked, **members) for asked in ids]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1, (
            f"{path} distinguishes a foreign id from an unknown one"
        )
    assert service.check(verification, code).status_code == 200, "the foreign client spent nothing and ended nothing"


def test_a_stranger_without_the_id_cannot_burn_attempts(service: Service, simulator: Simulator) -> None:
    verification, _ = service.begin(simulator)
    other = "A" if verification[-1] != "A" else "B"
    for forged in (verification[:-1] + other, verification.swapcase(), verification + "A"):
        assert service.check(forged, "0000").status_code == 404
    assert service.get(f"/verify/{verification}").json()["attempts_left"] == 3


def test_a_new_verification_does_not_revive_an_old_one(service: Service, simulator: Simulator, phone: str) -> None:
    first, code = service.begin(simulator, phone)
    for nth in (1, 2, 3):
        service.check(first, wrong(code, nth))
    service.later(30)
    _, second = service.begin(simulator, phone)
    for typed in (code, second):
        assert service.check(first, typed).json()["code"] == "attempts_exhausted"


def test_a_page_cannot_name_its_own_address(service: Service, phone: str) -> None:
    answer = service.start(phone, "app", client_ip="203.0.113.7")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "client_ip")
    assert service.start(phone, client_ip="203.0.113.7").status_code == 201
