"""The service without one of the two tricks that make a check cheap: what each is worth.

python -m bench.variants single_commands     each command by itself, over redis-py's pool, instead of app/store/pipelines.py
python -m bench.variants fastapi_routes      FastAPI's own way to call an endpoint instead of app/api/lean.py
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request

from app.api.lean import LeanRoute
from app.store.pipelines import Pipelines


class SingleCommands(Pipelines):
    async def execute(self, *command: Any, replicated: bool = False) -> tuple[Any, bool]:  # noqa: ANN401, ARG002  as of the class
        async with asyncio.timeout(self._timeout):
            return await self._client.execute_command(*command), True


def on_the_loop(depend: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Any]]:
    """FastAPI hands plain functions to a thread; no one would have it do so for a look at a header."""

    @wraps(depend)
    async def call(request: Request) -> Any:  # noqa: ANN401
        return depend(request)

    return call


def fastapi_handler(route: LeanRoute) -> Callable[[Request], Any]:
    for dependency in route.dependant.dependencies:
        if dependency.call:
            dependency.call = on_the_loop(dependency.call)
    return APIRoute.get_route_handler(route)


def single_commands() -> None:
    import app.main  # noqa: PLC0415  it makes the routes

    app.main.Pipelines = SingleCommands  # type: ignore[attr-defined]  # the one place that makes one


def fastapi_routes() -> None:
    LeanRoute.__init__ = APIRoute.__init__  # type: ignore[method-assign]
    LeanRoute.get_route_handler = fastapi_handler  # type: ignore[method-assign, assignment]  # before the routes are made


if __name__ == "__main__":
    {"single_commands": single_commands, "fastapi_routes": fastapi_routes}[sys.argv[1]]()
    from app.cli import main

    sys.argv[1:] = ["serve"]
    main()
