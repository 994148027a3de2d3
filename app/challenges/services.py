"""The remote services: how each is asked, and how its answer reads. Written from their documentation, which the table names.

All three take a form by POST, answer JSON, and verify a token once. They differ in names. Errors that blame the token mean "not valid"; all other
errors are the operator's or the service's own, so nothing is known of the token.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.verification.challenge import ChallengeKind

Answer = Mapping[str, object]


class NoVerdictError(Exception):
    """The answer does not say whether the token is valid. The message is ours."""


@dataclass(frozen=True)
class Service:
    """One remote service.

    Attributes:
        kind: its name in settings and answers.
        url: where tokens are verified.
        token: the form field of the token.
        address: the form field of the end user's address.
        site_key: the form field of the site key that the token must belong to; None where the secret key implies it.
        passed: reads whether the token is valid. Raises NoVerdictError.
        host: the field of the answer that names the site where the token was made; None where it can't be relied on.
    """

    kind: ChallengeKind
    url: str
    token: str
    address: str
    site_key: str | None
    passed: Callable[[Answer], bool]
    host: str | None

    def host_of(self, answer: Answer) -> str | None:
        """The site where a valid token was made, without its port; None where the service does not say it reliably.

        Raises:
            NoVerdictError: it should be there, and is not.
        """
        if self.host is None:
            return None
        named = answer.get(self.host)
        try:
            host = urlsplit(f"//{named}").hostname if isinstance(named, str) else None
        except ValueError:
            host = None
        if host is None:
            raise NoVerdictError("the answer names no host: is the account blocked?")
        return host


_TOKEN_ERRORS = (
    "missing-input-response",
    "invalid-input-response",
    "timeout-or-duplicate",  # Turnstile
    "expired-input-response",  # hCaptcha, as the next two
    "already-seen-response",
    "invalid-or-already-seen-response",
)
_ERROR_CODE = re.compile(r"[a-z-]{1,40}")


def _siteverify(answer: Answer) -> bool:
    """`{"success": true}`, or `{"success": false, "error-codes": […]}`."""
    success, codes = answer.get("success"), answer.get("error-codes", [])
    if success is True:
        return True
    if success is not False or not isinstance(codes, list):
        raise NoVerdictError("unexpected answer")
    for code in codes:
        if code not in _TOKEN_ERRORS:
            shown = code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else "an unknown error"
            raise NoVerdictError(f"the service refused the request: {shown}")
    return False


def _smartcaptcha(answer: Answer) -> bool:
    """`{"status": "ok", "host": "…"}`, or `{"status": "failed", "message": "…"}`. An empty message means a robot; the wording of others varies."""
    status, message = answer.get("status"), answer.get("message")
    if status == "ok":
        return True
    if status != "failed" or not isinstance(message, str):
        raise NoVerdictError("unexpected answer")
    if message and "token" not in message.lower():
        raise NoVerdictError("the service refused the request: is the secret key right?")
    return False


_ALL = (
    # Yandex Cloud documentation, SmartCaptcha: "Verifying the CAPTCHA response", "Domain validation" (May 2026). A token is valid for 5 minutes.
    # A blocked account answers "ok" to robots too, with an empty host.
    Service(
        kind=ChallengeKind.SMARTCAPTCHA,
        url="https://smartcaptcha.cloud.yandex.ru/validate",
        token="token",  # noqa: S106  a field's name
        address="ip",
        site_key=None,
        passed=_smartcaptcha,
        host="host",
    ),
    # Cloudflare documentation, Turnstile: "Validate the token" (May 2026). 5 minutes, 2,048 characters at most.
    Service(
        kind=ChallengeKind.TURNSTILE,
        url="https://challenges.cloudflare.com/turnstile/v0/siteverify",
        token="response",  # noqa: S106  a field's name
        address="remoteip",
        site_key=None,
        passed=_siteverify,
        host="hostname",
    ),
    # hCaptcha documentation: "Developer Guide", "Verify the User Response Server Side". 2 minutes. It says that `hostname` is the browser's word.
    Service(
        kind=ChallengeKind.HCAPTCHA,
        url="https://api.hcaptcha.com/siteverify",
        token="response",  # noqa: S106  a field's name
        address="remoteip",
        site_key="sitekey",
        passed=_siteverify,
        host=None,
    ),
)

SERVICES = {service.kind: service for service in _ALL}
