"""An API of finished tasks and the host of their files, in one local server.

It runs in the event loop of the test, so that events of the test can order its answers.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

from vocalsep_async import Interval, RetryPolicy, VocalSepClient

KEY = "sk-test-0123456789"
SIGNATURE = "SIGNED-9f86d081"
"""In the query of every link."""
SOON = 60.0
"""Seconds after which a wait counts as hanging."""
QUICK = RetryPolicy(attempts=3, initial=0.001, maximum=0.001)

Hook = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
LinkOf = Callable[[str, str, int], str | None]


class FileRequest(NamedTuple):
    """One request for a file, as received."""

    name: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


def audio(seed: object, size: int = 100_000) -> bytes:
    """Bytes that do not resemble a page, different for each seed."""
    return b"ID3" + random.Random(str(seed)).randbytes(size - 3)


def client_of(url: str, **options: Any) -> VocalSepClient:
    options = {"rate_limit": None, "retry": QUICK, "poll": Interval(0.001)} | options
    return VocalSepClient(KEY, base_url=url, **options)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def bytes_kept_in(folder: Path) -> int:
    """Bytes in the parts in *folder*."""
    return sum(path.stat().st_size for path in folder.glob(".*.part"))


async def eventually(condition: Callable[[], bool]) -> None:
    """Yield to the event loop until *condition* is true; for what no event announces."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0)


async def no_hook(_request: web.Request) -> web.StreamResponse | None:
    return None


class StemHost:
    """A server; an async context manager.

    Attributes:
        files: content of each file, by ``task/stem``.
        tags: ``ETag`` of each file; None for none. By default it is made from the content.
        cuts: offsets at which the answers for a file are cut, one after the other.
        polls: ids of the tasks that were polled, in order.
        seen: the requests for files, in order.
        pending: number of polls that still find a task unfinished.
        failed: tasks that have ended without stems.
        changes: fields that replace those of a task's record.
        api_code: code of the API's envelope.
        hook: called with each request for a file; it may answer it.
        link_of: makes a link from task, stem and the number of the task's poll, from 1.
        keeps_ranges: whether ``Range`` is honoured.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tags: dict[str, str | None] = {}
        self.cuts: dict[str, deque[int]] = {}
        self.polls: list[str] = []
        self.seen: list[FileRequest] = []
        self.pending: dict[str, int] = {}
        self.failed: set[str] = set()
        self.changes: dict[str, dict[str, Any]] = {}
        self.api_code = 200
        self.hook: Hook = no_hook
        self.link_of: LinkOf = self.link
        self.keeps_ranges = True
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/api/v1/vocal-removal/record-info", self._record_info)
        app.router.add_get("/files/{task}/{stem}.{ext}", self._file)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def add(self, task_id: str, *stems: str, size: int = 100_000) -> str:
        """Add a finished task with those stems; returns its id."""
        for stem in stems:
            self.files[f"{task_id}/{stem}"] = audio(f"{task_id}/{stem}", size)
        return task_id

    def cut(self, name: str, *after: int) -> None:
        """Cut the next answers for that file at those offsets."""
        self.cuts.setdefault(name, deque()).extend(after)

    def requests_for(self, name: str) -> list[FileRequest]:
        return [seen for seen in self.seen if seen.name == name]

    def link(self, task_id: str, stem: str, poll: int) -> str:
        return f"{self.url}/files/{task_id}/{stem}.mp3?signature={SIGNATURE}&poll={poll}"

    def stems(self, task_id: str) -> Iterable[str]:
        return [name.partition("/")[2] for name in self.files if name.startswith(f"{task_id}/")]

    async def _record_info(self, request: web.Request) -> web.Response:
        task_id = request.query["taskId"]
        self.polls.append(task_id)
        data = self._record(task_id)
        return web.json_response({"code": self.api_code, "msg": "scripted", "data": data})

    def _record(self, task_id: str) -> dict[str, Any] | None:
        if self.api_code != 200:
            return None
        record: dict[str, Any] = {"taskId": task_id, "successFlag": "PENDING"}
        if self.pending.get(task_id, 0):
            self.pending[task_id] -= 1
            return record
        if task_id in self.failed:
            return record | {"successFlag": "GENERATE_AUDIO_FAILED", "errorMessage": "too quiet"}
        poll = self.polls.count(task_id)
        links = {f"{stem}Url": self.link_of(task_id, stem, poll) for stem in self.stems(task_id)}
        changes = self.changes.get(task_id, {})
        return record | {"successFlag": "SUCCESS", "response": links} | changes

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.match_info['task']}/{request.match_info['stem']}"
        self.seen.append(FileRequest(name, dict(request.query), dict(request.headers)))
        return await self.hook(request) or await self._send(request, name)

    async def _send(self, request: web.Request, name: str) -> web.StreamResponse:
        content, start = self.files[name], 0
        tag = self.tags.get(name, f'"{hash(content):x}"')
        response = web.StreamResponse(headers={"Content-Type": "audio/mpeg"})
        if tag is not None:
            response.headers["ETag"] = tag
        wanted = request.headers.get("Range")
        if wanted and self.keeps_ranges and request.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response.content_length = len(content) - start
        response.headers["Set-Cookie"] = "visitor=1234; Path=/"
        await response.prepare(request)
        end = self._end(name)
        await response.write(content[start:end])
        if end is not None and request.transport is not None:
            request.transport.close()
        return response

    def _end(self, name: str) -> int | None:
        cuts = self.cuts.get(name)
        return cuts.popleft() if cuts else None


class Held:
    """A hook that holds requests for files until `let_go`.

    Attributes:
        under_way: requests that are held now.
        most: largest number of requests held simultaneously.
        left: held requests that the client gave up.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._let_go = asyncio.Event()
        self._changed = asyncio.Event()
        self.under_way = self.most = self.left = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        name = f"{request.match_info['task']}/{request.match_info['stem']}"
        if self._names and name not in self._names:
            return None
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self._changed.set()
        try:
            await self._let_go.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.under_way -= 1
            self._changed.set()
        return None

    def let_go(self) -> None:
        self._let_go.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* is true."""
        async with asyncio.timeout(SOON):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
