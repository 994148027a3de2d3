"""A server for the FastAPI app of a page."""

import socket

import uvicorn
from verification import app  # type: ignore[import-not-found]  # the page's code

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)  # noqa: T201  # the test reads its address
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])
