"""Which client a request comes from, from which address, and what its key gives access to.

With the service and the idempotency key, all that a route asks of a request.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

import structlog
from fastapi import Depends
from starlette.requests import Request
from starlette.types import Scope

from app.api.address import FORWARDED_FOR, TrustedProxies, normalized
from app.api.clients import Clients, Registered
from app.api.origins import VARY, ReturnUrl, allow, origin_rejected, read_return_url
from app.api.problems import RequestError, RequestRejected
from app.api.reading import first_headers, header_of, idempotency_key
from app.store.health import Watch
from app.verification.client import Caller
from app.verification.entropy import EntropyMonitor
from app.verification.policy import Policy
from app.verification.ports import BreakerState
from app.verification.service import VerificationService
from app.verification.token import TokenIssuer

_OTHER_FORWARDING = (b"forwarded", b"x-real-ip", b"cf-connecting-ip", b"true-client-ip")
"""Headers by which proxies name their client, and that do not count here."""

_FORWARDING = {
    "forwarding_missing": "a trusted proxy sends no X-Forwarded-For, so all its users share one limit: have it set this header, no other one counts",
    "forwarding_ignored": "LASTDIGITS_TRUSTED_PROXIES does not list this address, so all its users share one limit: if it is your proxy, add it",
}


@dataclass(slots=True)
class Service:
    """All that routes use: made once in the application's lifespan, handed on in its state.

    Attributes:
        proxies: whose `X-Forwarded-For` counts.
        examine: asks the store whether it is safe to use.
        sandbox: whether calls go to the simulator.
        entropy: how codes are distributed, as far as this worker knows.
        breaker: whether the provider is asked for calls.
        is_full: whether so many requests wait for the store that further ones would wait for long.
        warned: warnings about proxies that the log has already.
    """

    verifications: VerificationService
    clients: Clients
    tokens: TokenIssuer
    policy: Policy
    proxies: TrustedProxies
    examine: Watch
    sandbox: bool
    entropy: EntropyMonitor
    breaker: Callable[[], BreakerState]
    is_full: Callable[[], bool]
    warned: set[str] = field(default_factory=set)

    def return_url(self, client: Registered, text: str) -> ReturnUrl | None:
        """The address, if the hosted page may hand this client's token to it: one that it lists, or in the sandbox any of this machine."""
        url = read_return_url(text)
        return url if text in client.return_urls or (self.sandbox and url.local) else None

    def has_hosted_page(self, client: Registered) -> bool:
        """Whether the hosted page may return somewhere for this public client."""
        return self.sandbox or bool(client.return_urls)


def service_of(request: Request) -> Service:
    """The running service."""
    service: Service = request.scope["state"]["service"]
    return service


def any_client(request: Request) -> Caller:
    """The client whose key the request has; of a public key, which works from its origins only, with the address that the request comes from."""
    scope = request.scope
    scope["cors"] = (VARY,)  # of all answers that a page may get
    service = service_of(request)
    client = _client_of(scope, service.clients)
    if not client.public:
        return Caller(client)
    _judge_origin(client, scope, service)
    return Caller(client, _address_of(scope, service))


def secret_client(request: Request) -> Caller:
    """The client whose secret key the request has; any other request is rejected."""
    client = _client_of(request.scope, service_of(request).clients)
    if client.public:
        raise RequestRejected(RequestError.KEY_NOT_ALLOWED, "This route is for backends: use a secret key.")
    return Caller(client)


def on_behalf(caller: Caller, client_ip: str | None) -> Caller:
    """The caller with the address that limits count: a backend names its user's, a page or an app has its own and may name none."""
    if client_ip is None:
        return caller
    if caller.client.public:
        errors = [{"field": "client_ip", "message": "Only a backend with a secret key names its user's address"}]
        raise RequestRejected(RequestError.INVALID_REQUEST, "Leave client_ip out.", errors=errors)
    return replace(caller, address=normalized(client_ip))


def _client_of(scope: Scope, clients: Clients) -> Registered:
    scheme, _, key = header_of(scope, b"authorization").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise RequestRejected(RequestError.KEY_MISSING, "Send the header Authorization: Bearer and a key.")
    client = clients.find(key.strip())
    if client is None:
        raise RequestRejected(RequestError.KEY_UNKNOWN, "No client has this key.")
    scope["client_id"] = client.id  # for the log
    return client


def _judge_origin(client: Registered, scope: Scope, service: Service) -> None:
    if b"origin" not in first_headers(scope):
        if not client.native:
            raise RequestRejected(
                RequestError.ORIGIN_NOT_ALLOWED,
                "This public key is for web pages, whose requests have an Origin. For an app, set `native = true` in the clients file.",
            )
        return
    origin = header_of(scope, b"origin").decode("latin-1")
    if client.allows(origin):
        allow(scope, origin)
    elif not (service.has_hosted_page(client) and _is_own(scope, origin)):
        raise origin_rejected(origin, "This key's client does not list the origin")


def _is_own(scope: Scope, origin: str) -> bool:
    """Whether a request comes from a page of this service itself, which is the hosted one. Browsers say so, and no page can say it for them."""
    if site := header_of(scope, b"sec-fetch-site"):
        return site == b"same-origin"
    # Safari says it since 16.4. An older one has at least a true Origin, and a proxy that hands Host on.
    return origin.partition("://")[2] == header_of(scope, b"host").decode("latin-1")


def _address_of(scope: Scope, service: Service) -> str | None:
    """The address of a page's or an app's user. What looks like a proxy that is not set up is logged once."""
    peer = scope["client"][0] if scope.get("client") else None
    names = first_headers(scope)
    forwarded, trusted = FORWARDED_FOR in names, peer in service.proxies
    looks_like_a_proxy = forwarded or any(name in names for name in _OTHER_FORWARDING)
    if looks_like_a_proxy and not (forwarded and trusted):
        event = "forwarding_missing" if trusted else "forwarding_ignored"
        if event not in service.warned:
            service.warned.add(event)
            structlog.get_logger().warning(event, peer=peer, detail=_FORWARDING[event])
    return service.proxies.address_of(peer, scope["headers"])


AnyClient = Annotated[Caller, Depends(any_client)]
SecretClient = Annotated[Caller, Depends(secret_client)]
TheService = Annotated[Service, Depends(service_of)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
