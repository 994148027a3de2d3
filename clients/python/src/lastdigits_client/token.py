"""Verify a token as docs/token.md asks: by the published keys, and once if asked to."""

from dataclasses import dataclass

import jwt

from lastdigits_client.client import Client
from lastdigits_client.errors import LastdigitsError, TokenRefused


@dataclass(frozen=True, slots=True)
class VerifiedPhone:
    """What a valid token says. `test`: no phone was called."""

    phone: str
    purpose: str
    verification_id: str
    test: bool


class TokenVerifier:
    """Verifies the tokens of one service for one audience. It fetches the keys by blocking requests, at most every 30 seconds.

    Args:
        jwks_url: `https://…/.well-known/jwks.json`.
        issuer: the service's LASTDIGITS_ISSUER.
        audience: the id, or the `audience`, of your client.
        algorithm: the one your operator signs with.
        accept_test: True while you develop: sandboxes and test numbers call no phone.
    """

    def __init__(
        self, jwks_url: str, issuer: str, audience: str, *, algorithm: str = "ES256", accept_test: bool = False
    ) -> None:
        if not (issuer and audience and algorithm in {"ES256", "EdDSA"}):
            raise ValueError("TokenVerifier needs an issuer, an audience, and ES256 or EdDSA")
        self._keys = jwt.PyJWKClient(jwks_url, lifespan=300, cooldown_duration=30, timeout=5)
        self._issuer, self._audience, self._algorithm = issuer, audience, algorithm
        self._accept_test = accept_test

    def verify(self, token: str, purpose: str, *, redeem_with: Client | None = None) -> VerifiedPhone:
        """The phone that a token verifies for this purpose; with `redeem_with`, once.

        Raises:
            TokenRefused: for whatever reason.
        """
        try:
            jws = jwt.decode_complete(
                token,
                self._keys.get_signing_key_from_jwt(token),
                algorithms=[self._algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=10,
                options={"require": ["exp", "jti", "phone_number"], "strict_aud": True},
            )
            claims, test = jws["payload"], "test" in jws["payload"]
            if jws["header"]["typ"] != "verification+jwt" or claims["purpose"] != purpose:
                raise TokenRefused("it is for something else")
            if test and not self._accept_test:
                raise TokenRefused("it is of a test number or a sandbox")
            if redeem_with:
                redeem_with.redeem(token)
        except (jwt.PyJWTError, ValueError, KeyError, LastdigitsError) as error:
            raise TokenRefused(f"{type(error).__name__}: {error}") from error
        return VerifiedPhone(claims["phone_number"], purpose, claims["jti"], test)
