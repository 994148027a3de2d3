"""Client of lastdigits, a self-hosted phone verification by flash call, and helpers that verify its tokens."""

from lastdigits_client.answers import Approved, Pending, Redeemed, State
from lastdigits_client.client import AsyncClient, Client
from lastdigits_client.errors import LastdigitsError, NoAnswer, Problem, TokenRefused
from lastdigits_client.token import TokenVerifier, VerifiedPhone

__all__ = [
    "Approved",
    "AsyncClient",
    "Client",
    "LastdigitsError",
    "NoAnswer",
    "Pending",
    "Problem",
    "Redeemed",
    "State",
    "TokenRefused",
    "TokenVerifier",
    "VerifiedPhone",
]
