"""Connections to the provider: kept a while, never dirty, and the moment known at which one stands."""

import asyncio
from contextvars import ContextVar

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than the five after which common servers close theirs.

A request that meets the server's close has an unknown fate, though it rang nobody: so we give a connection up first.
"""

answer_bound: ContextVar[asyncio.Timeout] = ContextVar("answer_bound")
"""The bound on the request that is being made: it starts when the request's connection stands.

aiohttp's own `sock_read` begins anew with each byte, and its `total` counts the connecting too. Its tracing would tell
the moment as well, for 25 µs of CPU a request.
"""

_MOST_DIRTY = 3
"""How many dirty connections one request throws away before it gives up."""


class CleanConnector(aiohttp.TCPConnector):
    """Hands out only connections on which nothing lies unread, and starts the bound on the answer.

    aiohttp would take bytes that arrived on an idle connection for the next request's answer: another person's code.

    Args:
        read_timeout: seconds from the connection to the answer's last byte, for `answer_bound`.
    """

    def __init__(self, read_timeout: float) -> None:
        self._read_timeout = read_timeout
        # No limit here: whoever asks counts the calls, so that a full pool and a slow connection are told apart.
        super().__init__(limit=0, keepalive_timeout=KEEP_ALIVE)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  the overridden method's own
    ) -> Connection:
        """Take a clean connection out of the pool, or make one.

        Raises:
            ClientConnectionError: the server speaks before it is asked.
        """
        for _ in range(_MOST_DIRTY):
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is not None and not connection.protocol.should_close:
                answer_bound.get().reschedule(asyncio.get_running_loop().time() + self._read_timeout)
                return connection
            connection.close()
        raise aiohttp.ClientConnectionError("the server speaks before it is asked")
