"""Serves static files: read once, compressed once, with an ETag each."""

import base64
import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_MIN_COMPRESSED = 1024
"""Bytes: smaller files are sent as they are."""

_YEAR = "public, max-age=31536000, immutable"
_REVALIDATE = "public, no-cache"

WIDGET_HEADERS = {
    # Pages of all origins load the widget. It holds no secret, and no cookie is sent with it.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent.

    Attributes:
        version: the beginning of its SHA-256: names it in `?v=` and in its ETag.
        integrity: for the attribute `integrity` of a script (Subresource Integrity).
    """

    content: bytes
    compressed: bytes | None
    media_type: str
    version: str
    integrity: str


def load(directory: Traversable, prefix: str = "") -> dict[str, StaticFile]:
    """All files of a directory and those below it, by their path."""
    found: dict[str, StaticFile] = {}
    for entry in directory.iterdir():
        if entry.is_dir():
            found |= load(entry, f"{prefix}{entry.name}/")
        else:
            found[prefix + entry.name] = static_file(entry)
    return found


def static_file(entry: Traversable) -> StaticFile:
    """Read a file."""
    content = entry.read_bytes()
    return StaticFile(
        content=content,
        compressed=gzip.compress(content, mtime=0) if len(content) >= _MIN_COMPRESSED else None,
        media_type=mimetypes.guess_type(entry.name)[0] or "application/octet-stream",
        version=hashlib.sha256(content).hexdigest()[:12],
        integrity="sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode(),
    )


def widget_files() -> dict[str, StaticFile]:
    """What clients/js/build.mjs made: the widget, the client, the challenge's solver, the words."""
    return load(files(__package__) / "static" / "widget")


def widget_routes() -> list[Route]:
    """The routes of the widget: `/widget/phone-verify.js` and what it loads."""
    return [static_route("/widget", widget_files(), WIDGET_HEADERS)]


def static_route(path: str, served: Mapping[str, StaticFile], headers: Mapping[str, str]) -> Route:
    """A route for files below a path. Starlette adds `HEAD`, and answers other methods with 405 and `Allow`."""

    async def serve(request: Request) -> Response:
        file = served.get(request.path_params["file"])
        if file is None:
            raise HTTPException(404)
        return answer(request, file, headers)

    return Route(f"{path}/{{file:path}}", serve, methods=["GET"])


def answer(request: Request, file: StaticFile, headers: Mapping[str, str]) -> Response:
    """A file, or 304 if the browser has it. A request that names its version may be kept for a year."""
    compressed = file.compressed if "gzip" in request.headers.get("Accept-Encoding", "") else None
    etag = f'"{file.version}{"-gzip" if compressed else ""}"'
    sent = {
        **headers,
        "Cache-Control": _YEAR if request.query_params.get("v") == file.version else _REVALIDATE,
        "ETag": etag,
        "Vary": "Accept-Encoding",
    }
    if etag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=sent)
    if compressed:
        sent["Content-Encoding"] = "gzip"
    return Response(compressed or file.content, headers=sent, media_type=file.media_type)
