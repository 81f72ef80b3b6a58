"""A provider in virtual time that replaces the transport: no sockets, no server.

Answers are scripted for each task; throttling comes from a limiter that counts at the moment a
request arrives, half a round trip after it was sent.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from inspect import iscoroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

from vocalsep_async import Limiter, RateLimit, VocalSepClient
from vocalsep_async._transport.api import Reply
from vocalsep_async.errors import ClientClosedError
from vocalsep_async.providers import Request

Answer = Reply | Exception | Callable[[], Reply]

_WALL_CLOCK = 1_800_000_000
"""What the provider's clock says when the event loop's says 0."""


def envelope(code: int, msg: str = "success", data: Any = None, **headers: str) -> Reply:
    body = {"code": code, "msg": msg, "data": data}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(200, names, json.dumps(body).encode())


def bare(status: int, body: bytes = b"", **headers: str) -> Reply:
    """An answer without an envelope, as a gateway gives it."""
    return Reply(status, {name.replace("_", "-"): said for name, said in headers.items()}, body)


def record(task_id: str, status: str = "PENDING", **fields: Any) -> Reply:
    return envelope(200, data={"taskId": task_id, "successFlag": status, **fields})


def finished(task_id: str, seconds: float = 60.0) -> Reply:
    stems = {
        "vocalUrl": "https://cdn.example/v.mp3",
        "instrumentalUrl": "https://cdn.example/i.mp3",
    }
    return record(
        task_id,
        "SUCCESS",
        createTime=1_700_000_000_000,
        completeTime=1_700_000_000_000 + int(seconds * 1000),
        response=stems,
    )


def dated(answer: Reply, moment: float) -> Reply:
    """The answer, given at *moment* by the provider's clock."""
    return answer._replace(headers={**answer.headers, "Date": formatdate(moment, usegmt=True)})


class FakeProvider:
    """Stands in for `Transport`.

    Tasks that are added take their time; scripted answers come first, one for each poll.
    With `is_dated`, answers hold the times of the tasks that were added, and their own.
    """

    def __init__(self) -> None:
        self.round_trip = 0.1
        self.limit: tuple[int, float] | None = None
        self.throttling = envelope(430, "Your call frequency is too high")
        self.polls: list[tuple[float, str]] = []
        self.sent: list[str] = []
        self.paths: list[str] = []
        self.throttled = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.is_dated = False
        self.every_answer: Callable[[str], Answer] | None = None
        self.posted: list[Mapping[str, Any]] = []
        self.host = "provider.example"
        self.needs_closing = False
        self.distrusted = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._added_at: dict[str, float] = {}
        self._done_at: dict[str, float] = {}
        self._scripts: dict[str, deque[Answer]] = {}
        self._closed = False

    def add(self, task_id: str, duration: float) -> None:
        self._added_at[task_id] = anyio.current_time()
        self._done_at[task_id] = anyio.current_time() + duration

    def script(self, task_id: str, *answers: Answer) -> None:
        self._scripts.setdefault(task_id, deque()).extend(answers)

    def ends_all(self) -> None:
        """From now on every task is finished."""
        self._scripts.clear()
        self.every_answer = finished

    def times(self, task_id: str) -> list[float]:
        return [at for at, polled in self.polls if polled == task_id]

    def bind(self) -> None:
        if self._closed:
            raise ClientClosedError("closed")

    def abandon(self) -> None:
        """Its loop was closed: nothing of it is left."""

    def distrust_connections(self) -> None:
        self.distrusted += 1

    async def aclose(self) -> None:
        self._closed = True

    def reopen(self) -> None:
        """Serve another client after one was closed."""
        self._closed = False

    async def exchange(self, request: Request) -> Reply:
        self.bind()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._exchange(request)
        finally:
            self.in_flight -= 1

    async def _exchange(self, request: Request) -> Reply:
        task_id = request.query.get("taskId", request.path)
        self.sent.append(task_id)
        self.paths.append(request.path)
        await anyio.sleep(self.round_trip / 2)
        now = anyio.current_time()
        self.polls.append((now, task_id))
        if request.json is not None:
            self.posted.append(request.json)
        answer = self._answer(task_id, now)
        await anyio.sleep(self.round_trip / 2)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reply) else answer()

    def _answer(self, task_id: str, now: float) -> Answer:
        if self.limit is not None and self._over(*self.limit, now):
            self.throttled += 1
            self.polls.pop()
            return self.throttling
        if self._scripts.get(task_id):
            return self._scripts[task_id].popleft()
        if self.every_answer is not None:
            return self.every_answer(task_id)
        done_at = self._done_at.get(task_id, 0.0)
        if self.is_dated:
            return dated(self._record_of(task_id, now, done_at), _WALL_CLOCK + now)
        return record(task_id) if now < done_at else finished(task_id)

    def _record_of(self, task_id: str, now: float, done_at: float) -> Reply:
        times: dict[str, Any] = {"createTime": _milliseconds(self._added_at[task_id])}
        if now < done_at:
            return record(task_id, **times)
        stems = {"vocalUrl": "https://cdn.example/v.mp3"}
        times["completeTime"] = _milliseconds(done_at)
        return record(task_id, "SUCCESS", response=stems, **times)

    def _over(self, most: int, period: float, now: float) -> bool:
        return sum(1 for at, _ in self.polls if at > now - period) > most


def _milliseconds(moment: float) -> int:
    return int((_WALL_CLOCK + moment) * 1000)


@contextmanager
def provider_in_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """Have clients that are made meanwhile talk to a `FakeProvider`."""
    provider = FakeProvider()
    with monkeypatch.context() as patch:
        patch.setattr("vocalsep_async._engine.Transport", lambda *_, **__: provider)
        yield provider


make_limiter: Callable[[RateLimit | None], Limiter] | None = None
"""Makes the limiter of every client; None for the client's own."""


def make_client(**options: Any) -> VocalSepClient:
    if make_limiter is not None and "limiter" not in options:
        options["limiter"] = make_limiter(options.pop("rate_limit", RateLimit()))
    return VocalSepClient("a-key-for-tests", **options)


def is_idle() -> bool:
    """Whether no task of the package runs in the loop."""
    coroutines = (task.get_coro() for task in asyncio.all_tasks())
    files = [coroutine.cr_code.co_filename for coroutine in coroutines if iscoroutine(coroutine)]
    return bool(files) and not any("vocalsep_async" in Path(file).parts for file in files)
