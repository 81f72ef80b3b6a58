"""The API, its upload host and its stems in one local server, which counts what it is asked for.

It runs in the event loop of the test, so that it outlives the programs that use it, and knows the
songs by their names. A test can have it do something when a request reaches a certain moment: end
the program that sent it, break the connection, or give another answer.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
import math
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import payloads
from attrs import frozen
from uploads.upload_host import Visit

UPLOAD = "POST /api/file-stream-upload"
CREATION = "POST /api/v1/vocal-removal/generate"
POLL = "GET /api/v1/vocal-removal/record-info"
FILE = "GET /files/"
STEMS = ("vocal", "instrumental")
_FILLER = bytes(range(256)) * 60


class Moment(enum.Enum):
    """How far the host is with a request."""

    BEGUN = "its head has arrived"
    READ = "it has arrived"
    CARRIED_OUT = "it was carried out"
    HALF_ANSWERED = "half of the answer was sent"
    ANSWERED = "the answer was sent"


Act = Callable[[Visit], Awaitable[None]]
"""What happens at a moment; the connection goes no further after an `EndedError`."""


class EndedError(ConnectionError):
    """The host is done with a connection."""


@frozen
class Event:
    """Something that happens once or more, when a request reaches a moment.

    Attributes:
        is_due: whether it is for this request, of which the host asks once.
        moment: when.
        act: what.
    """

    is_due: Callable[[Visit], bool]
    moment: Moment
    act: Act


def the(number: int) -> Callable[[Visit], bool]:
    """For the so manieth request from now on, from 1."""
    count = itertools.count(1)
    return lambda _: next(count) == number


def every(beginning: str) -> Callable[[Visit], bool]:
    """For all requests that begin so."""
    return lambda visit: visit.line.startswith(beginning)


def kills(pid: Callable[[], int]) -> Act:
    """The end of the program, and with it of the request."""

    async def act(_visit: Visit) -> None:
        _send(pid(), signal.SIGKILL)
        raise EndedError

    return act


def stops(pid: Callable[[], int], is_stopping: Callable[[], bool]) -> Act:
    """SIGTERM to the program; the request goes on once it is stopping."""

    async def act(_visit: Visit) -> None:
        is_there = _send(pid(), signal.SIGTERM)
        while is_there and not is_stopping():
            await asyncio.sleep(0.001)
            is_there = _send(pid(), 0)

    return act


def _send(pid: int, number: int) -> bool:
    """Send a signal; whether the program is still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def answers(body: bytes, status: str = "200 OK", *headers: str) -> Act:
    """Another answer than its own."""

    async def act(visit: Visit) -> None:
        await visit.answer(body, status, *headers, "Connection: close")
        raise EndedError

    return act


async def resets(visit: Visit) -> None:
    """Break the connection."""
    visit.reset()
    raise EndedError


async def hangs_up(_visit: Visit) -> None:
    """Close the connection without an answer."""
    raise EndedError


async def says_nothing(visit: Visit) -> None:
    """Keep the connection without an answer, until the client gives up."""
    await visit.until_gone()
    raise EndedError


def envelope(code: int = 200, msg: str = "success", data: Any = None) -> bytes:
    return json.dumps({"code": code, "msg": msg, "data": data}).encode()


def audio_of(song: str, stem: str) -> bytes:
    """The stem of a song."""
    return f"ID3 {song} {stem} ".encode() + _FILLER


class SongHost:
    """Separates the songs that it knows.

    Attributes:
        songs: the files that may be uploaded, by name. Other songs are named by their URL or ids.
        requests: the first lines of all requests, in order.
        posted: the creations that arrived, by song; also those that created nothing.
        created: those that were carried out, by song.
        uploaded: the uploads, by song.
        fetched: the stems that were sent to their end.
        polls: by task.
        credits: of the account; a creation costs one.
        ending: what differs in the records of tasks that have ended.
    """

    def __init__(self, songs: dict[str, bytes]) -> None:
        self.url = ""
        self.songs = songs
        self.requests: list[str] = []
        self.posted: Counter[str] = Counter()
        self.created: Counter[str] = Counter()
        self.uploaded: Counter[str] = Counter()
        self.fetched: Counter[tuple[str, str]] = Counter()
        self.polls: Counter[str] = Counter()
        self.credits = math.inf
        self.ending: Callable[[str], Mapping[str, Any]] = lambda _: {}
        self._links: dict[str, str] = {}
        self._songs_of: dict[str, str] = {}
        self._events: list[Event] = []

    def at(self, is_due: Callable[[Visit], bool], moment: Moment, act: Act) -> None:
        """Have something happen to requests from now on."""
        self._events.append(Event(is_due, moment, act))

    def be_quiet(self) -> None:
        """Have nothing more happen."""
        self._events.clear()

    def song_of(self, task_id: str) -> str:
        return self._songs_of[task_id]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    await self._converse(Visit(head, reader, writer))
        finally:
            writer.transport.abort()

    async def _converse(self, visit: Visit) -> None:
        self.requests.append(visit.line)
        due = [event for event in self._events if event.is_due(visit)]
        try:
            await self._reach(Moment.BEGUN, due, visit)
        finally:
            # Also after the end of the program: it may have sent all of it.
            if "content-length" in visit.headers:
                await visit.read()
            self._count(visit)
        await self._reach(Moment.READ, due, visit)
        body = self._carried_out(visit)
        await self._reach(Moment.CARRIED_OUT, due, visit)
        await self._send(visit, body, due)

    async def _send(self, visit: Visit, body: bytes, due: list[Event]) -> None:
        writer = visit._writer
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body))
        writer.write(b"Content-Type: %b\r\n\r\n" % _kind(visit.line) + body[: len(body) // 2])
        await writer.drain()
        await self._reach(Moment.HALF_ANSWERED, due, visit)
        writer.write(body[len(body) // 2 :])
        await writer.drain()
        if visit.line.startswith(FILE):
            task_id, stem = _file_in(visit.line)
            self.fetched[self.song_of(task_id), stem] += 1
        await self._reach(Moment.ANSWERED, due, visit)

    async def _reach(self, moment: Moment, due: list[Event], visit: Visit) -> None:
        for event in due:
            if event.moment is moment:
                await event.act(visit)

    def _count(self, visit: Visit) -> None:
        if visit.line.startswith(CREATION):
            self.posted[self._song_in(visit.body)] += 1

    def _carried_out(self, visit: Visit) -> bytes:
        line = visit.line
        if line.startswith(UPLOAD):
            return self._upload(visit.content("file"))
        if line.startswith(CREATION):
            return self._create(self._song_in(visit.body))
        if line.startswith(POLL):
            return self._poll(parse_qs(urlsplit(line.split()[1]).query)["taskId"][0])
        task_id, stem = _file_in(line)
        return audio_of(self.song_of(task_id), stem)

    def _upload(self, content: bytes) -> bytes:
        song = next((name for name, data in self.songs.items() if data == content), "?")
        self.uploaded[song] += 1
        link = f"{self.url}/uploads/{len(self._links)}.mp3"
        self._links[link] = song
        data = {"success": True, "code": 200, "data": {"downloadUrl": link}}
        return json.dumps(data).encode()

    def _song_in(self, body: bytes) -> str:
        said = json.loads(body)
        if "audioUrl" in said:
            return self._links.get(said["audioUrl"], str(said["audioUrl"]))
        return f"{said['taskId']}/{said['audioId']}"

    def _create(self, song: str) -> bytes:
        if self.credits < 1:
            return envelope(429, "The account has too few credits.")
        self.credits -= 1
        self.created[song] += 1
        task_id = f"task-{len(self._songs_of)}"
        self._songs_of[task_id] = song
        return envelope(data={"taskId": task_id})

    def _poll(self, task_id: str) -> bytes:
        self.polls[task_id] += 1
        if self.polls[task_id] == 1:
            return envelope(data=payloads.pending(taskId=task_id))
        links = {f"{stem}Url": f"{self.url}/files/{task_id}/{stem}.mp3" for stem in STEMS}
        # Of now: links that may have expired are renewed before they are used.
        now = int(time.time() * 1000)
        done = payloads.vocals_done(
            taskId=task_id, response=links, createTime=now - 1000, completeTime=now
        )
        return envelope(data={**done, **self.ending(self.song_of(task_id))})


def _file_in(line: str) -> tuple[str, str]:
    _, _, task_id, name = urlsplit(line.split()[1]).path.split("/")
    return task_id, name.removesuffix(".mp3")


def _kind(line: str) -> bytes:
    return b"audio/mpeg" if line.startswith(FILE) else b"application/json"


@asynccontextmanager
async def song_host(songs: dict[str, bytes]) -> AsyncIterator[SongHost]:
    """A host of songs in the loop of the test."""
    host = SongHost(songs)
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(host.serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield host
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
