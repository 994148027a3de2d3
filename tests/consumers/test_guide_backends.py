"""Backends of the guides, as they stand, against a real sandbox: they start and check by themselves, or accept a token once."""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from lastdigits_client import Client

from tests.consumers.backends import Backend, node_backend, php_site, python_backend, trust
from tests.consumers.conftest import RealTokens
from tests.consumers.page import Sandbox, shown, snippet
from tests.harness import Service, fresh_phone, wrong

# ---- by themselves


def flow(start: Callable[[str], httpx.Response], check: Callable[[str, str], httpx.Response], sandbox: Sandbox) -> None:
    """A person verifies a phone through a backend that starts and checks by itself, and mistypes once."""
    phone = fresh_phone()
    started = start(phone)
    assert started.status_code == 200, started.text
    assert start(phone).status_code == 429
    verification, code = started.json().get("id", ""), sandbox.code(phone)
    mistyped = check(verification, wrong(code))
    assert (mistyped.status_code, mistyped.json().get("detail", mistyped.json())["code"]) == (422, "code_incorrect")
    approved = check(verification, code)
    assert (approved.status_code, approved.json()) == (200, {"phone": phone})


def test_a_fastapi_backend_starts_and_checks_by_itself(sandbox: Sandbox, tmp_path: Path) -> None:
    with python_backend("fastapi", shown("fastapi-backend"), tmp_path, sandbox.trust()) as backend:
        flow(
            lambda phone: backend.http.post("/phone", params={"number": phone}),
            lambda verification, code: backend.http.post("/code", params={"id": verification, "digits": code}),
            sandbox,
        )


@pytest.mark.node
def test_an_express_backend_starts_and_checks_by_itself(sandbox: Sandbox, tmp_path: Path, modules: Path) -> None:
    with node_backend(shown("express-backend"), tmp_path, modules, sandbox.trust()) as backend:
        flow(
            lambda phone: backend.http.post("/phone", json={"phone": phone, "action": str(uuid.uuid4())}),
            lambda verification, code: backend.http.post("/code", json={"id": verification, "code": code}),
            sandbox,
        )
        phone, action = fresh_phone(), str(uuid.uuid4())
        clicks = [backend.http.post("/phone", json={"phone": phone, "action": action}) for _ in range(2)]
    assert [click.status_code for click in clicks] == [200, 200]
    assert clicks[0].json() == clicks[1].json()
    assert len(sandbox.calls(phone)) == 1, "a double click is one call"


@pytest.mark.php
def test_the_two_php_pages_start_and_check(sandbox: Sandbox, tmp_path: Path) -> None:
    pages = {"call.php": shown("migrating-call"), "check.php": shown("migrating-check")}
    with php_site(pages, tmp_path, sandbox.trust()) as http:
        flow(
            lambda phone: http.post("/call.php", data={"phone": phone}),
            lambda _, code: http.post("/check.php", data={"code": code}),
            sandbox,
        )


# ---- a token


@pytest.mark.parametrize("stack", ["django", "fastapi"])
def test_a_python_backend_accepts_the_sandboxs_tokens_while_it_is_asked_to(
    stack: str, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def token(purpose: str) -> tuple[str, str]:
        phone = fresh_phone()
        return phone, client.check(client.start(phone, purpose=purpose).id, sandbox.code(phone)).token

    def run(environ: dict[str, str]) -> AbstractContextManager[Backend]:
        return python_backend(stack, shown(stack), tmp_path_factory.mktemp(stack), environ)

    with Client(sandbox.url, sandbox.secret_key) as client, run(sandbox.trust()) as backend:
        phone, accepted = token("login")
        assert backend.phone(accepted) == phone
        form = backend.http.post("/login", data={"phone_token": accepted})
        assert (form.status_code, form.json()) == (200, {"phone": phone})
        assert backend.http.post("/login", data={"phone_token": accepted[:-1]}).status_code == 403
        assert backend.http.post("/login", data={}).status_code == 403
        assert backend.refuses(token("newsletter")[1])
    with run(sandbox.trust() | {"ALLOW_TEST_PHONES": ""}) as production:
        assert production.refuses(accepted)


@pytest.fixture
def environ(real: RealTokens, service: Service) -> dict[str, str]:
    """The settings of a backend that trusts the service and may redeem."""
    return trust(real.jwks_url) | {"VERIFY_URL": service.url, "VERIFY_KEY": service.keys["backend"]}


def changes_a_number_once(backend: Backend, real: RealTokens) -> None:
    phone, token = real.of("backend", "change-number")
    accepted, again = (backend.http.post("/number", json={"phone_token": token}) for _ in range(2))
    assert (accepted.status_code, accepted.json(), again.status_code) == (200, {"phone": phone}, 403)
    assert backend.http.post("/number", json={"phone_token": real.of("backend", "login")[1]}).status_code == 403


@pytest.mark.parametrize("stack", ["django", "fastapi"])
def test_a_python_backend_accepts_a_token_once(
    stack: str, real: RealTokens, environ: dict[str, str], tmp_path: Path
) -> None:
    code = shown(stack) + shown(f"{stack}-once")
    with python_backend(stack, code, tmp_path, environ) as backend:
        changes_a_number_once(backend, real)


@pytest.mark.node
def test_an_express_backend_accepts_the_widgets_form_and_a_token_once(
    real: RealTokens, environ: dict[str, str], tmp_path: Path, modules: Path
) -> None:
    code = snippet("Express") + shown("express-backend") + shown("express-login") + shown("express-once")
    phone, token = real.of("backend")
    with node_backend(code, tmp_path, modules, environ) as backend:
        form = backend.http.post("/login", data={"phone_token": token})
        assert (form.status_code, form.json()) == (200, {"phone": phone})
        assert backend.http.post("/login", data={"phone_token": token[:-2]}).status_code == 403
        changes_a_number_once(backend, real)
