"""The Laravel guide's code, as it stands, in a Laravel application against a real sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.consumers.backends import APPS, php_site
from tests.consumers.page import Sandbox, shown
from tests.consumers.test_guide_backends import flow

pytestmark = pytest.mark.laravel

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


def test_a_verified_phone_is_signed_in_once(sandbox: Sandbox, tmp_path: Path) -> None:
    phone, accepted = sandbox.token()
    with laravel(tmp_path, sandbox.trust()) as http:
        assert http.get("/me").json() == {"phone": None}
        assert http.post("/login", data={"phone_token": accepted}).headers["Location"] == str(http.base_url)
        assert http.get("/me").json() == {"phone": phone}
    with laravel(tmp_path, sandbox.trust()) as http:
        assert http.post("/login", data={"phone_token": accepted}).status_code == 403
        assert http.get("/me").json() == {"phone": None}


def test_what_does_not_verify_a_phone_for_the_login_signs_no_one_in(sandbox: Sandbox, tmp_path: Path) -> None:
    refused = [sandbox.token("newsletter")[1], sandbox.token()[1][:-2], ""]
    with laravel(tmp_path, sandbox.trust()) as http:
        assert [http.post("/login", data={"phone_token": one}).status_code for one in refused] == [403, 403, 403]
        assert http.get("/me").json() == {"phone": None}
    with laravel(tmp_path, sandbox.trust() | {"ALLOW_TEST_PHONES": "false"}) as production:
        assert production.post("/login", data={"phone_token": sandbox.token()[1]}).status_code == 403


def test_a_form_without_laravels_csrf_field_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    with laravel(tmp_path, sandbox.trust()) as http:
        del http.headers["X-CSRF-TOKEN"]
        assert http.post("/login", data={"phone_token": sandbox.token()[1]}).status_code == 419


def test_a_laravel_backend_starts_and_checks_by_itself(sandbox: Sandbox, tmp_path: Path) -> None:
    with laravel(tmp_path, sandbox.trust()) as http:
        flow(
            lambda phone: http.post("/phone", data={"phone": phone}),
            lambda _, code: http.post("/code", data={"code": code}),
            sandbox,
        )
