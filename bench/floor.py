"""The floor that the service is measured against: a bare FastAPI route with a pydantic body, no key, no store. Prints nothing; takes its port."""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Body(BaseModel):
    id: str
    code: str


app = FastAPI()


@app.post("/verify/check")
async def check(body: Body) -> dict[str, str]:
    return {"id": body.id, "status": "pending"}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_config=None, access_log=False)
