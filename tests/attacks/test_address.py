"""Limits by address: no one escapes them by what they write, and no address is taken for another. ATTACKS.md, "Bypasses".

Each test takes addresses of its own. A service without proxies sees a single address, its peer's: there the hours before have passed.
"""

import itertools
import json
import socket
from collections import Counter
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest

from tests.harness import Service, Simulator, fresh_phone, service_with

STARTS = 3
IN_FLIGHT = 50

_facing = service_with(CALLS_PER_IP=f"{STARTS}/hour", WORKERS="1")
behind = service_with(CALLS_PER_IP=f"{STARTS}/hour", TRUSTED_PROXIES="127.0.0.1")
_numbers = itertools.count(1)


@pytest.fixture
def facing(_facing: Service) -> Service:
    """A service that strangers reach themselves: all requests come from 127.0.0.1, and none that counts has come before."""
    _facing.later(3 * 3600)
    return _facing


def _address() -> str:
    """An IPv4 address that no other test uses."""
    number = next(_numbers)
    return f"198.18.{number // 250}.{number % 250 + 1}"


def _forwarded(address: str = "") -> dict[str, str]:
    return {"X-Forwarded-For": address or _address()}


def _outcome(answer: httpx.Response) -> str:
    """`pending`, `approved`, a problem's code, or the limit that is reached."""
    body = answer.json()
    return str(body.get("limit") or body.get("code") or body["status"])


def _start(service: Service, client: str = "app", headers: dict[str, Any] | None = None, **members: str) -> str:
    return _outcome(service.start(fresh_phone(), client, headers, **members))


def _use_up_starts(service: Service, headers: dict[str, str] | None = None) -> None:
    assert [_start(service, headers=headers) for _ in range(STARTS)] == ["pending"] * STARTS


def test_many_starts_at_once_from_one_address_are_no_more_calls_than_its_limit(
    behind: Service, simulator: Simulator
) -> None:
    phones = [fresh_phone() for _ in range(IN_FLIGHT)]
    bodies = [{"phone": phone} for phone in phones]
    answers = behind.at_once("/verify/start", bodies, "app", [_forwarded()] * IN_FLIGHT)
    assert Counter(map(_outcome, answers)) == {"pending": STARTS, "calls_per_ip": IN_FLIGHT - STARTS}
    assert sum(simulator.count(phone) for phone in phones) == STARTS, "a denied start costs nothing"
    for answer in answers:
        if answer.status_code != 201:
            assert answer.status_code == 429
            assert 3600 - 60 <= answer.json()["retry_after"] == int(answer.headers["retry-after"]) <= 3600 * 2


@pytest.mark.parametrize("client", ["app", "backend"])
def test_a_resend_is_a_call_of_the_address_that_it_comes_from_or_that_a_backend_names(
    behind: Service, simulator: Simulator, client: str
) -> None:
    address = _address()
    named = {"client_ip": address} if client == "backend" else {}
    verification, _ = behind.begin(simulator, "", client)

    def resend() -> str:
        behind.later(60)
        body = {"id": verification} | named
        return _outcome(behind.post("/verify/resend", body, client, headers=_forwarded(address)))

    assert resend() == "pending"
    outcomes = [_start(behind, client, _forwarded(address), **named) for _ in range(STARTS)]
    assert outcomes == ["pending"] * (STARTS - 1) + ["calls_per_ip"]
    assert resend() == "calls_per_ip"


# ---- whose address a backend names


def test_a_backend_that_names_no_address_is_counted_by_none(facing: Service, behind: Service) -> None:
    for service, headers in ((facing, {}), (behind, _forwarded())):
        assert [_start(service, "backend", headers) for _ in range(STARTS * 3)] == ["pending"] * STARTS * 3
        _use_up_starts(service, headers)
        assert _start(service, headers=headers) == "calls_per_ip"
        assert _start(service, "backend", headers) == "pending", "its own address is not its users'"


SPELLINGS = {
    "ipv4": ["{ip}", "::ffff:{ip}", "0:0:0:0:0:FFFF:{ip}", "{ip}"],
    "ipv4 and a port": ["{ip}", "[::FFFF:{ip}]:443", "{ip}:49152", "{ip}"],
    "ipv6": ["{net}::1", "{net}:0:0:0:2", "{net}:ffff:ffff:ffff:ffff", "{net}::1"],
    "ipv6 and a port": ["{net}::1", "[{net}:1:2:3:4]:443", "[{net}::2]:4711", "{net}:ffff:ffff:ffff:ffff"],
}
"""Each is one address, or one /64 of IPv6."""


@pytest.mark.parametrize("kind", SPELLINGS)
def test_all_spellings_of_an_address_count_as_one(behind: Service, kind: str) -> None:
    for client in ("app", "backend"):
        if client == "backend" and "port" in kind:
            continue  # a backend names an address alone
        site = f"2001:db8:{next(_numbers):x}"
        names = {"ip": _address(), "net": f"{site}:a"}
        outcomes = []
        for spelling in SPELLINGS[kind]:
            address = spelling.format(**names)
            named = {"client_ip": address.upper()} if client == "backend" else {}
            outcomes.append(_start(behind, client, _forwarded(address.upper()), **named))
        assert outcomes == ["pending"] * STARTS + ["calls_per_ip"], client
        assert _start(behind, headers=_forwarded(f"{site}:b::1")) == "pending", "another /64 is another customer"


def test_behind_a_proxy_a_48_of_ipv6_has_four_times_the_calls_of_a_64(behind: Service) -> None:
    """A customer's /56 is 256 strangers of a /64 each."""
    site = f"2001:db8:{next(_numbers):x}"
    outcomes = [_start(behind, headers=_forwarded(f"{site}:{number:x}::1")) for number in range(STARTS * 4 + 2)]
    assert outcomes == ["pending"] * STARTS * 4 + ["calls_per_ip"] * 2
    assert _start(behind, "backend", client_ip=f"{site}:ff::1") == "pending"


# ---- headers of strangers


def _claims(address: str) -> list[dict[str, str]]:
    """Headers that claim to come from an address."""
    return [
        {"X-Forwarded-For": address},
        {"X-Forwarded-For": f"{address}, 127.0.0.1"},
        {"Forwarded": f"for={address}, for=127.0.0.1"},
        {"X-Real-IP": address},
        {"True-Client-IP": address, "CF-Connecting-IP": address, "X-Client-IP": address},
        {"X-Forwarded-For": address, "Forwarded": f"for={address}", "X-Real-IP": address},
    ]


def _warnings(service: Service) -> list[dict[str, str]]:
    return [line for line in service.lines() if line["event"].startswith("forwarding_")]


def test_without_trusted_proxies_no_header_escapes_the_limit_or_uses_up_anothers(facing: Service) -> None:
    victim = _address()
    _use_up_starts(facing, _forwarded(victim))
    for headers in _claims(_address()):
        assert _start(facing, headers=headers) == "calls_per_ip", headers
    assert _start(facing, "backend", client_ip=victim) == "pending"
    (warning,) = _warnings(facing)
    assert (warning["event"], warning["peer"]) == ("forwarding_ignored", "127.0.0.1")
    assert "LASTDIGITS_TRUSTED_PROXIES" in warning["detail"]


def test_behind_a_proxy_each_forwarded_address_has_its_own_count_and_no_other_header_counts(behind: Service) -> None:
    for address in (_address(), _address()):
        _use_up_starts(behind, _forwarded(address))
        for headers in _claims(_address())[2:5]:
            assert _start(behind, headers=_forwarded(address) | headers) == "calls_per_ip", headers
    assert _start(behind, headers=_forwarded()) == "pending"


def test_behind_a_proxy_what_stands_to_the_left_changes_nothing(behind: Service) -> None:
    own = _address()
    _use_up_starts(behind, _forwarded(own))
    many = ",".join("1" * 60)
    for claim in (_address(), "127.0.0.1", "unknown", "::1, 127.0.0.1", '"', "", "\xff", "x" * 2000, many):
        headers = {"X-Forwarded-For": f"{claim}, {own}".encode("latin-1")}
        assert _start(behind, headers=headers) == "calls_per_ip", claim
    lines = [("X-Forwarded-For", _address()), ("X-Forwarded-For", own), *behind.headers("app").items()]
    answer = behind.http.post("/verify/start", json={"phone": fresh_phone()}, headers=lines)
    assert _outcome(answer) == "calls_per_ip", "several lines are one list"


def test_behind_a_proxy_what_follows_the_body_changes_nothing(behind: Service) -> None:
    """Proxies hand on trailers, in which a stranger writes what the proxy itself writes in the head."""
    own, address = _address(), httpx.URL(behind.url)
    _use_up_starts(behind, _forwarded(own))
    body = json.dumps({"phone": fresh_phone()})
    lines = ["POST /verify/start HTTP/1.1", "Host: x", "Connection: close", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (behind.headers("app") | _forwarded(own)).items()]
    lines += ["Transfer-Encoding: chunked", "", f"{len(body):x}", body, "0", f"X-Forwarded-For: {_address()}", "", ""]
    with socket.create_connection((address.host, address.port), timeout=15) as connection:
        connection.sendall("\r\n".join(lines).encode())
        with HTTPResponse(connection) as answer:
            answer.begin()
            assert json.loads(answer.read())["limit"] == "calls_per_ip"


def test_a_proxy_whose_header_does_not_count_is_warned_of_once(behind: Service) -> None:
    for name in ("X-Real-IP", "CF-Connecting-IP", "Forwarded") * 4:
        _start(behind, headers={name: _address()})
    warnings = _warnings(behind)
    assert {(line["event"], line["peer"]) for line in warnings} == {("forwarding_missing", "127.0.0.1")}
    assert 1 <= len(warnings) <= 2, "one of each worker"
    assert "X-Forwarded-For" in warnings[0]["detail"]
