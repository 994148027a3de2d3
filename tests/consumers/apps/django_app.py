"""A Django project around a page's views."""

import os
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

trust = {name: value for name, value in os.environ.items() if name.startswith("TOKEN_")}
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], **trust)

import verification  # type: ignore[import-not-found]  # noqa: E402  # the page's code, after the settings

urlpatterns = [path("login", verification.login)]
if hasattr(verification, "change_number"):
    urlpatterns.append(path("number", verification.change_number))

if __name__ == "__main__":
    with make_server("127.0.0.1", 0, get_wsgi_application()) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201  # the test reads its address
        server.serve_forever()
