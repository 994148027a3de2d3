"""The smallest FastAPI app with a login by verification token."""

import socket
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI
from verification import verified  # type: ignore[import-not-found]  # the page's code

app = FastAPI()


@app.post("/login")
def login(token: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    return {"phone": verified(token, "login")["phone_number"]}


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)  # noqa: T201  # the test reads its address
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])
