"""Backends of the guides, as they stand, against a real sandbox: they start and check by themselves, or accept a token once."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.consumers.backends import APPS, Backend, node_backend, php_site, python_backend, trust
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


def test_a_fastapi_backend_says_that_the_service_is_away(sandbox: Sandbox, tmp_path: Path) -> None:
    away = sandbox.trust() | {"VERIFY_URL": "http://127.0.0.1:9"}
    with python_backend("fastapi", shown("fastapi-backend"), tmp_path, away) as backend:
        answer = backend.http.post("/code", params={"id": "vrf_x", "digits": "1234"})
    assert (answer.status_code, answer.json()["detail"]["code"]) == (503, "no_answer")


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
        assert backend.http.post("/login").status_code == 403
        changes_a_number_once(backend, lambda purpose: real.of("backend", purpose))


# ---- Laravel

PROVIDER = """<?php
namespace App\\Providers;
final class AppServiceProvider extends \\Illuminate\\Support\\ServiceProvider {{ public function register(): void {{ {} }} }}
"""
USER = """<?php
namespace App\\Models;
final class User extends \\Illuminate\\Foundation\\Auth\\User { protected $fillable = ['phone']; }
"""


@contextmanager
def laravel(directory: Path, environ: dict[str, str]) -> Iterator[httpx.Client]:
    """The application; its client is a page that has got Laravel's CSRF token."""
    files = {
        "index.php": (APPS / "laravel.php").read_text("utf-8"),
        "AppServiceProvider.php": PROVIDER.format(shown("laravel-register")),
        "services.php": f"<?php\nreturn [{shown('laravel-services')}];\n",
        "User.php": USER,
        "web.php": f"<?php\n{shown('laravel')}\n{shown('laravel-backend')}",
    }
    with php_site(files, directory, environ) as http:
        http.headers["Accept"] = "application/json"
        http.headers["X-CSRF-TOKEN"] = http.get("/csrf").text
        yield http


@pytest.mark.laravel
def test_a_verified_phone_is_signed_in_once(sandbox: Sandbox, tmp_path: Path) -> None:
    phone, accepted = sandbox.token()
    with laravel(tmp_path, sandbox.trust()) as http:
        assert http.get("/me").json() == {"phone": None}
        assert http.post("/login", data={"phone_token": accepted}).headers["Location"] == str(http.base_url)
        assert http.get("/me").json() == {"phone": phone}
    with laravel(tmp_path, sandbox.trust()) as http:
        assert http.post("/login", data={"phone_token": accepted}).status_code == 403
        assert http.get("/me").json() == {"phone": None}


@pytest.mark.laravel
def test_what_does_not_verify_a_phone_for_the_login_signs_no_one_in(sandbox: Sandbox, tmp_path: Path) -> None:
    refused = [sandbox.token("newsletter")[1], sandbox.token()[1][:-2], ""]
    with laravel(tmp_path, sandbox.trust()) as http:
        assert [http.post("/login", data={"phone_token": one}).status_code for one in refused] == [403, 403, 403]
        assert http.get("/me").json() == {"phone": None}
    with laravel(tmp_path, sandbox.trust() | {"ALLOW_TEST_PHONES": "false"}) as production:
        assert production.post("/login", data={"phone_token": sandbox.token()[1]}).status_code == 403


@pytest.mark.laravel
def test_a_form_without_laravels_csrf_field_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    with laravel(tmp_path, sandbox.trust()) as http:
        del http.headers["X-CSRF-TOKEN"]
        assert http.post("/login", data={"phone_token": sandbox.token()[1]}).status_code == 419


@pytest.mark.laravel
def test_a_laravel_backend_starts_and_checks_by_itself(sandbox: Sandbox, tmp_path: Path) -> None:
    with laravel(tmp_path, sandbox.trust()) as http:
        flow(
            lambda phone: http.post("/phone", data={"phone": phone}),
            lambda _, code: http.post("/code", data={"code": code}),
            sandbox,
        )
