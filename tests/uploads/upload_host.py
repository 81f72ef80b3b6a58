"""A local upload host that does, with each request, what a test tells it to."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

KEY = "a-key-for-uploads-0123456789"
LINK = "https://uploads.example/vocalsep/song-9f86d081884c7d65.mp3"


def stored(link: Any = LINK, **data: Any) -> bytes:
    """The body of an answer that says that the file was stored."""
    return json.dumps(
        {"success": True, "code": 200, "msg": "stored", "data": {"downloadUrl": link, **data}}
    ).encode()


class Visit:
    """One request: its head, and the connection that its body comes on.

    Attributes:
        head: the first line and the headers.
        body: what was read of the body.
        is_over: whether the connection was broken.
    """

    def __init__(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.head = head
        self.body = b""
        self.is_over = False
        self._reader = reader
        self._writer = writer

    @property
    def line(self) -> str:
        return self.head.decode().partition("\r\n")[0]

    @property
    def headers(self) -> Mapping[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def parts(self) -> dict[str, Message]:
        """The parts of the form, by the names of their fields."""
        kind = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(kind + self.body)
        return {
            str(part.get_param("name", header="content-disposition")): part for part in form.walk()
        }

    def content(self, field: str) -> bytes:
        """What a field of the form holds; the bytes between its blank line and the boundary."""
        boundary = self.headers["content-type"].partition("boundary=")[2].encode()
        for part in self.body.split(b"--" + boundary):
            if f'name="{field}"'.encode() in part:
                return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        raise KeyError(field)

    async def read(self, size: int | None = None) -> None:
        """Read *size* bytes of the body; None for all of it."""
        left = int(self.headers["content-length"]) - len(self.body)
        self.body += await self._reader.readexactly(left if size is None else size)

    async def answer(self, body: bytes, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        self._writer.write("\r\n".join(lines).encode() + body)
        await self._writer.drain()

    def reset(self) -> None:
        """Break the connection."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.is_over = True

    async def until_gone(self) -> None:
        """Read and say nothing until the client has gone."""
        with suppress(ConnectionError):
            while await self._reader.read(1 << 16):
                """What was in the buffers is of no interest."""


Behaviour = Callable[[Visit], Awaitable[None]]


async def accepts(visit: Visit) -> None:
    await visit.read()
    await visit.answer(stored())


def says(body: bytes, status: str = "200 OK", *headers: str) -> Behaviour:
    """Read the whole request, and answer so."""

    async def behave(visit: Visit) -> None:
        await visit.read()
        await visit.answer(body, status, *headers)

    return behave


class UploadHost:
    """Serves each request as the next behaviour says, and accepts it after the last one.

    Attributes:
        url: its address.
        visits: the requests so far.
        behaviours: of the next requests.
        gone: set when a connection has ended.
    """

    def __init__(self) -> None:
        self.url = ""
        self.visits: list[Visit] = []
        self.behaviours: deque[Behaviour] = deque()
        self.gone = asyncio.Event()
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    visit = Visit(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                    self.visits.append(visit)
                    self.arrived.set()
                    behave = self.behaviours.popleft() if self.behaviours else accepts
                    await behave(visit)
                    if visit.is_over:
                        return
        finally:
            writer.close()
            self.gone.set()


@asynccontextmanager
async def upload_host(**options: Any) -> AsyncIterator[UploadHost]:
    """An upload host in the loop of the test."""
    host = UploadHost()
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(host.serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, **options)
    host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield host
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
