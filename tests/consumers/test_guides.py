"""What the guides show works as it stands, against a real sandbox; and a guide is the same in both languages."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from lastdigits_client import Client

from tests.consumers.backends import Backend, node_backend, python_backend
from tests.consumers.page import GUIDES, marked
from tests.consumers.sandbox import Sandbox, sandboxed
from tests.harness import ROOT, fresh_phone, wrong

PAGES = sorted(page.name for page in (GUIDES / "en").glob("*.md"))

Run = Callable[[dict[str, str]], AbstractContextManager[Backend]]


def shown(name: str) -> str:
    """A piece of code, by the name of its marker."""
    return next(blocks[name] for page in PAGES if name in (blocks := marked(GUIDES / "en" / page)))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandboxed(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


def shell(script: str, directory: Path, **environ: str) -> str:
    """Run lines of a guide as a person pastes them; returns what they print."""
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_served(script: str, sandbox: Sandbox) -> str:
    """With the addresses and keys of this sandbox in place of the page's."""
    changes = {
        "http://127.0.0.1:8000": sandbox.url,
        "http://127.0.0.1:8001": sandbox.simulator,
        "sk_…": sandbox.secret_key,
        "pk_…": sandbox.public_key,
        ".venv/bin/lastdigits": f"{sys.executable} -m app.cli",
    }
    for shown_as, real in changes.items():
        script = script.replace(shown_as, real)
    return script


# ---- the two languages


def test_each_guide_is_there_in_both_languages() -> None:
    assert sorted(page.name for page in (GUIDES / "ru").glob("*.md")) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_a_guide_shows_the_same_code_in_both_languages(page: str) -> None:
    english, russian = (marked(GUIDES / language / page) for language in ("en", "ru"))
    assert english == russian


@pytest.mark.parametrize("page", PAGES)
def test_a_guide_has_the_same_sections_in_both_languages(page: str) -> None:
    english, russian = ((GUIDES / language / page).read_text("utf-8").splitlines() for language in ("en", "ru"))
    assert [line.split()[0] for line in english if line.startswith("#")] == [
        line.split()[0] for line in russian if line.startswith("#")
    ]
    assert [line for line in english if line.startswith("```")] == [line for line in russian if line.startswith("```")]


# ---- Django and FastAPI by clients/python, whose check of tokens is in test_python_client.py


@pytest.fixture(scope="module", params=["django", "fastapi"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(stack: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return lambda environ: python_backend(f"guide_{stack}", shown(stack), tmp_path_factory.mktemp(stack), environ)


def test_with_the_settings_of_the_sandbox_its_tokens_are_accepted(run: Run, sandbox: Sandbox) -> None:
    phone = fresh_phone()
    with Client(sandbox.url, sandbox.secret_key) as client, run(sandbox.trust()) as page:
        token = client.check(client.start(phone, purpose="login").id, sandbox.code(phone)).token
        assert page.phone(token) == phone
        form = page.http.post("/login", data={"phone_token": token})
        assert (form.status_code, form.json()) == (200, {"phone": phone})
        assert page.http.post("/login", data={"phone_token": token[:-1]}).status_code == 403
        assert page.http.post("/login", data={}).status_code == 403
        other = fresh_phone()
        letters = client.check(client.start(other, purpose="newsletter").id, sandbox.code(other)).token
        assert page.refuses(letters), "it is for another purpose"
    with run(sandbox.trust() | {"ALLOW_TEST_PHONES": ""}) as production:
        assert production.refuses(token)


# ---- whole flows in the sandbox


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


@contextmanager
def php_site(directory: Path, environ: dict[str, str]) -> Iterator[httpx.Client]:
    """PHP's own server over a folder of pages; its client keeps cookies as a browser does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = (directory / "log").open("wb")
    command = ["php", "-d", "display_errors=0", "-S", f"127.0.0.1:{port}", "-t", str(directory)]
    with log, subprocess.Popen(command, env=os.environ | environ, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                wait_for(http)
                yield http
        finally:
            process.terminate()


def wait_for(http: httpx.Client) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            http.get("/")
            return
        time.sleep(0.05)
    raise AssertionError("PHP's server did not start")


# ---- what a person pastes into a terminal


def test_five_minutes(sandbox: Sandbox, tmp_path: Path) -> None:
    def pasted(name: str, **own: str) -> dict[str, Any]:
        script = as_served(shown(f"start-{name}"), sandbox)
        for shown_as, real in own.items():
            script = script.replace(SHOWN[shown_as], real)
        answer: dict[str, Any] = json.loads(shell(script, tmp_path))
        return answer

    started = pasted("call")
    called = pasted("calls")["calls"][0]
    code = called["from"][-4:]
    assert code == called["code"]
    approved = pasted("check", id=started["id"], code=code)
    redeemed = pasted("redeem", token=approved["token"])
    assert (redeemed["phone"], redeemed["purpose"]) == ("+79991234567", "login")


def test_what_the_sandbox_redeems_says_that_no_phone_was_called(sandbox: Sandbox) -> None:
    phone = fresh_phone()
    with Client(sandbox.url, sandbox.secret_key) as client:
        approved = client.check(client.start(phone, purpose="login").id, sandbox.code(phone))
        assert client.redeem(approved.token).test


SHOWN = {"id": "vrf_…", "code": "5902", "token": "eyJ…"}
"""What the pages write where a person has a value of their own."""


@pytest.mark.parametrize("page", ["README.md", "README.ru.md"])
def test_the_requests_of_the_readme(page: str, sandbox: Sandbox, tmp_path: Path) -> None:
    blocks = marked(ROOT / page)
    start, check = blocks["readme-backend"].split("\n\n")

    def pasted(command: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(shell(as_served(command, sandbox), tmp_path, KEY=sandbox.secret_key))
        return answer

    phone = fresh_phone()
    started = pasted(start.replace("8 (999) 123-45-67", phone))
    code = sandbox.code(phone)
    approved = pasted(check.replace(SHOWN["id"], started["id"]).replace(SHOWN["code"], code))
    redeemed = pasted(blocks["readme-redeem"].replace(SHOWN["token"], approved["token"]))
    assert (redeemed["purpose"], redeemed["phone"]) == ("login", phone)


def test_the_requests_of_the_python_clients_page(sandbox: Sandbox, tmp_path: Path) -> None:
    digits = httpx.put(f"{sandbox.simulator}/behaviour/79991234567", json={"digits": SHOWN["code"], "times": 1})
    assert digits.is_success
    code = marked(ROOT / "clients" / "python" / "README.md")["client-requests"] + "print(approved.phone)\n"
    (tmp_path / "page.py").write_text(
        as_served(code, sandbox).replace("https://verify.example.com", sandbox.url), "utf-8"
    )
    printed = shell(f"{sys.executable} page.py", tmp_path, PYTHONPATH=str(ROOT / "clients" / "python" / "src"))
    assert printed == "+79991234567\n"


def test_the_commands_for_keys_make_a_valid_clients_file(sandbox: Sandbox, tmp_path: Path) -> None:
    printed = shell(as_served(shown("going-live-keys"), sandbox), tmp_path)
    assert "3 clients" in printed
    assert "sk_" not in (tmp_path / "clients.toml").read_text("utf-8")


def test_the_limits_to_begin_with_hold(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(shown("limits-env"), "utf-8")
    printed = " ".join(shell(as_served(".venv/bin/lastdigits policy", sandbox), tmp_path).split())
    assert "8 calls an hour and 16 a day (CALLS_PER_PHONE), from strangers 4 calls an hour and 8 a day" in printed
    assert "2857 calls an hour" in printed
