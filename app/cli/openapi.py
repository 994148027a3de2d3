"""`lastdigits openapi`: the OpenAPI document, for a client generator; the running service has the same at `/openapi.json`."""

import argparse
import sys

from pydantic_core import to_json

from app.main import create_app
from app.settings import load_settings


def run(_: argparse.Namespace) -> int:
    """Print the document."""
    sys.stdout.write(to_json(create_app(load_settings()).openapi(), indent=2).decode() + "\n")
    return 0
