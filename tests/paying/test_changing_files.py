"""Files that change while they are uploaded: nothing is billed for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from paying.runs import Scene, scene
from paying.song_host import UPLOAD, Moment, every
from paying.songs_program import client_of, song_of
from uploads.upload_host import Visit

from vocalsep_async import UploadError

pytestmark = pytest.mark.anyio

SONG = b"ID3" + bytes(range(256)) * 40_000
"""More than the buffers between the client and the host hold."""


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, len(SONG) // 2)


def rewrite_the_end(path: Path) -> None:
    rewrite(path, len(SONG) - 4)


def rewrite_the_beginning(path: Path) -> None:
    rewrite(path, 100)


def rewrite(path: Path, offset: int) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"else")
    # As an editor of tags may do, which leaves the size, too.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(SONG[::-1])
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink()


CHANGES = [grow, shrink, rewrite_the_end, rewrite_the_beginning, replace, remove]


def big_file(stage: Scene) -> Path:
    """The only file of the songs, now a big one."""
    path = Path(stage.songs.given[0][1])
    path.write_bytes(SONG)
    return path


def during_the_upload(stage: Scene, change: Callable[[], None]) -> None:
    async def act(_visit: Visit) -> None:
        stage.host.be_quiet()
        change()

    stage.host.at(every(UPLOAD), Moment.BEGUN, act)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changes_during_its_upload_is_not_created(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    async with scene(tmp_path, files=1) as stage, client_of(stage.host.url) as client:
        path = big_file(stage)
        during_the_upload(stage, lambda: change(path))
        with pytest.raises(UploadError):
            await client.separate(path, journal=stage.journal)
        assert stage.host.posted == {}
        assert stage.uncertain_songs() == set()
        assert big_file(stage) == path
        stage.host.songs["file-0"] = SONG
        outcome = await client.separate(path, journal=stage.journal)
        assert outcome.succeeded
        assert stage.host.posted == {"file-0": 1}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_run_goes_on_past_a_file_that_changes(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    async with scene(tmp_path, files=1, urls=2) as stage, client_of(stage.host.url) as client:
        path = big_file(stage)
        during_the_upload(stage, lambda: change(path))
        sources = list(map(song_of, stage.songs.given))
        async with client.separate_many(sources, journal=stage.journal) as run:
            errors = {outcome.label: outcome.error async for outcome in run}
        assert [label for label, error in errors.items() if error is not None] == ["file 0"]
        assert isinstance(errors["file 0"], UploadError)
        assert "file-0" not in stage.host.posted
        assert stage.host.posted.total() == 2
