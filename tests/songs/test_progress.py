"""What a run tells of its songs while they are under way."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeProvider, make_client
from songs.creating import failed

from vocalsep_async import InvalidArgumentError, Song, SongProgress
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio

SONG = Song("https://songs.example/1.mp3")


def steps(told: list[SongProgress]) -> list[tuple[str, str | None]]:
    return [(each.state, each.task_id) for each in told]


@pytest.mark.usefixtures("api")
async def test_a_run_tells_when_a_song_goes_on() -> None:
    told: list[SongProgress] = []
    async with (
        make_client() as client,
        client.separate_many([SONG], on_progress=told.append) as run,
    ):
        outcomes = [each async for each in run]
    assert [each.song for each in told] == [SONG, SONG]
    assert steps(told) == [("creating", None), ("waiting", "task-1")]
    assert outcomes[0].succeeded


async def test_a_song_that_is_created_again_begins_anew(api: FakeProvider) -> None:
    told: list[SongProgress] = []
    api.script("task-1", failed("task-1", "GENERATE_AUDIO_FAILED"))
    async with make_client() as client:
        run = client.separate_many([SONG], resubmit=1, on_progress=told.append)
        async with run:
            assert [each.succeeded async for each in run] == [True]
    assert steps(told) == [
        ("creating", None),
        ("waiting", "task-1"),
        ("creating", None),
        ("waiting", "task-2"),
    ]


@pytest.mark.usefixtures("api")
async def test_songs_that_share_a_task_have_one_progress() -> None:
    told: list[SongProgress] = []
    async with (
        make_client() as client,
        client.separate_many([SONG, SONG], on_progress=told.append) as run,
    ):
        assert len([each async for each in run]) == 2
    assert len(told) == 2


@pytest.mark.usefixtures("api")
async def test_what_a_listener_raises_ends_the_run() -> None:
    def fail(_progress: SongProgress) -> None:
        raise LookupError

    async with make_client() as client, client.separate_many([SONG], on_progress=fail) as run:
        with pytest.raises(LookupError):
            await anext(run)


@pytest.mark.usefixtures("api")
async def test_a_listener_must_be_a_plain_function() -> None:
    async def listen(_progress: SongProgress) -> None:
        """Would never be awaited."""

    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="on_progress"):
            client.separate_many([SONG], on_progress=listen)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_file_is_uploaded_and_its_stems_are_saved(tmp_path: Path) -> None:
    told: list[SongProgress] = []
    file = tmp_path / "song.mp3"
    file.write_bytes(b"s" * 100_000)
    async with Emulator(rate_limit=None, speed=1000) as emulator, emulator.client() as client:
        run = client.separate_many([file], download_to=tmp_path / "to", on_progress=told.append)
        async with run:
            (outcome,) = [each async for each in run]
    states = [each.state for each in told]
    assert list(dict.fromkeys(states)) == ["uploading", "creating", "waiting", "saving"]
    assert told[-1].task_id == outcome.task_id
    uploads = [each for each in told if each.state == "uploading"]
    assert (uploads[0].sent, uploads[0].total) == (0, 0)
    assert (uploads[-1].sent, uploads[-1].total) == (100_000, 100_000)
    assert all(each.total == each.sent == 0 for each in told if each.state != "uploading")
