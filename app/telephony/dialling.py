"""From a host's name to a connected socket: its addresses, tried beside each other (RFC 8305, "Happy Eyeballs").

`loop.create_connection` would do it in asyncio, but not in uvloop, which tries one address after the other and lets one
that swallows packets use up all the time (https://github.com/MagicStack/uvloop/issues/406).
"""

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

from aiohappyeyeballs import start_connection

HEAD_START = 0.25
"""Seconds that an address is given before the next is tried beside it (RFC 8305, 5 and 8)."""

REMEMBERED = 10.0
"""Seconds that a name's addresses are used again: a burst of new connections asks the resolver once."""

Address = tuple[int, Any]
"""A socket's family, and its address as `connect` takes it."""


class Addresses:
    """The addresses of one host, looked up when they are needed. Of one event loop."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._lookup: asyncio.Task[list[Address]] | None = None
        self._until = 0.0

    async def known(self) -> list[Address]:
        """The addresses, at most `REMEMBERED` seconds old; all who ask meanwhile wait for the same lookup.

        Raises:
            OSError: the name has none.
        """
        loop = asyncio.get_running_loop()
        if self._lookup is None or (self._lookup.done() and loop.time() >= self._until):
            self._lookup = loop.create_task(look_up(self._host, self._port))
            self._lookup.add_done_callback(self._looked_up)
            self._until = loop.time() + REMEMBERED
        # One caller's end must not end it for the others.
        return await asyncio.shield(self._lookup)

    def forget(self) -> None:
        """Look them up anew the next time: none of them answered. A lookup under way stays: others wait for it."""
        if self._lookup is not None and self._lookup.done():
            self._lookup = None

    def _looked_up(self, lookup: asyncio.Task[list[Address]]) -> None:
        if (lookup.cancelled() or lookup.exception() is not None) and lookup is self._lookup:
            self._lookup = None


async def look_up(host: str, port: int) -> list[Address]:
    """Ask the system's resolver, which knows addresses too.

    Raises:
        OSError: there is no such name, or nobody to ask.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


async def first_connected(addresses: Iterable[Address]) -> tuple[Address, socket.socket]:
    """Connect to whichever address answers first: each next one is tried when the last has failed or had its head start, the families by turns.

    Raises:
        OSError: none could be reached: what the first of them said.
    """
    known = [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for family, address in addresses]
    if not known:
        raise OSError("the name has no address")
    connected = await start_connection(known, happy_eyeballs_delay=HEAD_START, interleave=1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return (connected.family, connected.getpeername()), connected
