"""Mobilgroup's client over TLS: whoever is not who the URL names is sent nothing."""

import asyncio
import ipaddress
import json
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.telephony import dialling
from app.telephony.credentials import HeaderKey
from app.telephony.dialling import Address
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.verification.call import CallOutcome, Placed, Refusal, Refused, Unknown
from tests.contract.raw_provider import RawProvider, answer, close, hang, send

PHONE = "+79161234567"
OK = {"result": "ok", "id": "1234", "number": "79161234567", "price": "0.35", "code": "0427"}
PLACED = Placed("0427", "1234", Decimal("0.35"))
LIMITS = Limits(connect_timeout=1, read_timeout=1)
HASTY = Limits(connect_timeout=0.2, read_timeout=0.2)


def client_of(url: str, limits: Limits = LIMITS) -> Mobilgroup:
    return Mobilgroup(url, HeaderKey("key-7d1f9c"), limits)


def assert_unreachable(outcome: CallOutcome) -> None:
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.UNREACHABLE
    assert outcome.detail


def identity(directory: Path, *names: str, days: int = 1) -> ssl.SSLContext:
    """A server's identity under these names, which vouches for itself: `directory / "certificate.pem"`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the one certificate lies that the system trusts (OpenSSL reads the variable), and every name leads to loopback."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))

    async def loopback(_host: str, port: int) -> list[Address]:
        return [(socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(dialling, "look_up", loopback)
    return tmp_path


def named(provider: RawProvider, host: str) -> str:
    return f"https://{host}:{provider.port}/api/call-password/send/"


@pytest.mark.parametrize("host", ["provider.example", "PROVIDER.example", "provider.example.", "127.0.0.1"])
async def test_a_provider_who_is_who_the_url_names_is_asked_on_one_connection(trusted: Path, host: str) -> None:
    context = identity(trusted, "provider.example", "127.0.0.1")
    asked_for: list[str | None] = []
    context.sni_callback = lambda _connection, name, _context: asked_for.append(name)
    async with RawProvider(answer(OK), tls=context) as provider, client_of(named(provider, host)) as client:
        assert [await client.place(PHONE, 4) for _ in range(3)] == [PLACED] * 3
        assert provider.connections == 1
        assert provider.requests[0].headers["host"] == f"{host.lower()}:{provider.port}"
    # No name is told where the URL has none (RFC 6066, 3).
    assert asked_for == [None if host == "127.0.0.1" else "provider.example"]


async def test_an_answer_that_ends_with_its_tls_connection_is_whole(trusted: Path) -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(OK).encode()
    async with (
        RawProvider(send(data), tls=identity(trusted, "provider.example")) as provider,
        client_of(named(provider, "provider.example")) as client,
    ):
        assert await client.place(PHONE, 4) == PLACED
        assert await client.place(PHONE, 4) == PLACED
        assert provider.connections == 2


async def test_a_tls_connection_that_ends_before_its_answer_is_unknown_and_not_repeated(trusted: Path) -> None:
    async with (
        RawProvider(close, tls=identity(trusted, "provider.example")) as provider,
        client_of(named(provider, "provider.example")) as client,
    ):
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert provider.connections == len(provider.requests) == 1


@pytest.mark.parametrize(
    ("host", "names", "days"),
    [
        ("provider.example", ["other.example"], 1),
        ("provider.example", ["127.0.0.1"], 1),
        ("127.0.0.1", ["provider.example"], 1),
        ("127.0.0.1", ["127.0.0.2"], 1),
        ("a.b.example", ["*.example"], 1),
        ("provider.example", ["provider.example"], -1),
    ],
    ids=["another name", "an address for a name", "a name for an address", "another address", "wildcard", "expired"],
)
async def test_a_provider_who_is_somebody_else_is_sent_nothing(
    trusted: Path, host: str, names: list[str], days: int
) -> None:
    async with (
        RawProvider(answer(OK), tls=identity(trusted, *names, days=days)) as provider,
        client_of(named(provider, host)) as client,
    ):
        assert_unreachable(await client.place(PHONE, 4))
        assert provider.requests == []


async def test_a_certificate_that_nobody_vouches_for_is_sent_nothing(tmp_path: Path) -> None:
    async with (
        RawProvider(answer(OK), tls=identity(tmp_path, "127.0.0.1")) as provider,
        client_of(provider.url) as client,
    ):
        assert_unreachable(await client.place(PHONE, 4))
        assert provider.requests == []


async def test_an_address_where_tls_fails_gives_way_to_the_next(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        RawProvider(answer(OK), tls=identity(trusted, "provider.example")) as provider,
        RawProvider(answer(OK), accepts=False) as plain,
    ):

        async def both(_host: str, _port: int) -> list[Address]:
            return [(socket.AF_INET, ("127.0.0.1", each.port)) for each in (plain, provider)]

        monkeypatch.setattr(dialling, "look_up", both)
        async with client_of("https://provider.example/") as client:
            assert await client.place(PHONE, 4) == PLACED
        assert (plain.connections, provider.connections) == (1, 1)


async def test_a_handshake_that_fails_is_unreachable_after_two_tries() -> None:
    async with RawProvider(send(b"no TLS here")) as provider:
        provider.accepts = False
        async with client_of(provider.url.replace("http:", "https:"), HASTY) as client:
            assert_unreachable(await client.place(PHONE, 4))
    assert provider.connections == 2


async def test_a_handshake_that_hangs_is_unreachable_in_time() -> None:
    async with RawProvider(hang) as provider, client_of(provider.url.replace("http:", "https:"), HASTY) as client:
        begun = time.monotonic()
        assert_unreachable(await client.place(PHONE, 4))
        assert time.monotonic() - begun < 2 * HASTY.connect_timeout + 0.5
    assert provider.connections == 2


async def test_closing_ends_handshakes_under_way() -> None:
    async with RawProvider(hang) as provider, client_of(provider.url.replace("http:", "https:"), Limits(5)) as client:
        task = asyncio.create_task(client.place(PHONE, 4))
        async with asyncio.timeout(2):
            while provider.connections == 0:  # noqa: ASYNC110  no request will tell of it
                await asyncio.sleep(0)
            await client.close()
            assert_unreachable(await task)
