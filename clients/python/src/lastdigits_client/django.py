"""A Django decorator: the view gets the phone that the request's token verifies as `request.verified_phone`, or is not called."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from lastdigits_client.client import Client
from lastdigits_client.errors import TokenRefused
from lastdigits_client.token import TokenVerifier

View = Callable[..., HttpResponseBase]


def phone_required(
    verifier: TokenVerifier, purpose: str, *, field: str = "phone_token", redeem_with: Client | None = None
) -> Callable[[View], View]:
    """Decorate a sync view: `@phone_required(verifier, "login")`. Reads the field of a form or of JSON; 403 without a valid token."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # noqa: ANN401  the view's own
            try:
                form = json.loads(request.body) if request.content_type == "application/json" else request.POST
                request.verified_phone = verifier.verify(form[field], purpose, redeem_with=redeem_with)
            except (TokenRefused, ValueError, LookupError, TypeError, RecursionError) as error:
                raise PermissionDenied from error
            return view(request, *args, **kwargs)

        return checked

    return decorate
