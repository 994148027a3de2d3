"""Backends of the guides, as they stand, against a real sandbox: they start and check by themselves, or accept a token once."""

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.consumers.backends import Backend, Trust, node_backend, php_site, python_backend
from tests.consumers.conftest import RealTokens
from tests.consumers.page import shown, snippet
from tests.consumers.sandbox import Sandbox
from tests.harness import ROOT, Service, fresh_phone, wrong

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
    with python_backend("guide_fastapi", shown("fastapi-backend"), tmp_path, sandbox.trust()) as backend:
        flow(
            lambda phone: backend.http.post("/phone", params={"number": phone}),
            lambda verification, code: backend.http.post("/code", params={"id": verification, "digits": code}),
            sandbox,
        )


@pytest.mark.node
def test_an_express_backend_starts_and_checks_by_itself(sandbox: Sandbox, tmp_path: Path, modules: Path) -> None:
    with node_backend(shown("express-backend"), tmp_path, modules, sandbox.trust(), "guide_express") as backend:
        flow(
            lambda phone: backend.http.post("/phone", json={"phone": phone, "action": str(uuid.uuid4())}),
            lambda verification, code: backend.http.post("/code", json={"id": verification, "code": code}),
            sandbox,
        )


@pytest.mark.node
def test_a_double_click_at_the_express_backend_is_one_call(sandbox: Sandbox, tmp_path: Path, modules: Path) -> None:
    phone, action = fresh_phone(), str(uuid.uuid4())
    with node_backend(shown("express-backend"), tmp_path, modules, sandbox.trust(), "guide_express") as backend:
        clicks = [backend.http.post("/phone", json={"phone": phone, "action": action}) for _ in range(2)]
    assert [click.status_code for click in clicks] == [200, 200]
    assert clicks[0].json() == clicks[1].json()
    assert len(sandbox.calls(phone)) == 1


@pytest.mark.php
def test_the_two_php_pages_start_and_check(sandbox: Sandbox, tmp_path: Path) -> None:
    for page, name in (("call.php", "migrating-call"), ("check.php", "migrating-check")):
        (tmp_path / page).write_text(shown(name), "utf-8")
    shutil.copy(ROOT / "clients" / "php" / "lastdigits.php", tmp_path)
    with php_site(tmp_path, sandbox.trust()) as http:

        def start(phone: str) -> httpx.Response:
            return http.post("/call.php", data={"phone": phone})

        flow(start, lambda _, code: http.post("/check.php", data={"code": code}), sandbox)


# ---- a token, once


@pytest.fixture
def environ(real: RealTokens, service: Service) -> dict[str, str]:
    """The settings of a backend that trusts the service and may redeem."""
    return Trust(real.jwks_url).environ() | {"VERIFY_URL": service.url, "VERIFY_KEY": service.keys["backend"]}


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
    with python_backend(f"guide_{stack}", code, tmp_path, environ) as backend:
        changes_a_number_once(backend, real)


@pytest.mark.node
def test_an_express_backend_accepts_the_widgets_form_and_a_token_once(
    real: RealTokens, environ: dict[str, str], tmp_path: Path, modules: Path
) -> None:
    code = snippet("Express") + shown("express-backend") + shown("express-login") + shown("express-once")
    phone, token = real.of("backend")
    with node_backend(code, tmp_path, modules, environ, "guide_express") as backend:
        form = backend.http.post("/login", data={"phone_token": token})
        assert (form.status_code, form.json()) == (200, {"phone": phone})
        assert backend.http.post("/login", data={"phone_token": token[:-2]}).status_code == 403
        changes_a_number_once(backend, real)
