"""The pipe from file host to disk: one task reads while another one writes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import anyio
import pytest
from anyio.to_thread import run_sync
from downloads.hosts import (
    AUDIO,
    OTHER,
    PATIENCE,
    QUICK,
    TASK_ID,
    Answer,
    Host,
    ReadingReporter,
    files_of,
    hidden_below,
    left_open,
    names_in,
    remote_of,
)

from vocalsep_async import TransportError, VocalSepClient
from vocalsep_async._downloads.folder import Directory
from vocalsep_async._downloads.partfile import PartFile, SavedFile
from vocalsep_async._downloads.source import Chunk, FileIdentity, RemoteFile, UnusableFileError
from vocalsep_async._downloads.transfer import (
    _BUFFER,
    CallbackError,
    ProgressReporter,
    fill,
    opened_part,
)
from vocalsep_async.models import DownloadProgress

pytestmark = pytest.mark.anyio

NAME = "vocal.mp3"
OWNER = f"{TASK_ID}/vocal"
CUT = 100_000
SIZE = len(AUDIO)


class BrokenError(Exception):
    """Raised by a callback."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "saved" / NAME


@asynccontextmanager
async def remote_at(host: Host, **options: Any) -> AsyncIterator[RemoteFile]:
    files = files_of(host)
    try:
        async with remote_of(host, files, **options) as remote:
            yield remote
    finally:
        await files.aclose()


async def saved_from(
    host: Host,
    target: Path,
    reporter: ProgressReporter | None = None,
    *,
    from_start: bool = False,
    **options: Any,
) -> SavedFile:
    async with opened_part(Directory(target.parent), target, OWNER, from_start=from_start) as part:
        async with remote_at(host, **options) as remote:
            await fill(remote, part, reporter or ReadingReporter(host, "vocal"))
        return await run_sync(part.finish)


def ranges(host: Host) -> list[str | None]:
    return [request.range for request in host.requests]


def place(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    target.write_bytes(content)


def content_of(target: Path) -> bytes:
    return target.read_bytes()


def changed_at(target: Path) -> int:
    return target.stat().st_mtime_ns


# Complete files


async def test_a_file_is_saved_unchanged(target: Path) -> None:
    with Host(Answer()) as host:
        reporter = ReadingReporter(host, "vocal")
        saved = await saved_from(host, target, reporter)
    assert content_of(target) == AUDIO
    assert (saved.size, saved.sha256) == (SIZE, hashlib.sha256(AUDIO).hexdigest())
    assert saved.mtime_ns == changed_at(target)
    assert names_in(target.parent) == {NAME}
    assert reporter.reports == sorted(reporter.reports)
    assert reporter.reports[-1] == (SIZE, SIZE)


async def test_a_cut_leaves_no_trace_in_the_file(target: Path) -> None:
    with Host(Answer(cut=CUT), Answer()) as host:
        saved = await saved_from(host, target)
    assert ranges(host) == [None, f"bytes={CUT}-"]
    assert content_of(target) == AUDIO
    assert saved.sha256 == hashlib.sha256(AUDIO).hexdigest()


# Failures


async def test_bytes_from_before_the_last_cut_are_resumed_by_the_next_call(target: Path) -> None:
    with Host(*(Answer(cut=CUT) for _ in range(QUICK.attempts)), Answer()) as host:
        with pytest.raises(TransportError):
            await saved_from(host, target)
        assert names_in(target.parent) == {f".{NAME}.part", f".{NAME}.part.json"}
        assert target.with_name(f".{NAME}.part").read_bytes() == AUDIO[:CUT]
        await saved_from(host, target)
    assert ranges(host) == [None, *[f"bytes={CUT}-"] * 3]
    assert content_of(target) == AUDIO
    assert names_in(target.parent) == {NAME}


async def test_a_file_that_changed_since_an_earlier_call_starts_again(target: Path) -> None:
    answers = [Answer(cut=CUT)] * QUICK.attempts
    with Host(*answers, Answer(OTHER, tag='"two"')) as host:
        with pytest.raises(TransportError):
            await saved_from(host, target)
        await saved_from(host, target)
    assert content_of(target) == OTHER


async def test_a_part_with_a_weak_tag_is_not_resumed(target: Path) -> None:
    answers = [Answer(tag='W/"one"', cut=CUT)] * QUICK.attempts
    with Host(*answers, Answer(OTHER, tag='W/"one"')) as host:
        with pytest.raises(TransportError):
            await saved_from(host, target)
        await saved_from(host, target)
    assert set(ranges(host)) == {None}
    assert content_of(target) == OTHER


async def test_a_complete_part_is_not_requested(target: Path) -> None:
    part = PartFile.open(Directory(target.parent), target, OWNER)
    part.write([Chunk(0, AUDIO, FileIdentity('"one"', SIZE, True))])
    part.keep()
    with Host(Answer(status=500)) as host:
        assert (await saved_from(host, target)).size == SIZE
    assert host.requests == []
    assert content_of(target) == AUDIO


async def test_a_download_without_bytes_leaves_nothing(target: Path) -> None:
    with Host(Answer(b"no", status=404)) as host:
        links = {"links": _NoOther(host)}
        with pytest.raises(TransportError, match="expired"):
            await saved_from(host, target, **links)
    assert names_in(target.parent) == set()


def _NoOther(host: Host) -> Any:  # noqa: N802
    from vocalsep_async._downloads.source import StemLinks

    async def poll() -> Any:
        return host.task("vocal")

    return StemLinks(host.task("vocal"), poll)


async def test_a_file_above_max_bytes_leaves_nothing(target: Path) -> None:
    with (
        Host(Answer(sized=False, step=CUT)) as host,
        pytest.raises(UnusableFileError, match="larger than"),
    ):
        await saved_from(host, target, max_bytes=SIZE - 1)
    assert names_in(target.parent) == set()


async def test_a_failing_reporter_ends_the_transfer_and_keeps_the_part(target: Path) -> None:
    class Refuses(ReadingReporter):
        def report(self, done: int, *_: Any, **__: Any) -> None:
            raise BrokenError(done)

    with Host(Answer(), Answer()) as host:
        with pytest.raises(BrokenError):
            await saved_from(host, target, Refuses(host, "vocal"))
        kept = target.with_name(f".{NAME}.part").stat().st_size
        assert kept > 0
        await saved_from(host, target)
    assert ranges(host) == [None, f"bytes={kept}-"] or kept == SIZE
    assert content_of(target) == AUDIO


async def test_a_folder_that_vanishes_is_an_error_and_leaves_nothing(
    target: Path, tmp_path: Path
) -> None:
    class Vanishes(ReadingReporter):
        def report(self, done: int, *_: Any, **__: Any) -> None:
            if target.parent.exists():
                target.parent.rename(tmp_path / "away")

    with Host(Answer(hold=CUT)) as host:
        host.release()
        with left_open(tmp_path) as still_open, pytest.raises(OSError, match="moved or replaced"):
            await saved_from(host, target, Vanishes(host, "vocal"))
        assert still_open == []
    assert not target.parent.exists()
    assert names_in(tmp_path / "away") == set()


async def test_a_download_from_the_start_drops_the_part(target: Path) -> None:
    with Host(*[Answer(cut=CUT)] * QUICK.attempts, Answer()) as host:
        with pytest.raises(TransportError):
            await saved_from(host, target)
        await saved_from(host, target, from_start=True)
    assert ranges(host)[-1] is None
    assert content_of(target) == AUDIO
    assert names_in(target.parent) == {NAME}


async def test_a_part_with_a_validator_unfit_for_a_header_starts_again(target: Path) -> None:
    place(target, b"old")
    target.with_name(f".{NAME}.part").write_bytes(OTHER[:CUT])
    metadata = {"owner": OWNER, "validator": '"a\r\nX-Other: b"', "size": SIZE, "verified": True}
    target.with_name(f".{NAME}.part.json").write_text(json.dumps(metadata))
    with Host(Answer()) as host:
        await saved_from(host, target)
    assert content_of(target) == AUDIO
    assert ranges(host) == [None]
    assert "x-other" not in host.requests[0].headers


@pytest.mark.parametrize("error", [BrokenError("mine"), OSError("mine")])
async def test_an_exception_of_the_callback_is_no_disk_error_and_keeps_the_part(
    target: Path, error: Exception
) -> None:
    def refuse(_: DownloadProgress) -> None:
        raise error

    reporter = ProgressReporter(refuse, task_id=TASK_ID, stem="vocal", path=target)
    with Host(Answer(hold=CUT), Answer()) as host:
        with pytest.raises(CallbackError) as caught:
            await saved_from(host, target, reporter)
        host.release()
        assert caught.value.__cause__ is error
        assert target.with_name(f".{NAME}.part").stat().st_size > 0
        await saved_from(host, target)
    assert content_of(target) == AUDIO


async def test_a_page_in_place_of_audio_leaves_nothing(target: Path) -> None:
    with Host(Answer(b"<html>" * 100)) as host, pytest.raises(UnusableFileError, match="sent text"):
        await saved_from(host, target)
    assert names_in(target.parent) == set()


# Concurrency


class _ReadyFile:
    """A remote file with all chunks available."""

    def __init__(self, count: int) -> None:
        self.given = 0
        self.identity = FileIdentity('"one"', count, True)
        self._count = count

    async def open(self, _position: int, _identity: FileIdentity) -> None:
        pass

    async def next(self) -> Chunk | None:
        if self.given == self._count:
            return None
        self.given += 1
        return Chunk(self.given - 1, b"x", self.identity)


class _SlowDisk(PartFile):
    """A part that is written only when allowed."""

    allowed: threading.Event
    started: threading.Event
    batch_sizes: list[int]

    def write(self, chunks: Any) -> None:
        self.batch_sizes.append(len(chunks))
        self.started.set()
        assert self.allowed.wait(PATIENCE)
        super().write(chunks)


def slow_disk(target: Path) -> _SlowDisk:
    part = _SlowDisk.open(Directory(target.parent), target, OWNER)
    part.allowed, part.started, part.batch_sizes = threading.Event(), threading.Event(), []
    return part


def silent() -> ProgressReporter:
    return ProgressReporter(None, task_id=TASK_ID, stem="vocal", path=Path(NAME))


async def test_reading_continues_while_the_disk_is_slow_until_the_buffer_is_full(
    target: Path,
) -> None:
    part, remote = slow_disk(target), _ReadyFile(10 * _BUFFER)
    async with anyio.create_task_group() as group:
        group.start_soon(fill, cast("RemoteFile", remote), part, silent())
        await run_sync(part.started.wait, PATIENCE)
        await anyio.wait_all_tasks_blocked()
        assert _BUFFER <= remote.given <= 2 * _BUFFER + 2
        part.allowed.set()
    part.finish()
    assert content_of(target) == b"x" * 10 * _BUFFER
    assert max(part.batch_sizes) > 1


async def test_a_disk_error_ends_the_transfer_and_leaves_nothing(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place(target, b"old")
    with Host(Answer(hold=CUT)) as host:
        with left_open(tmp_path) as still_open, monkeypatch.context() as patch:
            patch.setattr("vocalsep_async._downloads.partfile.os.write", refuse)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                await saved_from(host, target)
        assert still_open == []
    assert content_of(target) == b"old"
    assert names_in(target.parent) == {NAME}


# Cancelled at every await


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that calls a function whenever it suspends."""

    def __init__(self, inner: Coroutine[Any, Any, Any], suspends: Callable[[], None]) -> None:
        self._inner = inner
        self._suspends = suspends

    def send(self, value: Any) -> Any:
        awaited = self._inner.send(value)
        self._suspends()
        return awaited

    def throw(self, *error: Any) -> Any:
        awaited = self._inner.throw(*error)
        self._suspends()
        return awaited

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


Mode = Literal["native", "scope"]


async def hit_at(number: int, call: Coroutine[Any, Any, Any], mode: Mode) -> bool:
    """Run *call* and cancel it at that suspension; whether it was reached."""
    count = 0
    hit = False
    scope = anyio.CancelScope()

    async def in_scope() -> None:
        with scope:
            await call

    def suspends() -> None:
        nonlocal count, hit
        count += 1
        if count == number:
            hit = True
            (task if mode == "native" else scope).cancel()

    def make(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Counted(coro, suspends), loop=loop, **options)

    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    loop.set_task_factory(make)
    try:
        task = loop.create_task(call if mode == "native" else in_scope())
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([task])
    finally:
        loop.set_task_factory(factory)
    if not task.cancelled():
        task.result()
    return hit


def is_beginning(part: Path) -> bool:
    return AUDIO.startswith(part.read_bytes()) if part.exists() else True


def client_of(host: Host) -> VocalSepClient:
    return VocalSepClient("a-key", base_url=host.url, retry=QUICK, rate_limit=None)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.deep)])
@pytest.mark.parametrize("mode", ["native", "scope"])
async def test_a_call_cancelled_at_any_await_is_resumed_by_the_next_one(
    tmp_path: Path, mode: Mode, step: int
) -> None:
    stems = ("vocal", "drums")
    resumed = whole = number = 0
    hit = True
    while hit:
        number += step
        folder = tmp_path / str(number)
        answers = {stem: [Answer(step=CUT), Answer(step=CUT)] for stem in stems}
        with Host(**answers) as host:

            def read(progress: DownloadProgress, host: Host = host) -> None:
                host.mark_read(progress.stem, progress.done)

            def every_chunk(
                self: ProgressReporter, done: int, *_: Any, host: Host = host, **__: Any
            ) -> None:
                host.mark_read(self._stem, done)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ProgressReporter, "report", every_chunk)
                async with client_of(host) as client:
                    with left_open(tmp_path) as still_open:
                        call = client.download_stems(TASK_ID, folder, on_progress=read)
                        hit = await hit_at(number, call, mode)
                    assert still_open == [], f"cancelled at {number}"
                    for stem in stems:
                        target = folder / TASK_ID / f"{stem}.mp3"
                        assert not target.exists() or target.read_bytes() == AUDIO
                        assert is_beginning(target.with_name(f".{stem}.mp3.part"))
                    report = await client.download_stems(TASK_ID, folder)
        assert all(path.read_bytes() == AUDIO for path in report.paths.values())
        assert len(report.paths) == 2
        assert hidden_below(folder) == [], f"cancelled at {number}"
        resumed += any(request.range for request in host.requests)
        whole += not any(file.was_fetched for file in report.files)
    assert number > 20
    assert resumed > 3 / step
    assert whole >= 1
