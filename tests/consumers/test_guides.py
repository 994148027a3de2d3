"""What the guides show works as it stands, against a real sandbox; and a guide is the same in both languages."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.consumers.page import GUIDES, Sandbox, as_served, marked, run, shell, shown
from tests.harness import ROOT, fresh_phone

PAGES = sorted(page.name for page in (GUIDES / "en").glob("*.md"))

# ---- the two languages


def test_each_guide_is_there_in_both_languages() -> None:
    assert sorted(page.name for page in (GUIDES / "ru").glob("*.md")) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_a_guide_has_the_same_code_and_sections_in_both_languages(page: str) -> None:
    english, russian = (GUIDES / language / page for language in ("en", "ru"))
    assert marked(english) == marked(russian)
    assert _outline(english) == _outline(russian)


def _outline(page: Path) -> list[str]:
    """The levels of its headings, and the languages of its code."""
    return re.findall(r"^(?:#+ |```\w*)", page.read_text("utf-8"), re.MULTILINE)


# ---- what a person pastes into a terminal


SHOWN = {"id": "vrf_…", "code": "5902", "token": "eyJ…", "phone": "8 (999) 222-33-44"}
"""What the pages write where a person has a value of their own."""


def pasted(command: str, sandbox: Sandbox, directory: Path, **own: str) -> dict[str, Any]:
    """What a request of a page answers, with a person's own values."""
    script = as_served(command, sandbox)
    for shown_as, real in own.items():
        script = script.replace(SHOWN[shown_as], real)
    answer: dict[str, Any] = json.loads(shell(script, directory, KEY=sandbox.secret_key))
    return answer


def test_five_minutes(sandbox: Sandbox, tmp_path: Path) -> None:
    started = pasted(shown("start-call"), sandbox, tmp_path)
    called = pasted(shown("start-calls"), sandbox, tmp_path)["calls"][0]
    code = called["from"][-4:]
    assert code == called["code"]
    approved = pasted(shown("start-check"), sandbox, tmp_path, id=started["id"], code=code)
    redeemed = pasted(shown("start-redeem"), sandbox, tmp_path, token=approved["token"])
    assert (redeemed["phone"], redeemed["purpose"], redeemed["test"]) == ("+79993334455", "login", True)


@pytest.mark.parametrize("page", ["README.md", "README.ru.md"])
def test_the_requests_of_the_readme(page: str, sandbox: Sandbox, tmp_path: Path) -> None:
    blocks = marked(ROOT / page)
    start, check = blocks["readme-backend"].split("\n\n")

    phone = fresh_phone()
    started = pasted(start, sandbox, tmp_path, phone=phone)
    approved = pasted(check, sandbox, tmp_path, id=started["id"], code=sandbox.code(phone))
    redeemed = pasted(blocks["readme-redeem"], sandbox, tmp_path, token=approved["token"])
    assert (redeemed["purpose"], redeemed["phone"]) == ("login", phone)


def test_the_requests_of_the_python_clients_page(sandbox: Sandbox, tmp_path: Path) -> None:
    digits = httpx.put(f"{sandbox.simulator}/behaviour/79991234567", json={"digits": SHOWN["code"], "times": 1})
    assert digits.is_success
    code = marked(ROOT / "clients" / "python" / "README.md")["client-requests"] + "print(approved.phone)\n"
    code = as_served(code, sandbox).replace("https://verify.example.com", sandbox.url)
    assert run(sys.executable, "-c", code, cwd=tmp_path) == "+79991234567"


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
