"""A client and a server in network namespaces of their own, with a router between them.

It needs a user namespace in which the caller is root (``unshare -rn``). The router can fall silent
and forget connections, as links and NATs do: packets vanish, and nothing says so.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from fault_server import answer, envelope, headers_only, record

_CLONE_NEWNET = 0x40000000
_CLIENT, _SERVER = "10.77.1.2", "10.77.2.2"
SLOW = 12.0
"""Seconds until the answer about the task "slow"."""
WHOLE, SENT = 1000, 500
"""Bytes of the file that the server has, and how many of them it sends."""

T = TypeVar("T")


class NoNetworkError(Exception):
    """This machine does not allow such a network."""


def _run(command: str) -> None:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNetworkError(f"{command}: {done.stderr.strip()}")


class Network:
    """The three namespaces; a block that removes them. The caller's own is the router's."""

    def __enter__(self) -> Self:
        self._router = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            self._namespaces = {
                name: _in_new_thread(_new_namespace) for name in ("client", "server")
            }
            self._connect("client", _CLIENT, "10.77.1.1")
            self._connect("server", _SERVER, "10.77.2.1")
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
            # Used below, and not available everywhere.
            self.silence()
            self.restore()
        except OSError as error:
            raise NoNetworkError(str(error)) from error
        return self

    def _connect(self, name: str, address: str, router: str) -> None:
        namespace = self._namespaces[name]
        at_router, inside = f"to-{name}", f"of-{name}"
        _run(f"ip link set lo up && ip link add name {at_router} type veth peer name {inside}")
        _run(f"ip addr add {router}/24 dev {at_router} && ip link set {at_router} up")
        _run(f"ip link set {inside} netns /proc/{os.getpid()}/fd/{namespace}")
        with self.inside(name):
            _run(f"ip link set lo up && ip addr add {address}/24 dev {inside}")
            _run(f"ip link set {inside} up && ip route add default via {router}")

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for namespace in (self._router, *self._namespaces.values()):
            os.close(namespace)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Have the calling thread, and what it starts, in a namespace."""
        _enter(self._namespaces[name])
        try:
            yield
        finally:
            _enter(self._router)

    def _rule(self, verb: str, rule: str) -> None:
        """Change what the router does, from any thread."""
        _in_new_thread(self._change, verb, rule)

    def _change(self, verb: str, rule: str) -> None:
        _enter(self._router)
        _run(f"ip rule {verb} {rule} blackhole")

    def silence(self) -> None:
        """Let every packet vanish."""
        for pref, name in ((10, "client"), (11, "server")):
            self._rule("add", f"pref {pref} iif to-{name}")

    def restore(self) -> None:
        """Let packets pass again."""
        for pref, name in ((10, "client"), (11, "server")):
            self._rule("del", f"pref {pref} iif to-{name}")

    def forget(self, port: int) -> None:
        """Let every packet of the client's connection from *port* vanish from now on."""
        self._rule("add", f"pref 20 iif to-client ipproto tcp sport {port}")
        self._rule("add", f"pref 20 iif to-server ipproto tcp dport {port}")


def _in_new_thread(function: Callable[..., T], *arguments: Any) -> T:
    # A namespace belongs to the thread that makes or enters it.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function, *arguments).result()


def _new_namespace() -> int:
    """Make a network namespace and return a file descriptor of it."""
    if ctypes.CDLL(None).unshare(_CLONE_NEWNET):
        raise NoNetworkError("no further network namespace may be made")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None).setns(namespace, _CLONE_NEWNET):
        raise NoNetworkError("the namespace cannot be entered")


TOGETHER = 6
"""Requests for the task "together" that are answered at once: each has a connection of its own."""


class Arrival(NamedTuple):
    """A whole request that arrived."""

    method: str
    task_id: str


class Server:
    """A server that speaks as much of the API as is needed; a block that runs it in a thread.

    Attributes:
        arrived: the requests, in order.
        ports: of the client's connections, in order.
    """

    def __init__(self, network: Network) -> None:
        with network.inside("server"):
            self._listener = socket.create_server((_SERVER, 0))
        self.url = f"http://{_SERVER}:{self._listener.getsockname()[1]}"
        self.arrived: list[Arrival] = []
        self.ports: list[int] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._is_up = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_up.wait()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self._together = asyncio.Barrier(TOGETHER)
        await asyncio.start_server(self._serve, sock=self._listener)
        self._is_up.set()
        await self._stopped.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ports.append(writer.get_extra_info("peername")[1])
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                await reader.readexactly(_length_of(head))
                method, target, _ = head.split(" ", 2)
                task_id = dict(parse_qsl(urlsplit(target).query)).get("taskId", "")
                self.arrived.append(Arrival(method, task_id))
                if target == "/file":
                    writer.write(headers_only(f"Content-Length: {WHOLE}") + bytes(SENT))
                    await asyncio.Event().wait()
                if task_id == "together":
                    await self._together.wait()
                if task_id == "slow":
                    await asyncio.sleep(SLOW)
                writer.write(answer(envelope(data=record(task_id or "created"))))


def _length_of(head: str) -> int:
    lines = (line.lower().partition(":") for line in head.splitlines())
    return next((int(value) for name, _, value in lines if name == "content-length"), 0)
