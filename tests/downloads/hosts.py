"""A scripted host of audio files, which can cut, lie, stall and forget.

It runs in a thread of its own. Each request for a file gets the next answer of that file's list,
and the last one from then on. A connection is cut only after the reader has reported everything
that was sent as read (`Host.mark_read`): bytes that are unread when a connection breaks are lost.
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
from vocalsep_async._downloads.patience import Patience
from vocalsep_async._downloads.source import RemoteFile, StemLinks
from vocalsep_async._downloads.transfer import ProgressReporter
from vocalsep_async._transport.files import FileTransport

PATIENCE = 60.0
"""Seconds after which a wait counts as hanging."""
TASK_ID = "task-1"
AUDIO = bytes(range(256)) * 1200
OTHER = AUDIO[::-1]
QUICK = RetryPolicy(attempts=3, initial=0.001, maximum=0.001)


@frozen
class Answer:
    """One answer for a file.

    Attributes:
        data: the whole file.
        tag: its ``ETag``.
        changed: its ``Last-Modified``.
        kind: its ``Content-Type``.
        status: HTTP status; ranges are ignored unless it is 200.
        takes_ranges: whether ``Range`` is honoured.
        takes_conditions: whether ``If-Range`` is honoured.
        sized: whether ``Content-Length`` is sent.
        is_chunked: whether the chunked transfer coding is used.
        length: a wrong ``Content-Length``; None for the right one.
        content_range: a wrong ``Content-Range``; None for the right one, empty for none.
        cut: offset at which the connection is closed.
        hold: offset at which the answer waits for `Host.release`.
        step: bytes sent at a time; the next ones are sent when these have been read.
        together: requests that the host must have received before the answer begins.
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


class Request(NamedTuple):
    """One request for a file, as received."""

    name: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    @property
    def range(self) -> str | None:
        """The ``Range`` header; None without one."""
        return self.headers.get("range")


class Host:
    """Serves files, and the record of their task, while its ``with`` block is open.

    Args:
        answers: the answers for every file without a list of its own.
        named: lists of answers by file name.

    Attributes:
        requests: the requests for files, in order.
        held: answers that have reached the offset where they wait for `release`.
        polls: requests for the record of the task.
    """

    def __init__(self, *answers: Answer, **named: list[Answer]) -> None:
        self.requests: list[Request] = []
        self.held = 0
        self.polls = 0
        self._turns = list(answers)
        self._named = named
        self._met: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._is_released = False
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
        """A finished task with stems on this host."""
        links: dict[str, Any] = {name: self.link(name) for name in names}
        stems = Stems(**links)
        fields: dict[str, Any] = {"status": TaskStatus.SUCCESS, "stems": stems}
        return SeparationTask(task_id=TASK_ID, **(fields | changes))

    def mark_read(self, name: str, position: int) -> None:
        """Report that the file has been read up to *position*."""
        self._call_in_loop(lambda: self._read.update({name: position}))

    def release(self) -> None:
        """Continue all answers that are held."""

        def release() -> None:
            self._is_released = True

        self._call_in_loop(release)

    def wait_until(self, done: Callable[[Host], bool]) -> None:
        """Block until *done* is true of the host."""
        with self._changed:
            happened = self._changed.wait_for(lambda: done(self), PATIENCE)
        assert happened, "the host never reached the expected state"

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

    def _call_in_loop(self, change: Callable[[], None]) -> None:
        def run() -> None:
            change()
            self._notify()

        self._loop.call_soon_threadsafe(run)

    def _notify(self) -> None:
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
        server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._notify()
        await self._stopping.wait()
        # asyncio loses a connection, unclosed, that is being accepted while its server closes: no
        # more are accepted, and those that were get their handlers first.
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

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.create_task(self._serve(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
        answer = self._next_answer(name)
        request = Request(name, parse_qs(target.query), headers)
        self._read[name] = -1
        self.requests.append(request)
        self._notify()
        await self._until(lambda: len(self.requests) >= answer.together)
        begin, response = _response_head(answer, request)
        writer.write(response)
        await self._send(answer, begin, name, writer)

    def _next_answer(self, name: str) -> Answer:
        answers = self._named.get(name, self._turns)
        nth = self._met[name] = self._met.get(name, -1) + 1
        return answers[min(nth, len(answers) - 1)]

    async def _send(
        self, answer: Answer, begin: int, name: str, writer: asyncio.StreamWriter
    ) -> None:
        end = len(answer.data) if answer.cut is None else max(begin, answer.cut)
        position = begin
        for stop in _stops(answer, begin, end):
            if stop > position:
                writer.write(_chunk(answer, answer.data[position:stop]))
                await writer.drain()
                position = stop
            if position == answer.hold:
                self.held += 1
                self._notify()
                await self._until(lambda: self._is_released)
            if answer.step is not None or answer.cut is not None:
                await self._until(
                    lambda: position == begin or self._read[name] >= position  # noqa: B023
                )
        if answer.is_chunked and answer.cut is None:
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


def _response_head(answer: Answer, request: Request) -> tuple[int, bytes]:
    """Offset at which the body begins, and the head of the response."""
    begin, status = 0, answer.status
    condition = request.headers.get("if-range")
    is_other = answer.takes_conditions and condition not in (None, answer.tag, answer.changed)
    if request.range is not None and answer.takes_ranges and status == 200 and not is_other:
        begin = int(request.range.removeprefix("bytes=").partition("-")[0])
        status = 206 if begin < len(answer.data) else 416
    lines = [f"HTTP/1.1 {status} Status", "Connection: close", *answer.headers]
    if status == 206:
        whole = f"bytes {begin}-{len(answer.data) - 1}/{len(answer.data)}"
        said = whole if answer.content_range is None else answer.content_range
        lines += [f"Content-Range: {said}"] if said else []
    if answer.is_chunked:
        lines.append("Transfer-Encoding: chunked")
    elif answer.sized:
        length = max(0, len(answer.data) - begin) if answer.length is None else answer.length
        lines.append(f"Content-Length: {length}")
    for name, value in (
        ("ETag", answer.tag),
        ("Last-Modified", answer.changed),
        ("Content-Type", answer.kind),
    ):
        lines += [] if value is None else [f"{name}: {value}"]
    return begin, "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def _stops(answer: Answer, begin: int, end: int) -> list[int]:
    stops = {end}
    if answer.hold is not None and begin <= answer.hold <= end:
        stops.add(answer.hold)
    if answer.step is not None:
        stops.update(range(begin + answer.step, end, answer.step))
    return sorted(stops)


def _chunk(answer: Answer, data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if answer.is_chunked else data


# Readers


class ReadingReporter(ProgressReporter):
    """Records every report, and marks the bytes as read at the host."""

    def __init__(self, host: Host, name: str) -> None:
        super().__init__(None, task_id=TASK_ID, stem=name, path=Path(name))
        self.reports: list[tuple[int, int | None]] = []
        self._host = host
        self._name = name

    def report(self, done: int, total: int | None, now: float, *, at_end: bool = False) -> None:
        super().report(done, total, now, at_end=at_end)
        self.reports.append((done, total))
        self._host.mark_read(self._name, done)


def never_poll() -> Any:
    raise AssertionError("the task must not be polled")


def remote_of(
    host: Host,
    files: FileTransport,
    name: str = "vocal",
    *,
    links: StemLinks | None = None,
    retry: RetryPolicy = QUICK,
    max_bytes: int = 1 << 30,
    patience: Patience = Patience(seconds=0),  # noqa: B008 - a frozen value; time is real here
) -> RemoteFile:
    links = links or StemLinks(host.task(name), never_poll)
    return RemoteFile(name, links, files, retry, max_bytes, patience=patience)


def files_of(host: Host) -> FileTransport:
    return FileTransport(URL(host.url), user_agent="tests", read_timeout=PATIENCE)


@contextmanager
def left_open(folder: Path) -> Iterator[list[str]]:
    """Yields a list that is filled at the end: the files below *folder* that are still open."""
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
    """The command of a program that saves the host's stems below *folder*."""
    arguments = {"url": host.url, "directory": str(folder), **options}
    # -B: caches of bytecode would be further writes to disk.
    return [sys.executable, "-B", str(PROGRAM), json.dumps(arguments)]


@cache
def why_no_strace() -> str | None:
    """Why strace cannot inject faults here; None if it can."""
    if shutil.which("strace") is None:
        return "needs strace"
    command = [*traced("-e", "trace=getppid", "-e", "inject=getppid:error=EIO"), sys.executable]
    done = subprocess.run([*command, "-SEc", "pass"], capture_output=True, check=False)
    return None if done.returncode == 0 else "strace may not trace here"


def traced(*rules: str, log: str = os.devnull) -> list[str]:
    """The prefix of a command that runs under strace."""
    return ["strace", "-f", "-qq", "-o", log, *rules]
