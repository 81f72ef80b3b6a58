"""From the file host to the disk: one task reads while another one writes."""

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
    Host,
    Told,
    Turn,
    files_of,
    hidden_below,
    left_open,
    names_in,
    remote_of,
)

from vocalsep_async import TransportError, VocalSepClient
from vocalsep_async._downloads.partfile import PartFile, Saved
from vocalsep_async._downloads.progress import ProgressReporter, ToldError
from vocalsep_async._downloads.source import Chunk, FileIdentity, RemoteFile, UselessError
from vocalsep_async._downloads.transfer import _ROOM, fill, taken_up
from vocalsep_async.models import DownloadProgress

pytestmark = pytest.mark.anyio

NAME = "vocal.mp3"
OWNER = f"{TASK_ID}/vocal"
CUT = 100_000
SIZE = len(AUDIO)


class BrokenError(Exception):
    """Raised by what a caller passed."""


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
    told: ProgressReporter | None = None,
    *,
    anew: bool = False,
    **options: Any,
) -> Saved:
    async with taken_up(target, target.parent, OWNER, anew=anew) as part:
        async with remote_at(host, **options) as remote:
            await fill(remote, part, told or Told(host, "vocal"))
        return await run_sync(part.finish)


def ranges(host: Host) -> list[str | None]:
    return [asked.range for asked in host.asked]


def place(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    target.write_bytes(content)


def content_of(target: Path) -> bytes:
    return target.read_bytes()


def changed_at(target: Path) -> int:
    return target.stat().st_mtime_ns


# Whole


async def test_a_file_is_saved_as_it_came(target: Path) -> None:
    with Host(Turn()) as host:
        told = Told(host, "vocal")
        saved = await saved_from(host, target, told)
    assert content_of(target) == AUDIO
    assert (saved.size, saved.sha256) == (SIZE, hashlib.sha256(AUDIO).hexdigest())
    assert saved.mtime_ns == changed_at(target)
    assert names_in(target.parent) == {NAME}
    assert told.heard == sorted(told.heard)
    assert told.heard[-1] == (SIZE, SIZE)


async def test_a_cut_does_not_show_in_the_file(target: Path) -> None:
    with Host(Turn(cut=CUT), Turn()) as host:
        saved = await saved_from(host, target)
    assert ranges(host) == [None, f"bytes={CUT}-"]
    assert content_of(target) == AUDIO
    assert saved.sha256 == hashlib.sha256(AUDIO).hexdigest()


async def test_a_file_that_is_another_one_after_a_cut_is_never_mixed(target: Path) -> None:
    with Host(Turn(cut=CUT), Turn(OTHER[:-7], tag='"two"')) as host:
        saved = await saved_from(host, target)
    assert content_of(target) == OTHER[:-7]
    assert saved.sha256 == hashlib.sha256(OTHER[:-7]).hexdigest()


async def test_a_host_that_sends_all_again_does_not_double_the_file(target: Path) -> None:
    with Host(Turn(cut=CUT), Turn(takes_ranges=False)) as host:
        await saved_from(host, target)
    assert content_of(target) == AUDIO


# Broken off


async def test_what_came_before_the_last_cut_is_gone_on_with_later(target: Path) -> None:
    with Host(*(Turn(cut=CUT) for _ in range(QUICK.attempts)), Turn()) as host:
        with pytest.raises(TransportError):
            await saved_from(host, target)
        assert names_in(target.parent) == {f".{NAME}.part", f".{NAME}.part.json"}
        assert target.with_name(f".{NAME}.part").read_bytes() == AUDIO[:CUT]
        await saved_from(host, target)
    assert ranges(host) == [None, *[f"bytes={CUT}-"] * 3]
    assert content_of(target) == AUDIO
    assert names_in(target.parent) == {NAME}


async def test_a_file_that_changed_since_an_earlier_run_begins_anew(target: Path) -> None:
    turns = [Turn(cut=CUT)] * QUICK.attempts
    with Host(*turns, Turn(OTHER, tag='"two"')) as host:
        with pytest.raises(TransportError):
            await saved_from(host, target)
        await saved_from(host, target)
    assert content_of(target) == OTHER


async def test_a_weakly_tagged_part_is_not_gone_on_with_later(target: Path) -> None:
    turns = [Turn(tag='W/"one"', cut=CUT)] * QUICK.attempts
    with Host(*turns, Turn(OTHER, tag='W/"one"')) as host:
        with pytest.raises(TransportError):
            await saved_from(host, target)
        await saved_from(host, target)
    assert set(ranges(host)) == {None}
    assert content_of(target) == OTHER


async def test_a_part_that_lacks_only_its_name_is_not_asked_for(target: Path) -> None:
    part = PartFile.open(target, target.parent, OWNER)
    part.write([Chunk(0, AUDIO, FileIdentity('"one"', SIZE, True))])
    part.keep()
    with Host(Turn(status=500)) as host:
        assert (await saved_from(host, target)).size == SIZE
    assert host.asked == []
    assert content_of(target) == AUDIO


async def test_where_nothing_came_nothing_is_left(target: Path) -> None:
    with Host(Turn(b"no", status=404)) as host:
        links = {"links": _NoOther(host)}
        with pytest.raises(TransportError, match="expired"):
            await saved_from(host, target, **links)
    assert names_in(target.parent) == set()


def _NoOther(host: Host) -> Any:  # noqa: N802
    from vocalsep_async._downloads.links import StemLinks

    async def poll() -> Any:
        return host.task("vocal")

    return StemLinks(host.task("vocal"), poll)


async def test_of_what_is_too_long_nothing_is_left(target: Path) -> None:
    with (
        Host(Turn(sized=False, step=CUT)) as host,
        pytest.raises(UselessError, match="larger than"),
    ):
        await saved_from(host, target, max_bytes=SIZE - 1)
    assert names_in(target.parent) == set()


async def test_a_listener_that_raises_ends_it_and_what_came_is_kept(target: Path) -> None:
    class Refuses(Told):
        def tell(self, done: int, *_: Any, **__: Any) -> None:
            raise BrokenError(done)

    with Host(Turn(), Turn()) as host:
        with pytest.raises(BrokenError):
            await saved_from(host, target, Refuses(host, "vocal"))
        kept = target.with_name(f".{NAME}.part").stat().st_size
        assert kept > 0
        await saved_from(host, target)
    assert ranges(host) == [None, f"bytes={kept}-"] or kept == SIZE
    assert content_of(target) == AUDIO


async def test_a_folder_that_vanishes_is_an_error_and_nothing_is_left(
    target: Path, tmp_path: Path
) -> None:
    class Vanishes(Told):
        def tell(self, done: int, *_: Any, **__: Any) -> None:
            if target.parent.exists():
                target.parent.rename(tmp_path / "away")

    with Host(Turn(hold=CUT)) as host:
        host.let_go()
        with left_open(tmp_path) as still_open, pytest.raises(FileNotFoundError):
            await saved_from(host, target, Vanishes(host, "vocal"))
        assert still_open == []
    assert not target.parent.exists()
    assert NAME not in names_in(tmp_path / "away")


async def test_a_part_is_dropped_by_who_wants_the_file_anew(target: Path) -> None:
    with Host(*[Turn(cut=CUT)] * QUICK.attempts, Turn()) as host:
        with pytest.raises(TransportError):
            await saved_from(host, target)
        await saved_from(host, target, anew=True)
    assert ranges(host)[-1] is None
    assert content_of(target) == AUDIO
    assert names_in(target.parent) == {NAME}


async def test_a_part_whose_note_holds_what_cannot_be_asked_for_begins_anew(target: Path) -> None:
    place(target, b"old")
    target.with_name(f".{NAME}.part").write_bytes(OTHER[:CUT])
    note = {"owner": OWNER, "validator": '"a\r\nX-Other: b"', "size": SIZE, "verified": True}
    target.with_name(f".{NAME}.part.json").write_text(json.dumps(note))
    with Host(Turn()) as host:
        await saved_from(host, target)
    assert content_of(target) == AUDIO
    assert ranges(host) == [None]
    assert "x-other" not in host.asked[0].headers


@pytest.mark.parametrize("error", [BrokenError("mine"), OSError("mine")])
async def test_what_a_caller_raises_is_no_error_of_the_disk_and_what_came_is_kept(
    target: Path, error: Exception
) -> None:
    def refuse(_: DownloadProgress) -> None:
        raise error

    meter = ProgressReporter(refuse, task_id=TASK_ID, stem="vocal", path=target)
    with Host(Turn(hold=CUT), Turn()) as host:
        with pytest.raises(ToldError) as caught:
            await saved_from(host, target, meter)
        host.let_go()
        assert caught.value.__cause__ is error
        assert target.with_name(f".{NAME}.part").stat().st_size > 0
        await saved_from(host, target)
    assert content_of(target) == AUDIO


async def test_of_a_page_nothing_is_left(target: Path) -> None:
    with Host(Turn(b"<html>" * 100)) as host, pytest.raises(UselessError, match="text came"):
        await saved_from(host, target)
    assert names_in(target.parent) == set()


# Reading and writing at the same time


class _Pieces:
    """A remote that has all pieces at hand."""

    def __init__(self, count: int) -> None:
        self.given = 0
        self.about = FileIdentity('"one"', count, True)
        self._count = count

    async def open(self, _position: int, _about: FileIdentity) -> None:
        pass

    async def next(self) -> Chunk | None:
        if self.given == self._count:
            return None
        self.given += 1
        return Chunk(self.given - 1, b"x", self.about)


class _SlowDisk(PartFile):
    """Writes when it is allowed to."""

    allowed: threading.Event
    begun: threading.Event
    at_once: list[int]

    def write(self, pieces: Any) -> None:
        self.at_once.append(len(pieces))
        self.begun.set()
        assert self.allowed.wait(PATIENCE)
        super().write(pieces)


def slow_disk(target: Path) -> _SlowDisk:
    part = _SlowDisk.open(target, target.parent, OWNER)
    part.allowed, part.begun, part.at_once = threading.Event(), threading.Event(), []
    return part


def silent() -> ProgressReporter:
    return ProgressReporter(None, task_id=TASK_ID, stem="vocal", path=Path(NAME))


async def test_reading_goes_on_while_the_disk_is_slow_but_not_without_end(target: Path) -> None:
    part, remote = slow_disk(target), _Pieces(10 * _ROOM)
    async with anyio.create_task_group() as group:
        group.start_soon(fill, cast("RemoteFile", remote), part, silent())
        await run_sync(part.begun.wait, PATIENCE)
        await anyio.wait_all_tasks_blocked()
        assert _ROOM <= remote.given <= 2 * _ROOM + 2
        part.allowed.set()
    part.finish()
    assert content_of(target) == b"x" * 10 * _ROOM
    assert max(part.at_once) > 1


async def test_a_disk_that_refuses_ends_reading_and_nothing_is_left(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place(target, b"old")
    with Host(Turn(hold=CUT)) as host:
        with left_open(tmp_path) as still_open, monkeypatch.context() as patch:
            patch.setattr("vocalsep_async._downloads.partfile.os.write", refuse)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                await saved_from(host, target)
        assert still_open == []
    assert content_of(target) == b"old"
    assert names_in(target.parent) == {NAME}


# Cancelled at every await


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that says so before it suspends."""

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
    """Run *call*, cancelled at that suspension; whether it had so many."""
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

    def make(loop: Any, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
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
async def test_a_call_cancelled_anywhere_leaves_what_the_next_one_goes_on_with(
    tmp_path: Path, mode: Mode, step: int
) -> None:
    stems = ("vocal", "drums")
    resumed = whole = number = 0
    hit = True
    while hit:
        number += step
        folder = tmp_path / str(number)
        turns = {stem: [Turn(step=CUT), Turn(step=CUT)] for stem in stems}
        with Host(**turns) as host:

            def read(progress: DownloadProgress, host: Host = host) -> None:
                host.has_read(progress.stem, progress.done)

            def every_piece(
                self: ProgressReporter, done: int, *_: Any, host: Host = host, **__: Any
            ) -> None:
                host.has_read(self._stem, done)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ProgressReporter, "tell", every_piece)
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
        resumed += any(asked.range for asked in host.asked)
        whole += not any(file.was_fetched for file in report.files)
    assert number > 20
    assert resumed > 3 / step
    assert whole >= 1
