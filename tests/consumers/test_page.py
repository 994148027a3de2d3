"""The code on docs/token.md is as short as it says, and what no test runs still names everything that must be checked."""

import pytest

from tests.consumers.page import snippet

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


@pytest.mark.parametrize("stack", ["Django", "FastAPI", "Express", "Go", "Spring"])
def test_it_is_short(stack: str) -> None:
    lines = snippet(stack).splitlines()
    assert len(lines) < 15
    assert max(map(len, lines)) <= 130


@pytest.mark.parametrize("stack", NAMED)
def test_what_no_test_runs_names_every_check(stack: str) -> None:
    assert [check for check in NAMED[stack] if check not in snippet(stack)] == []
