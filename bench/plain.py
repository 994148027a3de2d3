"""A check as most would write it: a FastAPI route with a pydantic body, and one `EVALSHA` by redis-py. bench/throughput.py measures checks against it.

uvicorn bench.plain:app, in the environment of bench/stand.py. It runs the service's own script with the service's own arguments: a wrong code, each time
for the same verification, which allows a billion of them.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis

from bench.records import opened_store, tireless

redis: Any = Redis.from_url(os.environ["REDIS_URL"])
arguments: list[Any] = []


class Check(BaseModel):
    id: str
    code: str


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with opened_store(os.environ["REDIS_URL"], tireless(), operator="918") as records:
        ref = await records.start()
        for _attempt in range(2):  # the first one may send the script's text
            await records.check(ref, "9999")
        arguments[:] = (part.decode() if isinstance(part, bytes) else part for part in records.pipelines.last[1:])
    yield
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/verify/check")
async def check(body: Check) -> dict[str, str | int]:
    reply = json.loads(await redis.evalsha(*arguments))
    return {"id": body.id, "outcome": reply["outcome"], "attempts_left": reply["attempts_left"]}
