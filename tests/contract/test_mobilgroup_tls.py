"""Mobilgroup's client over TLS, and through a proxy: a server that is not the one in the URL gets no request."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.provider.mobilgroup import Limits, Mobilgroup, header_key
from app.verification.model import Refusal
from app.verification.ports import CallOutcome, Placed, Refused, Unknown
from tests.contract.raw_provider import OK, RawProvider, answer

PHONE = "+79161234567"
PLACED = Placed("0427", "1234", Decimal("0.35"))


def assert_never_sent(outcome: CallOutcome) -> None:
    assert isinstance(outcome, Refused), outcome
    assert outcome.reason is Refusal.UNREACHABLE
    assert outcome.detail


def identity(directory: Path, *names: str) -> ssl.SSLContext:
    """A server's identity under these names, signed by itself: `directory / "certificate.pem"`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=1))
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
    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the one certificate that is trusted, by the documented variable."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    return tmp_path


def client_of(provider: RawProvider, host: str, limits: Limits | None = None, proxy: str | None = None) -> Mobilgroup:
    return Mobilgroup(f"https://{host}:{provider.port}/send/", header_key("key"), limits or Limits(), proxy)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_of_ssl_cert_file_is_trusted_for_its_names(trusted: Path, host: str) -> None:
    context = identity(trusted, "localhost", "127.0.0.1")
    async with RawProvider(answer(OK), tls=context) as provider, client_of(provider, host) as client:
        assert await client.place(PHONE, 4) == PLACED


@pytest.mark.parametrize(("host", "name"), [("localhost", "127.0.0.1"), ("127.0.0.1", "localhost")])
async def test_a_server_that_is_not_the_one_in_the_url_is_sent_nothing(trusted: Path, host: str, name: str) -> None:
    async with RawProvider(answer(OK), tls=identity(trusted, name)) as provider, client_of(provider, host) as client:
        assert_never_sent(await client.place(PHONE, 4))
        assert provider.requests == []


async def test_a_certificate_that_is_not_in_the_trust_store_is_sent_nothing(tmp_path: Path) -> None:
    context = identity(tmp_path, "localhost")
    async with RawProvider(answer(OK), tls=context) as provider, client_of(provider, "localhost") as client:
        assert_never_sent(await client.place(PHONE, 4))
        assert provider.requests == []


@pytest.mark.parametrize("accepts", [False, True], ids=["fails", "hangs"])
async def test_a_handshake_that_does_not_end_is_unreachable_after_two_tries(accepts: bool) -> None:
    limits = Limits(connect_timeout=0.05 if accepts else 5)
    async with RawProvider(answer(OK), accepts=accepts) as provider, client_of(provider, "127.0.0.1", limits) as client:
        assert_never_sent(await client.place(PHONE, 4))
        assert provider.connections == 2


# ---- a proxy


class Proxy:
    """Opens tunnels (RFC 9110, 9.3.6) with its statuses, one a request; the last one stays. None: closes instead."""

    def __init__(self, *statuses: int | None) -> None:
        self.statuses = list(statuses)
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status is None:
                return
            writer.write(f"HTTP/1.1 {status} Foreign words\r\n\r\n".encode())
            if status == 200:
                port = int(self.heads[-1].split(" ")[1].partition(":")[2])
                there, back = await asyncio.open_connection("127.0.0.1", port)
                with closing(back):
                    await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@asynccontextmanager
async def proxying(*statuses: int | None) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(*statuses)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        yield proxy, f"http://user:hidden@127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_call_goes_through_the_proxy_which_sees_only_where_to_and_is_asked_again_if_it_refuses(
    trusted: Path,
) -> None:
    async with (
        proxying(503, 200) as (proxy, url),
        RawProvider(answer(OK), tls=identity(trusted, "localhost")) as provider,
        client_of(provider, "localhost", proxy=url) as client,
    ):
        assert await client.place(PHONE, 4) == PLACED
        assert await client.place(PHONE, 4) == PLACED
        assert (len(proxy.heads), provider.connections, len(provider.requests)) == (3, 2, 2)
        for head in proxy.heads:
            assert head.startswith(f"CONNECT localhost:{provider.port} HTTP/1.1\r\n")
            assert "Proxy-Authorization: Basic" in head
            assert "\r\nAuthorization: " not in head
        assert "proxy-authorization" not in provider.requests[0].headers


async def test_a_tunnel_that_the_proxy_refuses_twice_is_unreachable() -> None:
    async with proxying(407) as (proxy, url), Mobilgroup("https://a.example/", header_key("key"), proxy=url) as client:
        outcome = await client.place(PHONE, 4)
        assert outcome == Refused(Refusal.UNREACHABLE, "ProxyError 407 Foreign words")
        assert len(proxy.heads) == 2


async def test_a_proxy_that_closes_instead_of_answering_is_unknown_and_not_asked_again() -> None:
    """httpx2 reports it as a lost answer, and no one can see that it was not the provider's."""
    async with proxying(None) as (proxy, url), Mobilgroup("https://a.example/", header_key("key"), proxy=url) as client:
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert len(proxy.heads) == 1


async def test_an_environments_proxy_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxying(200) as (proxy, url), RawProvider(answer(OK)) as provider:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, url)
        async with Mobilgroup(provider.url, header_key("key")) as client:
            assert await client.place(PHONE, 4) == PLACED
        assert proxy.heads == []
