"""The smallest Django app with a login by proof."""

import json
import os
from wsgiref.simple_server import make_server

from django.conf import settings  # type: ignore[import-untyped]  # ships no types
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import HttpRequest, JsonResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    PROOF_JWKS=os.environ["PROOF_JWKS"],
    PROOF_ISSUER=os.environ["PROOF_ISSUER"],
    PROOF_AUDIENCE=os.environ["PROOF_AUDIENCE"],
)

from proof import verified  # type: ignore[import-not-found]  # noqa: E402  # the page's code reads the settings


def login(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"phone": verified(json.loads(request.body)["token"], "login")["phone_number"]})


urlpatterns = [path("login", login)]

if __name__ == "__main__":
    with make_server("127.0.0.1", 0, get_wsgi_application()) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201  # whoever started it reads its address
        server.serve_forever()
