"""A Django project around the views of docs/guides/en/django.md."""

from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])

import verification  # type: ignore[import-not-found]  # noqa: E402  # the guide's code, after the settings

urlpatterns = [path("login", verification.login)]
if hasattr(verification, "change_number"):
    urlpatterns.append(path("number", verification.change_number))

if __name__ == "__main__":
    with make_server("127.0.0.1", 0, get_wsgi_application()) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201  # the test reads its address
        server.serve_forever()
