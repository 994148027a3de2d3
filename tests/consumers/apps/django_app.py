"""The smallest Django app with a login by verification token."""

import json
import os
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    TOKEN_JWKS=os.environ["TOKEN_JWKS"],
    TOKEN_ISSUER=os.environ["TOKEN_ISSUER"],
    TOKEN_AUDIENCE=os.environ["TOKEN_AUDIENCE"],
)

from verification import verified  # type: ignore[import-not-found]  # noqa: E402  # the page's code reads the settings


def login(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"phone": verified(json.loads(request.body)["token"], "login")["phone_number"]})


urlpatterns = [path("login", login)]

if __name__ == "__main__":
    with make_server("127.0.0.1", 0, get_wsgi_application()) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201  # the test reads its address
        server.serve_forever()
