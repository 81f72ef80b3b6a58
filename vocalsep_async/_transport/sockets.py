"""Sockets that notice a dead path, and the abrupt end of one whose request was given up.

A NAT, a VPN or a balancer may forget a connection, and a link may fall silent. Nothing comes back
then, not even an error, and the kernel repeats what was sent for minutes: also for a connection
that was closed, so that a request that was given up long ago is delivered when the link returns.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from vocalsep_async._transport.addresses import AddressInfo
from vocalsep_async.policies import DEAD_PATH_PATIENCE

_PROBES = 2
_PROBE_GAP = DEAD_PATH_PATIENCE / (2 * _PROBES)
"""Seconds between probes; the first one is sent after half of the patience, without traffic."""
_MOST_UNSENT = 1 << 17
"""Bytes of an upload that the system may hold unsent. Without a bound it takes megabytes, for which
a slow line needs minutes: what was handed over would not show how far the upload is."""
_DISCARD = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""The value of SO_LINGER that has a close discard what was not acknowledged, and reset the peer."""


def path_options(names: Any = socket) -> list[tuple[int, int, int]]:
    """The options that let the kernel find a dead path, as far as the platform has them.

    Args:
        names: where their numbers are; the platform's.

    Returns:
        level, option and value of each.
    """
    patience, gap = int(DEAD_PATH_PATIENCE), int(_PROBE_GAP)
    # A sender learns from missing acknowledgements, and a receiver only from unanswered probes: it
    # waits for an answer, or for the rest of a file, and has nothing to send.
    idle = "TCP_KEEPIDLE" if hasattr(names, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"
    wanted = {
        "TCP_USER_TIMEOUT": 1000 * patience,
        idle: patience - _PROBES * gap,
        "TCP_KEEPINTVL": gap,
        "TCP_KEEPCNT": _PROBES,
    }
    tcp = [
        (socket.IPPROTO_TCP, getattr(names, name), value)
        for name, value in wanted.items()
        if hasattr(names, name)
    ]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *tcp]


def unsent_option(names: Any = socket) -> list[tuple[int, int, int]]:
    """The option that bounds what the kernel holds and has not sent, where the platform has it.

    Args:
        names: where its number is; the platform's.

    Returns:
        level, option and value.
    """
    number = getattr(names, "TCP_NOTSENT_LOWAT", None)
    return [] if number is None else [(socket.IPPROTO_TCP, number, _MOST_UNSENT)]


def plain_socket(info: AddressInfo) -> socket.socket:
    """Make the socket for a connection to any address."""
    return socket.socket(*info[:3])


def noticing(
    make: Callable[[AddressInfo], socket.socket],
) -> Callable[[AddressInfo], socket.socket]:
    """Have the sockets that *make* makes notice a dead path, and show how far an upload is."""

    def made(info: AddressInfo) -> socket.socket:
        connection = make(info)
        for option in (*path_options(), *unsent_option()):
            # A sandbox may refuse an option that the platform has; the connection works without.
            with suppress(OSError):
                connection.setsockopt(*option)
        return connection

    return made


class SentOn:
    """The connection that one request was sent on.

    Args:
        transport: of the connection, which is still open.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        # Kept, because a transport that was closed may not give its socket any more.
        self._socket = transport.get_extra_info("socket")
        self._transport = transport

    def abort(self) -> bool:
        """Close the connection without sending what is left of the request.

        Returns:
            Whether nothing more of it is sent for sure. It is not where the socket cannot be
            reached, or was closed before: the kernel may then go on sending.
        """
        is_discarded = self._discard()
        # Also where the transport is closing: it would wait for the peer, or flush its own buffer.
        self._transport.abort()
        return is_discarded

    async def aborted(self) -> bool:
        """Do as `abort`, and wait until the socket is closed.

        Only then does the other end know: a slot that is released before is free too early. For a
        caller that is being cancelled, and raises that cancellation afterwards.
        """
        is_discarded = self.abort()
        # The event loop closes it in its next iteration.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return is_discarded

    def _discard(self) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
        except OSError:
            return False
        return True
