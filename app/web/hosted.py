"""The hosted page, `GET /verify`: the widget for those with no page of their own. It verifies a phone, and returns with the token.

It is opened with the client's public key and an address that the client lists. It stands on the service's own origin, from which `app/api/auth.py`
admits the keys of clients that may return somewhere. docs/decisions/0010-the-hosted-page.md says why it is so.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, StringConstraints, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from app.api.auth import Service, service_of
from app.api.clients import PREFIXES, Kind, Registered
from app.api.openapi import problems
from app.api.origins import ReturnUrl
from app.api.problems import RequestError, RequestRejected, request_problem
from app.api.reading import message_of
from app.api.schemas import PURPOSE
from app.web.routes import load, static_route, widget_files

_POLICY = (
    "default-src 'none'",
    "script-src 'nonce-{nonce}'",
    "style-src 'nonce-{nonce}'",
    "img-src data:",
    "connect-src 'self'",
    "worker-src 'self'",
    "require-trusted-types-for 'script'",
    "trusted-types lastdigits",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "form-action {action}",
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # of browsers that know no frame-ancestors
}
_STATIC_HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}

router = APIRouter()


class _Query(BaseModel):
    """What the page is opened with."""

    client_key: str = ""
    return_url: str = ""
    return_mode: Literal["post", "fragment"] = "post"
    state: Annotated[str, StringConstraints(pattern=r"^[ -~]{0,512}$")] | None = None
    purpose: Annotated[str, StringConstraints(pattern=PURPOSE)] | None = None


def hosted_routes() -> list[BaseRoute]:
    """The page, and its own files."""
    return [*router.routes, static_route("/hosted", load(files(__package__) / "static" / "hosted"), _STATIC_HEADERS)]


@router.get(
    "/verify",
    include_in_schema=False,  # a page for people, not a part of the interface
    responses={
        200: {},
        **problems("key_missing", "key_unknown", "key_not_allowed", "return_url_not_allowed", "invalid_request"),
    },
)
async def page(request: Request) -> Response:
    """Show the widget, or what is wrong with the address of this page."""
    language = _language_of(request)
    service = service_of(request)
    try:
        query, url = _open(request.query_params, service)
    except RequestRejected as refusal:
        return _refuse(request, language, refusal)
    return _shown(query, url, language, _countries(service))


# ---- what it is opened with


def _open(given: QueryParams, service: Service) -> tuple[_Query, ReturnUrl]:
    """Judge what the page is opened with.

    Raises:
        RequestRejected: it can't be shown. The detail is for the log too, so it repeats nothing that strangers wrote.
    """
    try:
        query = _Query.model_validate(dict(given))
    except ValidationError as error:
        wrong = [f"{each['loc'][0]}: {message_of(each)}" for each in error.errors(include_url=False)]
        raise RequestRejected(RequestError.INVALID_REQUEST, "; ".join(wrong)) from None
    client = _client_of(query.client_key, service)
    try:
        url = service.return_url(client, query.return_url)
    except ValueError:
        detail = "return_url: write the whole address of a page, like https://shop.example/verified, and encode it (encodeURIComponent)"
        raise RequestRejected(RequestError.INVALID_REQUEST, detail) from None
    if url is None:
        detail = f'Add exactly this return_url to return_urls of client "{client.id}" in the clients file. Each character counts.'
        raise RequestRejected(RequestError.RETURN_URL_NOT_ALLOWED, detail)
    return query, url


def _client_of(key: str, service: Service) -> Registered:
    if not key:
        raise RequestRejected(RequestError.KEY_MISSING, "Open this page with client_key, a public key: pk_…")
    client = service.clients.find(key)
    if key.startswith(PREFIXES[Kind.SECRET]) or (client and not client.public):
        detail = "client_key is a secret key, and an address is no place for it. Replace it by a new one, and open this page with a public key."
        raise RequestRejected(RequestError.KEY_NOT_ALLOWED, detail)
    if client is None:
        raise RequestRejected(RequestError.KEY_UNKNOWN, "No client has this client_key.")
    return client


# ---- what people see


def _shown(query: _Query, url: ReturnUrl, language: str, countries: str) -> Response:
    words = _WORDS[language]
    flow = json.dumps([query.return_url, query.state, query.purpose])
    return _html(
        "page.html",
        200,
        url.source,
        {name: escape(words[name]) for name in ("title", "cancel", "late")}
        | {name: words[name].format(site=f"<b>{escape(url.site)}</b>") for name in ("asks", "returning", "continue")}
        | {
            "language": language,
            "words": _PRELOADED[language],
            "action": escape(query.return_url),
            "mode": query.return_mode,
            "key": escape(query.client_key),
            "purpose": f'purpose="{escape(query.purpose)}"' if query.purpose else "",
            "state": "" if query.state is None else f'<input type="hidden" name="state" value="{escape(query.state)}">',
            "countries": countries,
            # A reload goes on with the same verification; what is opened for something else begins another.
            "flow": "v" + hashlib.sha256(flow.encode()).hexdigest()[:16],
        },
    )


def _refuse(request: Request, language: str, refusal: RequestRejected) -> Response:
    """The problem as a page that links nowhere. The middleware counts and logs it as it does any other."""
    problem = request.scope["problem"] = request_problem(refusal.error, refusal.detail)
    words = {name: escape(_WORDS[language][name]) for name in ("refused", "back", "developers")}
    texts = words | {"language": language, "detail": escape(refusal.detail)}
    answer = _html("refused.html", problem.status_code, "'none'", texts)
    if challenge := problem.headers.get("WWW-Authenticate"):
        answer.headers["WWW-Authenticate"] = challenge
    return answer


def _html(template: str, status: int, action: str, texts: Mapping[str, str]) -> Response:
    nonce = secrets.token_urlsafe(16)
    policy = "; ".join(_POLICY).format(nonce=nonce, action=action)
    content = _TEMPLATES[template].substitute(texts, nonce=nonce)
    return HTMLResponse(content, status, _HEADERS | {"Content-Security-Policy": policy})


def _countries(service: Service) -> str:
    """The countries that are called, the one of national spellings first."""
    rules = service.policy.phones
    return " ".join(sorted(rules.allowed_countries, key=lambda country: (country != rules.default_region, country)))


def _language_of(request: Request) -> str:
    """The first language that the page has words for: of `lang`, then of the browser."""
    accepted = request.headers.get("Accept-Language", "").split(",")
    tags = (tag.strip().lower()[:2] for tag in (request.query_params.get("lang", ""), *accepted))
    return next((tag for tag in tags if tag in _WORDS), "en")


_OWN = files(__package__) / "templates"
_TEMPLATES = {name: Template((_OWN / name).read_text("utf-8")) for name in ("page.html", "refused.html")}
_WORDS: dict[str, dict[str, str]] = json.loads((_OWN / "words.json").read_text("utf-8"))
_PRELOADED = {
    language: f'<link rel="preload" as="fetch" crossorigin href="/widget/{name}?v={widget_files()[name].version}">'
    for language in _WORDS
    for name in [f"lang/{language}.json"]
} | {"en": ""}
"""The widget's words by the address it asks for: they come with the widget, not after it. It has English built in."""
