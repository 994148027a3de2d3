"""The service, but each command waits for its own round trip on a connection of redis-py's pool: what coalescing is measured against.

python -m bench.uncoalesced serve           as `lastdigits serve`, with one worker
"""

from typing import Any

import app.main
from app.cli import main
from app.store.coalesce import Coalescer
from app.verification.errors import StoreUnavailable


class Uncoalesced(Coalescer):
    """Commands by redis-py, as most would send them."""

    async def run(self, *command: Any) -> Any:  # noqa: ANN401  as of the class
        client: Any = self._client
        try:
            return await client.execute_command(*command)
        except (OSError, TimeoutError) as fault:
            raise StoreUnavailable(str(fault)) from fault


if __name__ == "__main__":
    app.main.Coalescer = Uncoalesced  # type: ignore[attr-defined]  # the one place that makes one
    main()
