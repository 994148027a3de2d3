"""What one live verification takes in the store: every key that its start and a wrong code leave, by MEMORY USAGE.

python -m bench.memory          runs a Valkey of its own, and ends it
"""

import asyncio
import tempfile
from contextlib import aclosing
from pathlib import Path

from app.settings import load_settings
from app.store.coalesce import Coalescer
from app.store.connection import connect
from app.store.embedded import embedded_server
from app.store.redis_store import RedisStore
from app.verification.client import Client, IdempotentRequest
from app.verification.ids import IdCodec
from app.verification.ports import RequestContext, Reserved
from bench.stand import write_result

SHARED = (
    b"ld:m",
    b"ld:n",
    b"ld:d:",
    b"ld:w",
)  # of all calls, of a country, of ten thousand numbers: they belong to no verification


async def measure(url: str, *, once: bool) -> dict[str, int]:
    """Bytes by the kind of key."""
    codec = IdCodec(b"a pepper for measuring, of 32 bytes and more")
    client = Client("web", "web")
    async with connect(url, 5) as server, aclosing(Coalescer(server)) as coalescer:
        await server.flushall()
        store = RedisStore(coalescer, load_settings(None).policy)
        ref = codec.new("+79161234567", 4)
        idempotency = codec.idempotency(
            ref, client.id, "start", IdempotentRequest("8e03978e-40d5-43e8-bc93-6894a57f9324", b"{}")
        )
        ask = RequestContext(client, codec.address("203.0.113.7"), idempotency if once else None)
        call = await store.start([ref, ref.longer(5), ref.longer(6)], ask, "login", None)
        assert isinstance(call, Reserved)
        await store.settle(ref, ask, call, ref.digest("0123"), 3500)
        await store.check(ref, ask, ref.digest("9999"))
        keys = [key async for key in server.scan_iter() if not key.startswith(SHARED)]
        return {key.decode().split(":")[1]: int(await server.memory_usage(key) or 0) for key in keys}


def main() -> None:
    names = {
        "v": "verification",
        "p": "phone",
        "a": "calls of the address",
        "g": "guesses of the address",
        "k": "idempotency key",
    }
    told = {}
    with tempfile.TemporaryDirectory() as directory, embedded_server(Path(directory)):
        for once in (False, True):
            found = asyncio.run(measure(f"embedded://{directory}", once=once))
            for kind, size in sorted(found.items()):
                print(f"  {names[kind]:24} {size:5}")
            kind = "with" if once else "without"
            print(
                f"  {kind} an idempotency key: {sum(found.values())} bytes, if it has its phone and address for itself"
            )
            told[kind] = found
    write_result("memory", told)


if __name__ == "__main__":
    main()
