"""Challenges: implements the core's port (app/verification/challenge.py) by ALTCHA or by a remote service."""

from app.challenges.altcha import Altcha
from app.challenges.remote import Remote
from app.verification.challenge import ChallengeKind, ChallengeProvider


def make_challenges(kind: ChallengeKind, key: bytes, site_key: str | None, secret_key: str | None) -> ChallengeProvider:
    """The provider that the settings name.

    Args:
        kind: CHALLENGE_PROVIDER.
        key: signs ALTCHA's challenges; the same in all workers.
        site_key: CHALLENGE_SITE_KEY: a remote service's public key.
        secret_key: CHALLENGE_SECRET_KEY: its secret key.

    Raises:
        ValueError: a remote service without its keys.
    """
    if kind is ChallengeKind.ALTCHA:
        return Altcha(key)
    if not site_key or not secret_key:
        raise ValueError(f"CHALLENGE_PROVIDER={kind} needs CHALLENGE_SITE_KEY and CHALLENGE_SECRET_KEY.")
    return Remote(kind, site_key, secret_key)
