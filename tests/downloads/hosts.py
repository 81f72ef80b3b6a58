"""A host of audio files that does what it is told: cuts, lies, stalls, forgets.

It runs in a thread of its own. Each request for a file gets the next of the turns it was given for
that file, the last one again and again. A connection is cut only when the reader has said that all
that was sent is read (`Host.has_read`): what lies unread in a connection is lost with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from attrs import frozen
from yarl import URL

from vocalsep_async import RetryPolicy, SeparationTask, Stems, TaskStatus
from vocalsep_async._downloads.links import StemLinks
from vocalsep_async._downloads.progress import ProgressReporter
from vocalsep_async._downloads.source import RemoteFile
from vocalsep_async._transport.files import FileTransport

PATIENCE = 60.0
"""Seconds after which something that should have happened is taken to hang."""
TASK_ID = "task-1"
AUDIO = bytes(range(256)) * 1200
OTHER = AUDIO[::-1]
QUICK = RetryPolicy(attempts=3, initial=0.001, maximum=0.001)


@frozen
class Turn:
    """One answer for a file.

    Attributes:
        data: the whole file.
        tag: its ``ETag``.
        changed: its ``Last-Modified``.
        kind: its ``Content-Type``.
        status: of the answer; other than 200, the file is not sent by parts.
        takes_ranges: whether a part that is asked for is sent as one.
        takes_conditions: whether the whole file is sent where ``If-Range`` names another one.
        sized: whether the length is told.
        is_chunked: whether the end can be told without the length.
        length: the length that is told, in place of the right one.
        content_range: what is said of a part, in place of what is right.
        cut: after so many bytes the connection ends.
        hold: after so many bytes nothing comes until `Host.let_go`.
        step: so many bytes come at a time, the next ones when these have been read.
        together: the answer begins when so many requests have come to the host.
        headers: further header lines.
    """

    data: bytes = AUDIO
    tag: str | None = '"one"'
    changed: str | None = None
    kind: str | None = "audio/mpeg"
    status: int = 200
    takes_ranges: bool = True
    takes_conditions: bool = True
    sized: bool = True
    is_chunked: bool = False
    length: int | None = None
    content_range: str | None = None
    cut: int | None = None
    hold: int | None = None
    step: int | None = None
    together: int = 0
    headers: tuple[str, ...] = ()


class Asked(NamedTuple):
    """One request as it came."""

    name: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    @property
    def range(self) -> str | None:
        """The part that is asked for."""
        return self.headers.get("range")


class Host:
    """Serves files, and the record of the task they belong to, while its ``with`` block is open.

    Args:
        turns: the answers for every file that has none of its own.
        named: the answers for the files of those names.

    Attributes:
        asked: the requests for files, in order.
        held: how many answers have come to where they wait for `let_go`.
    """

    def __init__(self, *turns: Turn, **named: list[Turn]) -> None:
        self.asked: list[Asked] = []
        self.held = 0
        self.polls = 0
        self._turns = list(turns)
        self._named = named
        self._met: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._let_go = False
        self._port = 0
        self._loop: asyncio.AbstractEventLoop
        self._wake: asyncio.Event
        self._stopping: asyncio.Event
        self._changed = threading.Condition()
        self._handlers: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def link(self, name: str, query: str = "Signature=hush") -> str:
        return f"{self.url}/{name}.mp3?{query}"

    def task(self, *names: str, **changes: Any) -> SeparationTask:
        """A finished task with those stems, here."""
        stems = Stems(**{name: self.link(name) for name in names})
        fields: dict[str, Any] = {"status": TaskStatus.SUCCESS, "stems": stems}
        return SeparationTask(task_id=TASK_ID, **(fields | changes))

    def has_read(self, name: str, position: int) -> None:
        """Say that the file was read up to there."""
        self._soon(lambda: self._read.update({name: position}))

    def let_go(self) -> None:
        """Go on with what is held."""

        def go() -> None:
            self._let_go = True

        self._soon(go)

    def wait_until(self, done: Callable[[Host], bool]) -> None:
        """Block until the host has met what is waited for."""
        with self._changed:
            happened = self._changed.wait_for(lambda: done(self), PATIENCE)
        assert happened, "what was waited for never happened"

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_until(lambda host: host._port > 0)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the file host did not stop"

    def _soon(self, change: Callable[[], None]) -> None:
        def run() -> None:
            change()
            self._touch()

        self._loop.call_soon_threadsafe(run)

    def _touch(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()
        with self._changed:
            self._changed.notify_all()

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            await self._wake.wait()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._wake, self._stopping = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_server(self._welcome, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._touch()
        await self._stopping.wait()
        # A connection that is being accepted when its server closes is lost by asyncio, unclosed:
        # it gets its handler first, and ends by it.
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
        for handler in list(self._handlers):
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)
        for _ in range(3):
            await asyncio.sleep(0)

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.create_task(self._converse(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._answer((await reader.readuntil(b"\r\n\r\n")).decode(), writer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        finally:
            transport.abort()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        lines = head.split("\r\n")
        target = urlsplit(lines[0].split(" ")[1])
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])
        }
        if target.path.startswith("/api/"):
            self.polls += 1
            writer.write(self._record(parse_qs(target.query)["taskId"][0]))
            return
        name = Path(target.path).stem
        turn = self._next_turn(name)
        asked = Asked(name, parse_qs(target.query), headers)
        self._read[name] = -1
        self.asked.append(asked)
        self._touch()
        await self._until(lambda: len(self.asked) >= turn.together)
        begin, told = _told(turn, asked)
        writer.write(told)
        await self._send(turn, begin, name, writer)

    def _next_turn(self, name: str) -> Turn:
        turns = self._named.get(name, self._turns)
        nth = self._met[name] = self._met.get(name, -1) + 1
        return turns[min(nth, len(turns) - 1)]

    async def _send(self, turn: Turn, begin: int, name: str, writer: asyncio.StreamWriter) -> None:
        end = len(turn.data) if turn.cut is None else max(begin, turn.cut)
        position = begin
        for stop in _stops(turn, begin, end):
            if stop > position:
                writer.write(_chunk(turn, turn.data[position:stop]))
                await writer.drain()
                position = stop
            if position == turn.hold:
                self.held += 1
                self._touch()
                await self._until(lambda: self._let_go)
            if turn.step is not None or turn.cut is not None:
                await self._until(
                    lambda: position == begin or self._read[name] >= position  # noqa: B023
                )
        if turn.is_chunked and turn.cut is None:
            writer.write(b"0\r\n\r\n")

    def _record(self, task_id: str) -> bytes:
        response = {f"{name}Url": self.link(name, "Signature=new") for name in self._named}
        record = {
            "taskId": task_id,
            "successFlag": "SUCCESS",
            "createTime": 1_753_000_000_000,
            "response": response,
        }
        body = json.dumps({"code": 200, "msg": "success", "data": record}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
            len(body),
            body,
        )


def _told(turn: Turn, asked: Asked) -> tuple[int, bytes]:
    """Where the body begins, and the head."""
    begin, status = 0, turn.status
    condition = asked.headers.get("if-range")
    is_other = turn.takes_conditions and condition not in (None, turn.tag, turn.changed)
    if asked.range is not None and turn.takes_ranges and status == 200 and not is_other:
        begin = int(asked.range.removeprefix("bytes=").partition("-")[0])
        status = 206 if begin < len(turn.data) else 416
    lines = [f"HTTP/1.1 {status} Whatever", "Connection: close", *turn.headers]
    if status == 206:
        whole = f"bytes {begin}-{len(turn.data) - 1}/{len(turn.data)}"
        said = whole if turn.content_range is None else turn.content_range
        lines += [f"Content-Range: {said}"] if said else []
    if turn.is_chunked:
        lines.append("Transfer-Encoding: chunked")
    elif turn.sized:
        length = max(0, len(turn.data) - begin) if turn.length is None else turn.length
        lines.append(f"Content-Length: {length}")
    for name, value in (
        ("ETag", turn.tag),
        ("Last-Modified", turn.changed),
        ("Content-Type", turn.kind),
    ):
        lines += [] if value is None else [f"{name}: {value}"]
    return begin, "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def _stops(turn: Turn, begin: int, end: int) -> list[int]:
    stops = {end}
    if turn.hold is not None and begin <= turn.hold <= end:
        stops.add(turn.hold)
    if turn.step is not None:
        stops.update(range(begin + turn.step, end, turn.step))
    return sorted(stops)


def _chunk(turn: Turn, data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if turn.is_chunked else data


# What reads from it


class Told(ProgressReporter):
    """Hears of every piece, and tells the host, so that it can cut there."""

    def __init__(self, host: Host, name: str) -> None:
        super().__init__(None, task_id=TASK_ID, stem=name, path=Path(name))
        self.heard: list[tuple[int, int | None]] = []
        self._host = host
        self._name = name

    def tell(self, done: int, total: int | None, now: float, *, at_end: bool = False) -> None:
        super().tell(done, total, now, at_end=at_end)
        self.heard.append((done, total))
        self._host.has_read(self._name, done)


def no_look() -> Any:
    raise AssertionError("nobody should look at the task")


def remote_of(
    host: Host,
    files: FileTransport,
    name: str = "vocal",
    *,
    links: StemLinks | None = None,
    retry: RetryPolicy = QUICK,
    max_bytes: int = 1 << 30,
) -> RemoteFile:
    return RemoteFile(name, links or StemLinks(host.task(name), no_look), files, retry, max_bytes)


def files_of(host: Host) -> FileTransport:
    return FileTransport(URL(host.url), user_agent="tests", read_timeout=PATIENCE)


@contextmanager
def left_open(folder: Path) -> Iterator[list[str]]:
    """At the end, the files below *folder* that this process has open."""
    found: list[str] = []
    yield found
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            path = str(descriptor.readlink())
            if path.startswith(str(folder)):
                found.append(path)


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def hidden_below(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob(".*"))


# Programs

PROGRAM = Path(__file__).with_name("saving_program.py")


def saving(host: Host, folder: Path, **options: Any) -> list[str]:
    """The command that saves the host's stems below *folder*."""
    told = {"url": host.url, "directory": str(folder), **options}
    # Without its caches of bytecode it writes nothing but what it saves.
    return [sys.executable, "-B", str(PROGRAM), json.dumps(told)]


@cache
def why_no_strace() -> str | None:
    """What keeps strace from changing what a program meets; None if nothing does."""
    if shutil.which("strace") is None:
        return "needs strace"
    command = [*traced("-e", "trace=getppid", "-e", "inject=getppid:error=EIO"), sys.executable]
    done = subprocess.run([*command, "-SEc", "pass"], capture_output=True, check=False)
    return None if done.returncode == 0 else "strace may not trace here"


def traced(*rules: str, log: str = os.devnull) -> list[str]:
    """The beginning of a command that runs under strace."""
    return ["strace", "-f", "-qq", "-o", log, *rules]
