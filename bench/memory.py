"""What one live verification takes in the store: every key that its start and a wrong code leave and no other verification shares, by MEMORY USAGE.

python -m bench.memory
"""

import tempfile
from pathlib import Path

import uvloop

from bench.records import PREFIX, opened_store
from bench.stand import configure, valkey

SHARED = {"calls", "money", "price", "pricing", "guard", "suspended", "lane", "sprayed"}
"""Keys of all calls, of a country or of a range."""


async def measure(url: str, key: str | None) -> dict[str, int]:
    """Bytes by kind of key: its name without the digest."""
    async with opened_store(url) as records:
        await records.redis.flushall()
        await records.check(await records.start(key), "9999")
        names = [name.decode() async for name in records.redis.scan_iter()]
        own = [name for name in names if name.removeprefix(PREFIX).partition(":")[0] not in SHARED]
        return {":".join(name.split(":")[1::2]): await records.redis.memory_usage(name, samples=0) for name in own}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, valkey() as store:
        configure(Path(directory))
        for key in (None, "8e03978e-40d5-43e8-bc93-6894a57f9324"):
            sizes = uvloop.run(measure(f"redis://127.0.0.1:{store.port}/0", key))
            print(f"{sum(sizes.values())} bytes", "with" if key else "without", "an idempotency key:", sizes)


if __name__ == "__main__":
    main()
