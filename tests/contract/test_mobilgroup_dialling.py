"""From a name to a connected socket: every address gets its chance, and none keeps the others waiting."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.telephony import dialling
from app.telephony.credentials import HeaderKey
from app.telephony.dialling import HEAD_START, Address, Addresses, first_connected
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.verification.call import Placed
from tests.contract.raw_provider import RawProvider, answer

OK = {"result": "ok", "code": "0427"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def refusing() -> Address:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return socket.AF_INET, taken.getsockname()


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address that accepts nobody: its backlog is full, and Linux lets the rest wait."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield socket.AF_INET, full.getsockname()


def address_of(listener: socket.socket) -> Address:
    return listener.family, listener.getsockname()


async def test_an_address_that_refuses_gives_way_at_once(listener: socket.socket, refusing: Address) -> None:
    begun = time.monotonic()
    address, connected = await first_connected([refusing, refusing, address_of(listener)])
    with connected:
        assert address == address_of(listener)
        assert connected.getpeername() == listener.getsockname()
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert time.monotonic() - begun < HEAD_START


async def test_an_address_that_is_silent_gives_way_after_its_head_start(
    listener: socket.socket, silent: Address
) -> None:
    begun = time.monotonic()
    address, connected = await first_connected([silent, address_of(listener)])
    connected.close()
    assert address == address_of(listener)
    assert HEAD_START - 0.05 < time.monotonic() - begun < HEAD_START + 0.5


async def test_no_address_left_is_told_by_the_first(refusing: Address) -> None:
    with pytest.raises(ConnectionRefusedError):
        await first_connected([refusing, refusing])
    with pytest.raises(OSError, match="no address"):
        await first_connected([])


async def test_a_family_that_does_not_work_is_not_tried_to_its_end_first(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    tried: list[object] = []
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def noting(sock: socket.socket, address: Any) -> None:
        tried.append(address)
        await connect(sock, address)

    monkeypatch.setattr(loop, "sock_connect", noting)
    sixes: list[Address] = [(socket.AF_INET6, ("::1", 9, 0, number)) for number in range(3)]
    _, connected = await first_connected([*sixes, address_of(listener)])
    connected.close()
    assert tried == [sixes[0][1], listener.getsockname()]


async def test_whoever_is_late_or_cancelled_leaves_no_socket_open(listener: socket.socket, silent: Address) -> None:
    """The run treats an unclosed socket's warning as an error."""
    _, connected = await first_connected([silent, address_of(listener)])
    connected.close()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await first_connected([silent, silent])
    await asyncio.sleep(0)


async def test_a_name_is_looked_up_once_for_all_who_ask_and_again_when_it_has_aged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lookups: list[str] = []

    async def noting(host: str, port: int) -> list[Address]:
        lookups.append(host)
        await asyncio.sleep(0.01)
        return [(socket.AF_INET, (f"127.0.0.{len(lookups)}", port))]

    monkeypatch.setattr(dialling, "look_up", noting)
    addresses = Addresses("provider.example", 80)
    first = [(socket.AF_INET, ("127.0.0.1", 80))]
    impatient = asyncio.ensure_future(addresses.known())
    asked = [asyncio.ensure_future(addresses.known()) for _ in range(10)]
    await asyncio.sleep(0)
    impatient.cancel()
    addresses.forget()
    assert await asyncio.gather(*asked) == [first] * 10
    assert await addresses.known() == first
    monkeypatch.setattr(dialling, "REMEMBERED", 0.0)
    addresses.forget()
    assert await addresses.known() != first
    assert await addresses.known() != first
    assert len(lookups) == 3


async def test_a_lookup_that_failed_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(_host: str, _port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_AGAIN, "again")

    addresses = Addresses("provider.example", 80)
    with monkeypatch.context() as patch:
        patch.setattr(dialling, "look_up", failing)
        with pytest.raises(socket.gaierror):
            await addresses.known()
    monkeypatch.setattr(dialling, "look_up", lambda _host, _port: asyncio.sleep(0, []))
    assert await addresses.known() == []


async def test_the_systems_resolver_is_asked_for_names_and_addresses() -> None:
    assert (socket.AF_INET, ("127.0.0.1", 80)) in await dialling.look_up("localhost", 80)
    assert await dialling.look_up("127.0.0.1", 80) == [(socket.AF_INET, ("127.0.0.1", 80))]
    assert await dialling.look_up("::1", 80) == [(socket.AF_INET6, ("::1", 80, 0, 0))]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_an_ipv6_address_in_the_url_is_called_and_named_in_brackets() -> None:
    try:
        provider = RawProvider(answer(OK), host="::1")
        await provider.__aenter__()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(provider.__aexit__)
        client = Mobilgroup(f"http://[::1]:{provider.port}/", HeaderKey("key"), Limits(0.5, 0.5))
        await stack.enter_async_context(client)
        assert isinstance(await client.place("+79161234567", 4), Placed)
        assert provider.requests[0].headers["host"] == f"[::1]:{provider.port}"
