"""deploy/nginx.conf as it is shipped; only its addresses, certificate and log are the test's."""

import itertools
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.harness import ROOT, Service, Simulator, fresh_phone, serving
from tests.nginx.server import STARTS, free_port, prepare, run_nginx

pytestmark = pytest.mark.nginx

_hosts = itertools.count(2)


@pytest.fixture
def address() -> str:
    """A client's address that no other test uses."""
    return f"127.0.1.{next(_hosts)}"


def _make_certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "verify.example.com")])
    names = [x509.DNSName("verify.example.com"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "key.pem").write_bytes(key.private_bytes(*formats))


def _here(shipped: str, service: int, plain: int, secure: int) -> str:
    """The shipped file with this machine's addresses and files."""
    places = [
        (r"listen 80;", f"listen 127.0.0.1:{plain};"),
        (r"listen \[::\]:80;", f"listen [::1]:{free_port('::1')};"),
        (r"listen 443 ", f"listen 127.0.0.1:{secure} "),
        (r"listen \[::\]:443 ", f"listen [::1]:{free_port('::1')} "),
        (r"(ssl_certificate +)/\S+;", r"\1certificate.pem;"),
        (r"(ssl_certificate_key +)/\S+;", r"\1key.pem;"),
        (r"access_log /\S+;", "access_log access.log;"),
        (r"server 127\.0\.0\.1:8000;", f"server 127.0.0.1:{service};"),
    ]
    for pattern, replacement in places:
        shipped, found = re.subn(pattern, replacement, shipped)
        assert found == 1, pattern
    return shipped


def _trusted(shipped: str) -> str:
    """What the file says to trust."""
    match = re.search(r"LASTDIGITS_TRUSTED_PROXIES must name[^.]* here ([\d.]+\d)", shipped.replace("\n# ", " "))
    assert match
    return match[1]


@dataclass(frozen=True)
class Site:
    service: Service
    directory: Path
    plain: str
    secure: str

    def ask(
        self, method: str, path: str, *, address: str = "127.0.0.1", body: object = None, **headers: str
    ) -> httpx.Response:
        context = ssl.create_default_context(cafile=self.directory / "certificate.pem")
        transport = httpx.HTTPTransport(verify=context, local_address=address)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(base_url=self.secure, transport=transport, timeout=30) as http:
            return http.request(method, path, json=body, headers=sent)

    def start(self, phone: str, address: str, **headers: str) -> httpx.Response:
        return self.ask(
            "POST", "/verify/start", address=address, body={"phone": phone}, **self.service.headers("app"), **headers
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("shipped")
    _make_certificate(directory)
    shipped = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
    settings = {"CALLS_PER_IP": f"{STARTS}/hour", "TRUSTED_PROXIES": _trusted(shipped)}
    with serving(directory / "service", simulator.send_url, **settings) as service:
        plain, secure = free_port(), free_port()
        text = _here(shipped, urlsplit(service.url).port or 0, plain, secure)
        with run_nginx(directory, text, secure):
            yield Site(service, directory, f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}")


def test_nginx_takes_the_shipped_file(tmp_path: Path) -> None:
    _make_certificate(tmp_path)
    shipped = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
    command = prepare(tmp_path, _here(shipped, free_port(), free_port(), free_port()))
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "test is successful" in tested.stderr


def test_a_phone_is_verified_through_it(site: Site, simulator: Simulator, phone: str, address: str) -> None:
    started = site.start(phone, address)
    assert started.status_code == 201, started.text
    assert started.headers["strict-transport-security"]
    body = {"id": started.json()["id"], "code": simulator.code(phone)}
    checked = site.ask("POST", "/verify/check", address=address, body=body, **site.service.headers("app"))
    assert (checked.status_code, checked.json()["phone"]) == (200, phone)
    resent = site.ask("POST", "/verify/resend", body={"id": body["id"]}, **site.service.headers("app"))
    assert (resent.status_code, resent.json()["code"]) == (409, "already_used")


def test_the_service_counts_nginxs_clients_whatever_they_write(site: Site, address: str) -> None:
    outcomes = []
    for n in range(STARTS + 2):
        claim = f"198.51.100.{n}"
        headers = {"X-Forwarded-For": f"{claim}, 127.0.0.1", "Forwarded": f"for={claim}", "X-Real-IP": claim}
        body = site.start(fresh_phone(), address, **headers).json()
        outcomes.append(body.get("limit") or body["status"])
    assert outcomes == ["pending"] * STARTS + ["calls_per_ip"] * 2
    assert site.start(fresh_phone(), f"127.1.1.{address.rpartition('.')[2]}").status_code == 201


def test_a_browser_asks_first_and_may(site: Site) -> None:
    asking = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    for path in ("/verify/start", "/verify/check", "/verify/resend"):
        answer = site.ask("OPTIONS", path, **asking)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "https://shop.example")


def test_everybody_reaches_the_public_keys(site: Site) -> None:
    answer = site.ask("GET", "/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.json()["keys"]


@pytest.mark.parametrize(
    "path", ["/widget/phone-verify.js", "/widget/lang/ru.json", "/hosted/page.js", "/hosted/page.css"]
)
def test_everybody_reaches_the_widget_and_the_files_of_the_hosted_page(site: Site, path: str) -> None:
    assert site.ask("GET", path).status_code == 200


def test_the_hosted_page_verifies_through_it(site: Site, phone: str, address: str) -> None:
    query = urlencode({"client_key": site.service.keys["hosted"], "return_url": "https://shop.example/verified"})
    page = site.ask("GET", f"/verify?{query}")
    assert page.status_code == 200
    assert page.headers["x-frame-options"] == "DENY"
    # nginx hands Host on: also a browser that says nothing but its Origin is of the same one.
    headers = site.service.headers("hosted") | {"Origin": "https://127.0.0.1"}
    started = site.ask("POST", "/verify/start", address=address, body={"phone": phone}, **headers)
    assert started.status_code == 201, started.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/verify/vrf_x"),
        ("POST", "/verify/vrf_x/cancel"),
        ("POST", "/verify/redeem"),
        ("POST", "/verify/start/"),
        ("POST", "/verify//start"),
        ("GET", "/policy"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/.well-known/jwks.json/"),
        ("GET", "/.well-known/"),
        ("GET", "/verify/"),
        ("GET", "/hosted/"),
        ("GET", "/demo/app.js"),
        ("GET", "/"),
    ],
)
def test_nothing_else_passes(site: Site, method: str, path: str) -> None:
    answer = site.ask(method, path, **site.service.headers("backend"))
    if path == "/verify//start":
        # nginx reads it as /verify/start but hands it on as it came: the service knows no such route.
        assert answer.json()["code"] == "no_such_route"
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html"), "nginx's own answer"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_tls_a_client_is_sent_to_https_with_its_method(site: Site, method: str) -> None:
    answer = httpx.request(method, f"{site.plain}/verify/start", headers={"Host": "verify.example.com"})
    assert (answer.status_code, answer.headers["location"]) == (308, "https://verify.example.com/verify/start")


def test_a_flood_from_one_address_is_turned_away_and_no_other_is(site: Site, address: str) -> None:
    context = ssl.create_default_context(cafile=site.directory / "certificate.pem")
    transport = httpx.HTTPTransport(verify=context, local_address=address)
    with httpx.Client(base_url=site.secure, transport=transport, timeout=30) as http:
        answers = [http.get("/.well-known/jwks.json").status_code for _ in range(400)]
    assert set(answers) == {200, 429}
    assert answers.index(429) >= 100, "a page's users behind one address are no flood"
    assert site.ask("GET", "/.well-known/jwks.json", address=f"127.1.1.{address.rpartition('.')[2]}").status_code == 200


def test_nginx_logs_no_phone_and_no_code(site: Site, simulator: Simulator, phone: str, address: str) -> None:
    verification = site.start(phone, address).json()["id"]
    body = {"id": verification, "code": simulator.code(phone)}
    site.ask("POST", "/verify/check", address=address, body=body, **site.service.headers("app"))
    logs = (site.directory / "access.log").read_text("utf-8") + (site.directory / "error.log").read_text("utf-8")
    assert "/verify/check" in logs
    assert phone[1:] not in logs
    assert verification not in logs
