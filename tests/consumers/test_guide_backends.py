"""Backends of the guides, as they stand, against a real sandbox: they start and check by themselves, or accept a token once."""

import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

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


def changes_a_number_once(backend: Backend, token: Callable[[str], tuple[str, str]]) -> None:
    phone, accepted = token("change-number")
    first, again = (backend.http.post("/number", json={"phone_token": accepted}) for _ in range(2))
    assert (first.status_code, first.json(), again.status_code) == (200, {"phone": phone}, 403)
    assert backend.http.post("/number", json={"phone_token": token("login")[1]}).status_code == 403


@pytest.mark.parametrize("stack", ["django", "fastapi"])
def test_a_python_backend_accepts_the_sandboxs_tokens_while_it_is_asked_to_and_once_where_it_says_so(
    stack: str, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    code = shown(stack) + shown(f"{stack}-once")
    phone, accepted = sandbox.token()
    with python_backend(stack, code, tmp_path_factory.mktemp(stack), sandbox.trust()) as backend:
        assert backend.phone(accepted) == phone
        form = backend.http.post("/login", data={"phone_token": accepted})
        assert (form.status_code, form.json()) == (200, {"phone": phone})
        assert backend.http.post("/login", data={"phone_token": accepted[:-1]}).status_code == 403
        assert backend.http.post("/login", data={}).status_code == 403
        assert backend.refuses(sandbox.token("newsletter")[1])
        changes_a_number_once(backend, sandbox.token)
    production = sandbox.trust() | {"ALLOW_TEST_PHONES": ""}
    with python_backend(stack, code, tmp_path_factory.mktemp(stack), production) as backend:
        assert backend.refuses(accepted)


@pytest.mark.node
def test_an_express_backend_accepts_the_widgets_form_and_a_token_once(
    real: RealTokens, service: Service, tmp_path: Path, modules: Path
) -> None:
    code = snippet("Express") + shown("express-backend") + shown("express-login") + shown("express-once")
    environ = trust(real.jwks_url) | {"VERIFY_URL": service.url, "VERIFY_KEY": service.keys["backend"]}
    phone, token = real.of("backend")
    with node_backend(code, tmp_path, modules, environ) as backend:
        form = backend.http.post("/login", data={"phone_token": token})
        assert (form.status_code, form.json()) == (200, {"phone": phone})
        assert backend.http.post("/login", data={"phone_token": token[:-2]}).status_code == 403
        changes_a_number_once(backend, lambda purpose: real.of("backend", purpose))
