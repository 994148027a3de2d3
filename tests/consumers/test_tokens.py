"""Whatever accepts verification tokens accepts the service's and refuses everything else: the code of docs/token.md as it stands, and the clients."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from lastdigits_client import TokenRefused, TokenVerifier

from tests.consumers.backends import APPS, Backend, node_backend, php_site, python_backend, trust
from tests.consumers.conftest import RealTokens
from tests.consumers.issuer import FORGERIES, PHONE, WRONG, Issuer, at
from tests.consumers.page import snippet

LOGIN = {
    "Django": """
import json
from django.http import JsonResponse

def login(request):
    return JsonResponse({"phone": verified(json.loads(request.body)["token"], "login")["phone_number"]})
""",
    "FastAPI": """
from typing import Annotated
from fastapi import Body, FastAPI
app = FastAPI()

@app.post("/login")
def login(token: Annotated[str, Body(embed=True)]):
    return {"phone": verified(token, "login")["phone_number"]}
""",
    "Express": """
import express from 'express'
export const app = express()
app.post('/login', express.json(), verified('login'), (req, res) => res.json({ phone: req.verified.phone_number }))
""",
}
"""What a backend adds to a page's code: a login, as the page says below it."""

BACKENDS = [
    "Django",
    "FastAPI",
    pytest.param("Express", marks=pytest.mark.node),
    pytest.param("PHP client", marks=pytest.mark.php),
]


@dataclass(frozen=True)
class Verifying:
    """The Python client's verifier, in the place of a backend."""

    verifier: TokenVerifier

    def phone(self, token: str) -> str:
        return self.verifier.verify(token, "login").phone

    def refuses(self, token: str) -> bool:
        """Whether it refuses the token by itself: another exception is no refusal."""
        try:
            self.verifier.verify(token, "login")
        except TokenRefused:
            return True
        return False


@contextmanager
def php_backend(code: str, directory: Path, environ: dict[str, str]) -> Iterator[Backend]:
    with php_site({"index.php": code}, directory, environ) as http:
        yield Backend(http)


Accepting = Backend | Verifying
Run = Callable[..., AbstractContextManager[Accepting]]


@pytest.fixture(scope="module", params=[*BACKENDS, "Python client"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a backend that trusts a key server, and tokens of one algorithm."""
    stack: str = request.param

    def running(jwks: str, algorithm: str = "ES256", **settings: str | None) -> AbstractContextManager[Accepting]:
        directory, environ = tmp_path_factory.mktemp("backend"), trust(jwks, **settings)
        if stack == "Python client":
            verifier = TokenVerifier(jwks, environ["TOKEN_ISSUER"], environ["TOKEN_AUDIENCE"], algorithm=algorithm)
            return nullcontext(Verifying(verifier))
        if stack == "PHP client":
            return php_backend((APPS / "login.php").read_text("utf-8").replace("ES256", algorithm), directory, environ)
        code = snippet(stack).replace("ES256", algorithm) + LOGIN[stack]
        if stack == "Express":
            return node_backend(code, directory, request.getfixturevalue("modules"), environ)
        return python_backend(stack.lower(), code, directory, environ)

    return running


@pytest.fixture(scope="module")
def shop(run: Run, real: RealTokens) -> Iterator[Accepting]:
    """Trusts the real service as its client "backend"."""
    with run(real.jwks_url) as backend:
        yield backend


@pytest.fixture(scope="module")
def backend(run: Run, issuer: Issuer) -> Iterator[Accepting]:
    """Trusts the tests' own key server, so that any token can be signed."""
    with run(issuer.url) as backend:
        yield backend


def test_the_services_token_is_accepted_with_its_phone(shop: Accepting, real: RealTokens) -> None:
    phone, token = real.of("backend")
    assert shop.phone(token) == phone


def test_a_token_of_another_client_or_for_another_purpose_is_refused(shop: Accepting, real: RealTokens) -> None:
    assert shop.refuses(real.of("other")[1])
    assert shop.refuses(real.of("backend", purpose="newsletter")[1])


def test_a_valid_token_of_either_key_is_accepted(backend: Accepting, issuer: Issuer) -> None:
    assert backend.phone(issuer.token()) == PHONE
    assert backend.phone(issuer.token(key=issuer.next_key)) == PHONE


@pytest.mark.parametrize("bad", FORGERIES | WRONG)
def test_a_token_that_is_forged_or_wrong_in_one_thing_is_refused(backend: Accepting, issuer: Issuer, bad: str) -> None:
    assert backend.phone(issuer.token()) == PHONE
    assert backend.refuses((FORGERIES | WRONG)[bad](issuer))


def test_a_clock_that_is_a_little_behind_does_no_harm(backend: Accepting, issuer: Issuer) -> None:
    assert backend.phone(at(iat=5, nbf=5)(issuer)) == PHONE


def test_made_up_kids_do_not_make_it_fetch_the_keys_each_time(backend: Accepting, issuer: Issuer) -> None:
    assert backend.phone(issuer.token()) == PHONE
    before = issuer.fetches
    assert all(backend.refuses(issuer.token({"kid": f"made-up-{number}"})) for number in range(20))
    assert issuer.fetches - before <= 1
    assert backend.phone(issuer.token()) == PHONE


def test_eddsa_written_for_es256_takes_the_one_and_not_the_other(run: Run, issuer: Issuer) -> None:
    with run(issuer.url, "EdDSA") as backend:
        assert backend.phone(issuer.token(key=issuer.other_algorithm)) == PHONE
        assert backend.refuses(issuer.token())


def test_without_the_keys_nothing_is_accepted(run: Run, issuer: Issuer) -> None:
    with run("http://127.0.0.1:9/.well-known/jwks.json") as lonely:
        assert lonely.refuses(issuer.token())


@pytest.mark.parametrize("run", BACKENDS, indirect=True)
@pytest.mark.parametrize(("setting", "claim"), [("issuer", "iss"), ("audience", "aud")])
def test_a_setting_left_empty_opens_nothing(run: Run, issuer: Issuer, setting: str, claim: str) -> None:
    with run(issuer.url, **{setting: ""}) as careless:
        assert careless.refuses(issuer.token())
        assert careless.refuses(issuer.token(claims={claim: None}))


@pytest.mark.node
@pytest.mark.parametrize("run", ["Express"], indirect=True)
@pytest.mark.parametrize("setting", ["issuer", "audience"])
def test_a_setting_that_is_missing_opens_nothing(run: Run, issuer: Issuer, setting: str) -> None:
    with run(issuer.url, **{setting: None}) as careless:
        assert careless.refuses(issuer.token())


# ---- what no test runs

NAMED = {
    "Go": [
        'WithValidMethods([]string{"ES256"})',
        "WithExpirationRequired()",
        't.Header["typ"] != "verification+jwt"',
        'c["iss"] != issuer',
        'c["aud"] != audience',
        'c["purpose"] != purpose',
        'c["test"] != nil',
        'c["jti"] == nil',
        'c["phone_number"] == nil',
    ],
    "Spring": [
        "jwsAlgorithm(SignatureAlgorithm.ES256)",
        "validateType(false)",
        'JwtTypeValidator("verification+jwt")',
        "JwtIssuerValidator(issuer)",
        "JwtAudienceValidator(audience)",
        "JwtTimestampValidator(",
        '("exp", v -> v != null)',
        '("jti", v -> v != null)',
        '("phone_number", v -> v != null)',
        '("purpose", purpose::equals)',
        '("test", v -> v == null)',
    ],
}


@pytest.mark.parametrize("stack", NAMED)
def test_what_no_test_runs_names_every_check(stack: str) -> None:
    assert [check for check in NAMED[stack] if check not in snippet(stack)] == []
