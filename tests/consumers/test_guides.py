"""What the guides show works as it stands, against a real sandbox; and a guide is the same in both languages."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from lastdigits_client import Client

from tests.consumers.backends import Backend, python_backend
from tests.consumers.page import GUIDES, marked, shown
from tests.consumers.sandbox import Sandbox, as_served
from tests.harness import ROOT, fresh_phone

PAGES = sorted(page.name for page in (GUIDES / "en").glob("*.md"))

Run = Callable[[dict[str, str]], AbstractContextManager[Backend]]


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


def test_the_simulator_misbehaves_as_its_page_shows(sandbox: Sandbox, tmp_path: Path) -> None:
    page = marked(ROOT / "docs" / "simulator.md")
    shell(as_served(page["simulator-behaviour"], sandbox), tmp_path)
    behaviour = httpx.get(f"{sandbox.simulator}/behaviour").json()
    httpx.delete(f"{sandbox.simulator}/behaviour")
    assert "not_enough_money" in json.dumps(behaviour)


def test_the_commands_for_keys_make_a_valid_clients_file(sandbox: Sandbox, tmp_path: Path) -> None:
    printed = shell(as_served(shown("going-live-keys"), sandbox), tmp_path)
    assert "3 clients" in printed
    assert "sk_" not in (tmp_path / "clients.toml").read_text("utf-8")


def test_the_limits_to_begin_with_hold(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(shown("limits-env"), "utf-8")
    printed = " ".join(shell(as_served(".venv/bin/lastdigits policy", sandbox), tmp_path).split())
    assert "8 calls an hour and 16 a day (CALLS_PER_PHONE), from strangers 4 calls an hour and 8 a day" in printed
    assert "2857 calls an hour" in printed
