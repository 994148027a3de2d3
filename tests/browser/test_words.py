"""Every problem of the API has words that say what to do next, in each language."""

import json
from typing import Any

import pytest

from app.api.problems import ROWS
from tests.browser.shop import Shop
from tests.browser.visit import Open
from tests.harness import fresh_phone
from tests.npm import CLIENT

pytestmark = pytest.mark.browser

# What the widget never meets: it sends no token, asks no route of operators, and the hosted page is refused before it.
BACKENDS_ONLY = {"token_invalid", "token_expired", "token_redeemed", "not_ready", "return_url_not_allowed"}
# What only a defect brings: "try again" is all that a person can do.
ELSE = {"internal_error", "idempotency_key_reused", "idempotency_key_invalid", "body_timeout"}
# Repeated by themselves, not shown.
REPEATED = {"idempotency_key_in_use"}


def words(lang: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CLIENT / "lang" / f"{lang}.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("lang", ["en", "ru", "kk"])
def test_each_problem_has_its_words(visit: Open, shop: Shop, lang: str) -> None:
    someone = visit(shop.write(lang))
    someone.widget.evaluate("element => { element.solveChallenge = async () => 'unsolved' }")
    current: dict[str, Any] = {}
    cors = {"Access-Control-Allow-Origin": shop.url}
    someone.page.route(
        "**/verify/start", lambda route: route.fulfill(status=current["status"], json=current, headers=cors)
    )
    for code, row in ROWS.items():
        if code in BACKENDS_ONLY | REPEATED:
            continue
        current |= {"status": int(row.status), "code": code, "title": row.title, "retry_after": 60, "challenge": {}}
        someone.widget.evaluate("(element, phone) => { element.reset(); return element.start(phone) }", fresh_phone())
        said = someone.find("#phoneError").inner_text()
        assert said, code
        if code not in ELSE:
            assert said != words(lang)["problems"]["other"], code
    someone.errors.clear()  # of the key that is no key


@pytest.mark.parametrize("lang", ["ru", "kk"])
def test_languages_have_the_same_texts(lang: str) -> None:
    english, other = words("en"), words(lang)
    assert english.keys() <= other.keys()
    assert english["problems"].keys() == other["problems"].keys()
