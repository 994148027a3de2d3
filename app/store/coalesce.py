"""Many commands, few system calls: what is asked in one turn of the event loop goes out in one piece, whatever is still unanswered.

No transaction: each command succeeds or fails by itself. Bounded in number and in time, first come first served. docs/performance.md has what it
gains.
"""

import asyncio
from collections import deque
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.store.wire import Answer, Wire, fail
from app.verification.errors import StoreUnavailable

MOST_UNANSWERED = 128
"""Commands on the connection at once. Behind a server that hangs these are carried out when it wakes, though nobody waits for them any more; the
others wait here, and are never sent."""

MOST_WAITING = 10_000
"""Commands: beyond that a caller is told at once that the store is unavailable, rather than after a long wait."""

_TICKS = 8
"""Parts of the patience that time is told in: asking the clock for each command costs more than sending it."""


class Coalescer:
    """Sends commands over one connection, without waiting for the answers to those before. One for each event loop."""

    def __init__(self, client: "Redis", patience: float = 1.0) -> None:
        """Send to a client's server.

        Args:
            client: made by `connect`; its own time-out bounds connecting.
            patience: seconds that a command waits for its answer, an eighth more at most.
        """
        self._client = client
        self._patience = patience
        self._wire: Wire | None = None
        self._retired: list[Wire] = []
        self._waiting: deque[tuple[bytes, Answer, int]] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick = 0
        self._clock: asyncio.TimerHandle | None = None

    async def run(self, *command: Any) -> Any:  # noqa: ANN401  a Redis answer has the type that its command gives it
        """Run one command.

        A caller that gives up waiting takes nothing from its neighbours; its own command may still be carried out.

        Raises:
            StoreUnavailable: too many commands wait already, or the server did not answer in time.
            RedisError: the server refused this very command.
        """
        packed = pack_command(command)
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        answer = loop.create_future()
        wire = self._wire
        if wire and not self._waiting and len(wire.unanswered) < MOST_UNANSWERED:
            wire.send(packed, answer, self._tick)
        else:
            self._wait(packed, answer)
        if self._clock is None:
            self._clock = loop.call_later(self._patience / _TICKS, self._pass)
        return await answer

    async def aclose(self) -> None:
        """End all connections; who still waits is told that the store is unavailable."""
        if self._clock:
            self._clock.cancel()
        self._fail_waiting("the service ends")
        if self._connecting:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for wire in [self._wire, *self._retired]:
            if wire:
                wire.close()
        await asyncio.sleep(0)  # lets the transports close

    def _wait(self, packed: bytes, answer: Answer) -> None:
        if len(self._waiting) >= MOST_WAITING:
            raise StoreUnavailable("too many commands wait for the store")
        self._waiting.append((packed, answer, self._tick))
        self._connect_if_needed()

    def _connect_if_needed(self) -> None:
        if self._waiting and self._wire is None and self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        wire = Wire(self._answered, self._lost)
        pool: Any = self._client.connection_pool
        connection = pool.make_connection()
        try:
            await connection.connect()
            wire.begin(connection.hand_over())
        except (RedisError, OSError, TimeoutError) as fault:
            self._fail_waiting(f"{type(fault).__name__}: {fault}")
        except BaseException as fault:
            self._fail_waiting(type(fault).__name__)
            raise
        else:
            self._wire = wire
            self._answered(wire)
        finally:
            self._connecting = None
            await connection.disconnect(nowait=True)  # of one that was not handed over

    def _answered(self, wire: Wire) -> None:
        """Send what waits, as far as there is room, but nothing that nobody waits for any more."""
        if wire.demoted:
            # Whoever is the primary now will be found by connecting anew.
            self._retire(wire)
        if wire is not self._wire:
            if not wire.unanswered:
                wire.close()
            return
        while self._waiting and len(wire.unanswered) < MOST_UNANSWERED:
            packed, answer, tick = self._waiting.popleft()
            if not answer.done():
                wire.send(packed, answer, tick)

    def _lost(self, wire: Wire) -> None:
        if wire in self._retired:
            self._retired.remove(wire)
        elif wire is self._wire:
            self._wire = None
        self._connect_if_needed()

    def _retire(self, wire: Wire) -> None:
        """Send nothing more over a connection; what it still answers is heard."""
        if wire is self._wire:
            self._wire = None
            self._retired.append(wire)
            self._connect_if_needed()

    def _pass(self) -> None:
        """An eighth of the patience has passed."""
        self._tick += 1
        self._clock = None
        late = self._tick - _TICKS
        why = f"no answer within {self._patience:g} s"
        for wire in list(self._retired):
            if wire.fail_before(late, why) and wire.unanswered[-1][1] < late:
                wire.close()
        if self._wire and self._wire.fail_before(late, why):
            self._retire(self._wire)
        while self._waiting and (self._waiting[0][2] < late or self._waiting[0][1].done()):
            fail(self._waiting.popleft()[1], "the store is too slow: the command was never sent")
        if self._loop and (self._retired or self._waiting or (self._wire and self._wire.unanswered)):
            self._clock = self._loop.call_later(self._patience / _TICKS, self._pass)

    def _fail_waiting(self, why: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, answer, _ in waiting:
            fail(answer, why)
