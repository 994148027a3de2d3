"""Which client a request comes from, and what its key reaches. With the verifier, all that a route asks of the request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from app.api.clients import Client, Clients, Kind
from app.api.problems import Fault, RequestFault
from app.store.connect import Health
from app.verification.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Service:
    """All that routes reach: made once in the application's lifespan, handed on in its state.

    Attributes:
        verifier: the operations.
        clients: who may call.
        examine: asks the store whether it can be relied on.
        sandbox: whether calls go to the simulator.
    """

    verifier: Verifier
    clients: Clients
    examine: Callable[[], Awaitable[Health]]
    sandbox: bool


def service_of(request: Request) -> Service:
    """The running service."""
    service: Service = request.scope["state"]["service"]
    return service


def verifier_of(request: Request) -> Verifier:
    """The operations."""
    return service_of(request).verifier


def any_client(request: Request) -> Client:
    """The client whose key the request bears, of either kind; a public key only from its origins.

    Raises:
        RequestFault: no key, an unknown one, or a public one used from elsewhere.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise RequestFault(Fault.KEY_MISSING, "Send the header Authorization: Bearer and a key.")
    client = service_of(request).clients.find(key.strip())
    if client is None:
        raise RequestFault(Fault.KEY_UNKNOWN, "No client has this key.")
    if client.kind is Kind.PUBLIC:
        _judge_origin(client, request.headers.get("origin"))
    return client


def secret_client(request: Request) -> Client:
    """The client whose secret key the request bears.

    Raises:
        RequestFault: no key, an unknown one, or a public one.
    """
    client = any_client(request)
    if client.kind is not Kind.SECRET:
        raise RequestFault(Fault.KEY_NOT_ALLOWED, "This route is for backends: use a secret key.")
    return client


def _judge_origin(client: Client, origin: str | None) -> None:
    if origin is None:
        if not client.native:
            raise RequestFault(
                Fault.ORIGIN_NOT_ALLOWED, "This public key is for web pages: requests must carry an Origin."
            )
    elif origin not in client.origins:
        raise RequestFault(Fault.ORIGIN_NOT_ALLOWED, "This public key is not for pages of this origin.")


AnyClient = Annotated[Client, Depends(any_client)]
SecretClient = Annotated[Client, Depends(secret_client)]
TheVerifier = Annotated[Verifier, Depends(verifier_of)]
