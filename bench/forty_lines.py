"""What people run today: the same call, and its code in Redis for five minutes, without any protection. bench/throughput.py measures starts against it.

uvicorn bench.forty_lines:app, with REDIS_URL and PROVIDER_URL in the environment
"""

import os
import secrets
from typing import Annotated, Any

import httpx2
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from redis.asyncio import Redis

redis: Any = Redis.from_url(os.environ["REDIS_URL"])
provider = httpx2.AsyncClient(headers={"Authorization": os.environ["PROVIDER_API_KEY"]})
app = FastAPI()


class Start(BaseModel):
    phone: Annotated[str, Field(pattern=r"^\+\d{11}$")]


class Check(BaseModel):
    id: str
    code: str


@app.post("/verify/start", status_code=201)
async def start(body: Start) -> dict[str, str]:
    response = await provider.post(os.environ["PROVIDER_URL"], json={"number": body.phone[1:], "capacity": "4"})
    answer = response.json()
    if answer["result"] != "ok":
        raise HTTPException(503)
    verification = secrets.token_urlsafe(16)
    await redis.set(f"code:{verification}", answer["code"], ex=300)
    return {"id": verification, "status": "pending", "phone": body.phone}


@app.post("/verify/check")
async def check(body: Check) -> dict[str, str]:
    if await redis.get(f"code:{body.id}") != body.code.encode():
        raise HTTPException(422)
    return {"id": body.id, "status": "approved"}
