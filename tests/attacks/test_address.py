"""Limits by address: no one escapes them by what they write, and no address is taken for another. ATTACKS.md, "Bypasses".

Each test takes addresses of its own. A service without proxies sees a single address, its peer's: there the hours before have passed.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.harness import Service, Simulator, fresh_phone, passing_time, serving, wait_out_the_cooldown, wrong

STARTS = 3
IN_FLIGHT = 50

_numbers = itertools.count(1)


def _address() -> str:
    """An IPv4 address that no other test uses."""
    number = next(_numbers)
    return f"198.18.{number // 250}.{number % 250 + 1}"


def _network() -> str:
    """The first half of IPv6 addresses, a /64, that no other test uses."""
    return f"2001:db8:{next(_numbers):x}:a"


@pytest.fixture(scope="module")
def _facing(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    limits = {"CALLS_PER_IP": f"{STARTS}/hour", "WORKERS": "1"}
    with serving(tmp_path_factory.mktemp("facing"), simulator.send_url, **limits) as service:
        yield service


@pytest.fixture
def facing(_facing: Service) -> Service:
    """A service that strangers reach themselves: all requests come from 127.0.0.1, and none that counts has come before."""

    async def forget() -> None:
        async with passing_time(_facing) as time:
            await time(3 * 3600)

    asyncio.run(forget())
    return _facing


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """A service behind a proxy at 127.0.0.1, which the test plays."""
    limits = {"CALLS_PER_IP": f"{STARTS}/hour", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(tmp_path_factory.mktemp("behind"), simulator.send_url, **limits) as service:
        yield service


def _outcome(answer: httpx.Response) -> str:
    """`pending`, `approved`, a problem's code, or the limit that is reached."""
    body = answer.json()
    return str(body.get("limit") or body.get("code") or body["status"])


def _start(service: Service, client: str = "app", headers: dict[str, str] | None = None, **members: str) -> str:
    answer = service.post("/verify/start", {"phone": fresh_phone(), **members}, client, headers=headers or {})
    return _outcome(answer)


def _forwarded(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def _use_up_starts(service: Service, headers: dict[str, str] | None = None) -> None:
    assert [_start(service, headers=headers) for _ in range(STARTS)] == ["pending"] * STARTS


def _started(service: Service, simulator: Simulator, client: str, **options: dict[str, str]) -> tuple[str, str]:
    """A verification and its code."""
    phone = fresh_phone()
    answer = service.post("/verify/start", {"phone": phone}, client, **options)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], simulator.code(phone)


# ---- one address, many phones


def test_an_address_gets_as_many_calls_as_its_limit_and_says_when_to_come_back(
    facing: Service, simulator: Simulator, phone: str
) -> None:
    _use_up_starts(facing)
    answer = facing.start(phone, "app")
    body = answer.json()
    assert (answer.status_code, body["code"], body["limit"]) == (429, "limit_reached", "calls_per_ip")
    assert 3600 - 60 <= body["retry_after"] <= 3600 * 2
    assert answer.headers["retry-after"] == str(body["retry_after"])
    assert simulator.count(phone) == 0, "a denied start costs nothing"


async def test_many_starts_at_once_from_one_address_are_no_more_calls_than_its_limit(
    behind: Service, simulator: Simulator
) -> None:
    headers, phones = _forwarded(_address()), [fresh_phone() for _ in range(IN_FLIGHT)]
    async with behind.asynchronous("app") as http:
        asked = (http.post("/verify/start", json={"phone": phone}, headers=headers) for phone in phones)
        answers = await asyncio.gather(*asked)
    assert Counter(map(_outcome, answers)) == {"pending": STARTS, "calls_per_ip": IN_FLIGHT - STARTS}
    assert sum(simulator.count(phone) for phone in phones) == STARTS


async def test_a_resend_is_a_call_of_its_address(behind: Service, simulator: Simulator) -> None:
    headers = _forwarded(_address())
    verification, _ = _started(behind, simulator, "app", headers=headers)
    await wait_out_the_cooldown(behind, verification)
    assert behind.post("/verify/resend", {"id": verification}, "app", headers=headers).status_code == 200
    assert [_start(behind, headers=headers) for _ in range(2)] == ["pending", "calls_per_ip"]
    await wait_out_the_cooldown(behind, verification)
    denied = behind.post("/verify/resend", {"id": verification}, "app", headers=headers)
    assert (denied.status_code, _outcome(denied)) == (429, "calls_per_ip")


async def test_a_right_code_is_never_refused_for_the_wrong_ones_of_its_address(
    behind: Service, simulator: Simulator
) -> None:
    """Many people share the address of a carrier NAT."""
    address = _address()
    neighbours = [_started(behind, simulator, "backend") for _ in range(IN_FLIGHT)]
    owner, owner_code = _started(behind, simulator, "backend")
    async with behind.asynchronous() as http:
        guesses = [
            {"id": each, "code": wrong(code, nth), "client_ip": address} for each, code in neighbours for nth in (1, 2)
        ]
        answers = await asyncio.gather(*(http.post("/verify/check", json=guess) for guess in guesses))
    assert {_outcome(answer) for answer in answers} == {"code_incorrect"}
    right = behind.post("/verify/check", {"id": owner, "code": owner_code, "client_ip": address})
    assert right.status_code == 200


# ---- whose address a backend names


def test_backends_share_one_addresss_count_and_strangers_have_another(behind: Service) -> None:
    """Behind a carrier NAT strangers must not use up the calls of people whom a backend or a known device speaks for."""
    address = _address()
    assert [_start(behind, "app", _forwarded(address)) for _ in range(STARTS + 1)] == ["pending"] * STARTS + [
        "calls_per_ip"
    ]
    assert _start(behind, "backend", client_ip=address) == "pending"
    assert _start(behind, "other", client_ip=address) == "pending"
    assert _start(behind, "backend", client_ip=address) == "pending"
    assert _start(behind, "backend", client_ip=address) == "calls_per_ip"
    assert _start(behind, "other", client_ip=address) == "calls_per_ip"
    assert _start(behind, "other", client_ip=_address()) == "pending"


def test_a_backend_that_names_no_address_is_counted_by_none(facing: Service) -> None:
    assert [_start(facing, "backend") for _ in range(STARTS * 3)] == ["pending"] * STARTS * 3
    _use_up_starts(facing)
    assert _start(facing) == "calls_per_ip"
    assert _start(facing, "backend") == "pending", "its own address is not its users'"


def test_a_backends_own_forwarding_headers_name_no_one(behind: Service) -> None:
    headers = _forwarded(_address())
    assert [_start(behind, "backend", headers) for _ in range(STARTS * 2)] == ["pending"] * STARTS * 2
    _use_up_starts(behind, headers)


async def test_the_address_that_a_backend_names_counts_on_resend_too(behind: Service, simulator: Simulator) -> None:
    address = _address()
    one, _ = _started(behind, simulator, "backend")
    for _ in range(STARTS):
        assert _start(behind, "other", client_ip=address) == "pending"
    await wait_out_the_cooldown(behind, one)
    assert _outcome(behind.post("/verify/resend", {"id": one, "client_ip": address})) == "calls_per_ip"
    assert behind.post("/verify/resend", {"id": one, "client_ip": _address()}).status_code == 200


def test_all_spellings_of_the_address_that_a_backend_names_count_as_one(behind: Service) -> None:
    address, network = _address(), _network()
    plain = [address, f"::ffff:{address}", f"0:0:0:0:0:FFFF:{address}", address]
    wide = [f"{network}::1", f"{network}:0:0:0:2".upper(), f"{network}:ffff:ffff:ffff:ffff", f"{network}::1"]
    for spellings in (plain, wide):
        outcomes = [_start(behind, "backend", client_ip=each) for each in spellings]
        assert outcomes == ["pending"] * STARTS + ["calls_per_ip"]


# ---- headers of strangers


def _claims(address: str) -> list[dict[str, str]]:
    """Headers that claim to come from an address."""
    return [
        {"X-Forwarded-For": address},
        {"Forwarded": f"for={address}"},
        {"X-Real-IP": address},
        {"X-Forwarded-For": address, "Forwarded": f"for={address}", "X-Real-IP": address},
        {"X-Forwarded-For": f"{address}, 127.0.0.1", "Forwarded": f"for={address}, for=127.0.0.1"},
        {
            "True-Client-IP": address,
            "CF-Connecting-IP": address,
            "X-Client-IP": address,
            "X-Cluster-Client-IP": address,
        },
    ]


def test_without_trusted_proxies_no_header_escapes_the_limit_on_starts(facing: Service) -> None:
    assert [_start(facing, headers=_claims(_address())[n]) for n in range(STARTS)] == ["pending"] * STARTS
    for n in range(len(_claims(""))):
        headers = _claims(_address())[n]
        assert _start(facing, headers=headers) == "calls_per_ip", headers


def test_a_forwarded_address_of_a_stranger_uses_up_no_one_elses_count(facing: Service) -> None:
    victim = _address()
    _use_up_starts(facing, _forwarded(victim))
    assert _start(facing, "backend", client_ip=victim) == "pending"


# ---- behind a proxy


def test_behind_a_proxy_each_forwarded_address_has_its_own_count(behind: Service) -> None:
    one, two = _address(), _address()
    _use_up_starts(behind, _forwarded(one))
    assert _start(behind, headers=_forwarded(one)) == "calls_per_ip"
    _use_up_starts(behind, _forwarded(f"{two}:4711"))
    assert _start(behind, headers=_forwarded(two)) == "calls_per_ip"
    assert _start(behind, headers=_forwarded(_address())) == "pending"


def test_behind_a_proxy_what_stands_to_the_left_changes_nothing(behind: Service) -> None:
    one = _address()
    _use_up_starts(behind, _forwarded(one))
    for claim in (
        _address(),
        "127.0.0.1",
        "unknown",
        "::1, 127.0.0.1",
        '"',
        "",
        "\xff",
        "x" * 2000,
        ",".join("1" * 60),
    ):
        headers = {"X-Forwarded-For": f"{claim}, {one}".encode("latin-1")}
        assert _start(behind, headers=headers) == "calls_per_ip", claim  # type: ignore[arg-type]


def test_behind_a_proxy_several_lines_are_read_in_their_order(behind: Service) -> None:
    address = _address()
    _use_up_starts(behind, _forwarded(address))
    key = behind.headers("app")["Authorization"]
    lines = [("Authorization", key), ("X-Forwarded-For", _address()), ("X-Forwarded-For", address)]
    answer = behind.http.post("/verify/start", json={"phone": fresh_phone()}, headers=lines)
    assert _outcome(answer) == "calls_per_ip"


def test_behind_a_proxy_no_other_header_counts(behind: Service) -> None:
    """The proxy sets X-Forwarded-For, and passes on the others as a stranger wrote them."""
    address = _address()
    _use_up_starts(behind, _forwarded(address))
    for name in ("Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP"):
        claim = f"for={_address()}" if name == "Forwarded" else _address()
        assert _start(behind, headers=_forwarded(address) | {name: claim}) == "calls_per_ip", name


def _warnings(service: Service) -> list[dict[str, str]]:
    return [line for line in service.lines() if line["event"].startswith("forwarding_")]


def test_a_proxy_whose_header_does_not_count_is_warned_of_once(behind: Service) -> None:
    for name in ("X-Real-IP", "CF-Connecting-IP", "Forwarded") * 4:
        _start(behind, headers={name: _address()})
    warnings = _warnings(behind)
    assert {(line["event"], line["peer"]) for line in warnings} == {("forwarding_missing", "127.0.0.1")}
    assert 1 <= len(warnings) <= 2, "one of each worker"
    assert "X-Forwarded-For" in warnings[0]["detail"]


def test_a_proxy_that_is_not_trusted_is_warned_of_once(facing: Service) -> None:
    for name in ("X-Real-IP", "X-Forwarded-For", "CF-Connecting-IP"):
        _start(facing, headers={name: _address()})
    (warning,) = _warnings(facing)
    assert (warning["event"], warning["peer"]) == ("forwarding_ignored", "127.0.0.1")
    assert "LASTDIGITS_TRUSTED_PROXIES" in warning["detail"]


def test_behind_a_proxy_an_ipv4_address_is_one_in_all_its_spellings(behind: Service) -> None:
    address = _address()
    spellings = [address, f"::ffff:{address}", f"[::FFFF:{address}]:443", f"{address}:49152"]
    outcomes = [_start(behind, headers=_forwarded(each)) for each in spellings]
    assert outcomes == ["pending"] * STARTS + ["calls_per_ip"]


def test_behind_a_proxy_an_ipv6_address_counts_by_its_64(behind: Service) -> None:
    network = _network()
    spellings = [
        {"X-Forwarded-For": f"{network}::1"},
        {"X-Forwarded-For": f"[{network}:1:2:3:4]:443"},
        {"X-Forwarded-For": f"[{network.upper()}::2]:4711"},
        {"X-Forwarded-For": f"{network}:ffff:ffff:ffff:ffff"},
    ]
    assert [_start(behind, headers=each) for each in spellings] == ["pending"] * STARTS + ["calls_per_ip"]
    assert _start(behind, headers=_forwarded(f"{network[:-1]}b::1")) == "pending", "another /64 is another customer"


def test_behind_a_proxy_a_48_of_ipv6_has_four_times_the_calls_of_a_64(behind: Service) -> None:
    """A customer's /56 is 256 strangers of a /64 each."""
    site = f"2001:db8:{next(_numbers):x}"
    outcomes = [_start(behind, headers=_forwarded(f"{site}:{number:x}::1")) for number in range(STARTS * 4 + 2)]
    assert outcomes == ["pending"] * STARTS * 4 + ["calls_per_ip"] * 2
    assert _start(behind, "backend", client_ip=f"{site}:ff::1") == "pending"


def test_behind_a_proxy_a_page_is_counted_as_an_app_is(behind: Service) -> None:
    address = _address()
    _use_up_starts(behind, _forwarded(address))
    headers = _forwarded(address) | {"Origin": "https://shop.example"}
    answer = behind.post("/verify/start", {"phone": fresh_phone()}, "web", headers=headers)
    assert _outcome(answer) == "calls_per_ip"
