"""Connections to the provider: made when they are needed, kept a while, never dirty."""

import asyncio
import socket
import ssl

from app.telephony.connection import Connection, NeverSent
from app.telephony.dialling import Addresses, first_connected
from app.telephony.target import Target

KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than the five after which common servers close theirs.

A request that meets the server's close has an unknown fate, though it rang nobody: so we give a connection up first.
"""

_FAREWELL = 10
"""Turns of the loop that closing waits for its connections' ends: they are told at the next ones."""


class Connections:
    """Exchanges requests for answers with one target. Of one event loop.

    Knows no limit: whoever asks counts the calls, so that a full pool and a slow connection are told apart.

    Args:
        target: where.
        connect_timeout: seconds for one try to connect: name, address and TLS together.
        read_timeout: seconds from the connection to the answer's last byte.
    """

    def __init__(self, target: Target, connect_timeout: float, read_timeout: float) -> None:
        self._target = target
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._loop = asyncio.get_running_loop()
        self._addresses = Addresses(target.host, target.port)
        self._tls = _verifying() if target.tls else None
        self._alive: set[Connection] = set()
        # The last to come is the first to go, so the eldest is always in front.
        self._idle: list[tuple[float, Connection]] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._dialling: set[asyncio.Timeout] = set()
        self._closed = False

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request once and give its answer's status and body.

        Args:
            request: head and body.

        Raises:
            NeverSent: no byte of the request has left.
            Exception: anything else: it may have been sent.
        """
        connection = self._take() or await self._dial()
        answer = await connection.ask(request, self._read_timeout)
        if connection.usable:
            self._keep(connection)
        return answer

    async def close(self) -> None:
        """End every connection and every try for one, and what is under way on them."""
        self._closed = True
        for bound in self._dialling:
            bound.reschedule(self._loop.time())
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        for connection in [*self._alive]:
            connection.drop()
        for _ in range(_FAREWELL):
            if self._alive:
                await asyncio.sleep(0)

    def _take(self) -> Connection | None:
        eldest = self._loop.time() - KEEP_ALIVE
        while self._idle:
            since, connection = self._idle.pop()
            if since > eldest and connection.clean():
                return connection
            connection.drop()
        return None

    def _keep(self, connection: Connection) -> None:
        if self._closed:
            connection.drop()
            return
        self._idle.append((self._loop.time(), connection))
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEP_ALIVE, self._drop_the_old)

    def _drop_the_old(self) -> None:
        self._sweep = None
        eldest = self._loop.time() - KEEP_ALIVE
        old = [connection for since, connection in self._idle if since <= eldest]
        del self._idle[: len(old)]
        for connection in old:
            connection.drop()
        if self._idle:
            self._sweep = self._loop.call_later(self._idle[0][0] - eldest, self._drop_the_old)

    async def _dial(self) -> Connection:
        if self._closed:
            raise NeverSent("the client is closed")
        bound = asyncio.timeout(self._connect_timeout)
        try:
            async with bound:
                self._dialling.add(bound)
                return await self._connect()
        except Exception as error:
            # Nothing was written: there was no connection to write to.
            self._addresses.forget()
            raise NeverSent(f"{type(error).__name__}: {str(error) or 'no connection in time'}") from error
        finally:
            self._dialling.discard(bound)

    async def _connect(self) -> Connection:
        addresses = await self._addresses.known()
        while True:
            address, connected = await first_connected(addresses)
            try:
                return await self._stand(connected)
            except OSError:
                # TLS has failed there: another address may be another machine.
                addresses = [other for other in addresses if other != address]
                if not addresses:
                    raise

    async def _stand(self, connected: socket.socket) -> Connection:
        name = self._target.host.rstrip(".") if self._tls else None
        _, connection = await self._loop.create_connection(
            lambda: Connection(self._alive), sock=connected, ssl=self._tls, server_hostname=name
        )
        return connection


def _verifying() -> ssl.SSLContext:
    """TLS that checks the name and the certificate against the system's trusted ones. Some 20 ms, so made once."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
