"""Which client a request comes from, from where, and what its key reaches.

With the verifier and the idempotency key, all that a route asks of the request.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

import structlog
from fastapi import Depends
from starlette.requests import Request

from app.api.address import TrustedProxies, counted
from app.api.clients import Clients, Kind, Registered
from app.api.cors import allow
from app.api.idempotency import idempotency_key
from app.api.lean import header_of
from app.api.problems import RequestError, RequestRejected
from app.api.ratelimit_headers import Quotas
from app.store.connection import Health
from app.verification.client import Caller
from app.verification.draws import Draws
from app.verification.policy import Policy
from app.verification.service import VerificationService
from app.verification.token import TokenIssuer
from app.verification.values import value

_FORWARDING = frozenset({b"forwarded", b"x-forwarded-for"})


@dataclass(slots=True)
class Service:
    """All that routes reach: made once in the application's lifespan, handed on in its state.

    Attributes:
        verifier: the operations.
        clients: who may call.
        proofs: what signs and verifies proofs.
        policy: the rules in force.
        proxies: whose forwarding headers count.
        examine: asks the store whether it can be relied on.
        sandbox: whether calls go to the simulator.
        draws: how evenly codes are drawn, as far as this worker knows.
        quotas: tells the limits in force in headers.
        proxy_suspected: a forwarding header came from an address that may not forward, and the log has said so.
    """

    verifications: VerificationService
    clients: Clients
    tokens: TokenIssuer
    policy: Policy
    proxies: TrustedProxies
    examine: Callable[[], Awaitable[Health]]
    sandbox: bool
    draws: Draws
    quotas: Quotas = field(init=False)
    proxy_suspected: bool = False

    def __post_init__(self) -> None:
        self.quotas = Quotas(self.policy)


@value
class AuthenticatedClient:
    """A client, and the address its request came from: not yet whose user's address counts."""

    client: Registered
    address: str | None


def service_of(request: Request) -> Service:
    """The running service."""
    service: Service = request.scope["state"]["service"]
    return service


def verifications_of(request: Request) -> VerificationService:
    """The operations."""
    return service_of(request).verifications


def any_client(request: Request) -> AuthenticatedClient:
    """The client whose key the request bears, of either kind; a public key only from its origins.

    Raises:
        RequestFault: no key, an unknown one, or a public one used from elsewhere.
    """
    service = service_of(request)
    client = _client_of(request, service.clients)
    if client.kind is Kind.SECRET:
        return AuthenticatedClient(client, None)
    _judge_origin(client, request)
    return AuthenticatedClient(client, _address_of(request, service))


def secret_client(request: Request) -> Caller:
    """The client whose secret key the request bears.

    Raises:
        RequestFault: no key, an unknown one, or a public one.
    """
    client = _client_of(request, service_of(request).clients)
    if client.kind is not Kind.SECRET:
        raise RequestRejected(RequestError.KEY_NOT_ALLOWED, "This route is for backends: use a secret key.")
    return Caller(client)


def on_behalf(asking: AuthenticatedClient, client_ip: str | None) -> Caller:
    """Who asks, and the address that limits count: a backend names its user's, a page or an app has its own.

    Raises:
        RequestFault: a page or an app names one.
    """
    if asking.client.kind is Kind.SECRET:
        return Caller(asking.client, counted(client_ip) if client_ip else None)
    if client_ip is not None:
        errors = [{"field": "client_ip", "message": "Only a backend with a secret key names its user's address"}]
        raise RequestRejected(RequestError.INVALID_REQUEST, "Leave client_ip out.", errors=errors)
    return Caller(asking.client, asking.address)


def _client_of(request: Request, clients: Clients) -> Registered:
    scheme, _, key = header_of(request.scope, b"authorization").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise RequestRejected(RequestError.KEY_MISSING, "Send the header Authorization: Bearer and a key.")
    client = clients.find(key.strip())
    if client is None:
        raise RequestRejected(RequestError.KEY_UNKNOWN, "No client has this key.")
    return client


def _judge_origin(client: Registered, request: Request) -> None:
    origin = request.headers.get("origin")
    if origin is None:
        if not client.native:
            raise RequestRejected(
                RequestError.ORIGIN_NOT_ALLOWED, "This public key is for web pages: requests must carry an Origin."
            )
    elif origin in client.origins:
        allow(request.scope, origin)
    else:
        raise RequestRejected(RequestError.ORIGIN_NOT_ALLOWED, "This public key is not for pages of this origin.")


def _address_of(request: Request, service: Service) -> str | None:
    """The address of a page's or an app's user, as limits count it."""
    scope = request.scope
    peer = scope["client"][0] if scope.get("client") else None
    address = service.proxies.address_of(peer, scope["headers"])
    if (
        not service.proxy_suspected
        and any(name in _FORWARDING for name, _ in scope["headers"])
        and peer not in service.proxies
    ):
        service.proxy_suspected = True
        structlog.get_logger().warning(
            "forwarding_ignored",
            peer=peer,
            detail="a forwarding header came from an address that TRUSTED_PROXIES does not name, so all its users count as one: "
            "if it is your proxy, set LASTDIGITS_TRUSTED_PROXIES to it",
        )
    return counted(address) if address else None


AnyClient = Annotated[AuthenticatedClient, Depends(any_client)]
SecretClient = Annotated[Caller, Depends(secret_client)]
TheService = Annotated[Service, Depends(service_of)]
TheVerifications = Annotated[VerificationService, Depends(verifications_of)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
