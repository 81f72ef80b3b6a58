"""What a journal knows of songs before they are separated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from vocalsep_async import JournalError, SeparationType, Song, TaskOutcome, VocalSepClient
from vocalsep_async._songs.preview import Preview
from vocalsep_async.emulator import Emulator, Fault
from vocalsep_async.models import TaskStatus

pytestmark = pytest.mark.anyio

VOCAL = SeparationType.SEPARATE_VOCAL
LINK = "https://songs.example/one.mp3?signature=1"


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "songs.journal"


def states(songs: Sequence[Song], journal: Path, resubmit: int = 0) -> list[str]:
    with Preview.of(VOCAL, resubmit, journal) as preview:
        return [preview.look_up(song).state for song in songs]


async def separated(
    client: VocalSepClient, songs: Sequence[Song], journal: Path
) -> list[TaskOutcome]:
    async with client.separate_many(songs, journal=journal) as run:
        return [outcome async for outcome in run]


def test_without_a_journal_every_song_is_new_once(journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(b"one")
    songs = [Song(file), Song(LINK), Song(b"one"), Song(LINK, label="again"), Song(b"two")]
    assert states(songs, journal) == ["new", "new", "same", "same", "new"]
    assert not journal.exists()


def test_a_song_of_another_type_or_instrument_is_another_one(journal: Path) -> None:
    songs = [
        Song(LINK),
        Song(LINK, type="split_stem"),
        Song(LINK, type="separate_vocal"),
        Song(LINK, type="split_stem_advanced", stem_name="guitar"),
        Song(LINK, type="split_stem_advanced", stem_name="drums"),
        Song(("task", "track")),
    ]
    assert states(songs, journal) == ["new", "new", "same", "new", "new", "new"]


async def test_songs_that_were_created_are_known(journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(b"one")
    songs = [Song(file), Song(LINK), Song(LINK, key="mine", label="keyed")]
    async with Emulator(rate_limit=None, speed=1000) as emulator, emulator.client() as client:
        await separated(client, songs, journal)
    assert states([Song(b"one"), *songs[1:]], journal) == ["known"] * 3
    assert states([Song(b"two"), Song(f"{LINK}0")], journal) == ["new"] * 2
    assert states([Song("https://elsewhere.example", key="mine")], journal) == ["known"]


async def test_a_journal_is_read_while_a_run_writes_to_it(journal: Path) -> None:
    async with (
        Emulator(rate_limit=None, speed=1000) as emulator,
        emulator.client() as client,
        client.separate_many([LINK], journal=journal) as run,
    ):
        async for _ in run:
            assert states([Song(LINK)], journal) == ["known"]


async def test_a_song_whose_fate_is_unknown_is_uncertain(journal: Path) -> None:
    async with Emulator(rate_limit=None, speed=1000) as emulator, emulator.client() as client:
        emulator.inject(Fault.UNANSWERED)
        await separated(client, [Song(LINK)], journal)
    assert states([Song(LINK)], journal) == ["uncertain"]


@pytest.mark.parametrize(
    "status, resubmit, state",
    [
        (TaskStatus.GENERATE_AUDIO_FAILED, 0, "known"),
        (TaskStatus.GENERATE_AUDIO_FAILED, 1, "again"),
        # Perhaps for lack of credits, and then it is created again.
        (TaskStatus.CREATE_TASK_FAILED, 0, "again"),
        (TaskStatus.SUCCESS, 1, "known"),
    ],
)
async def test_a_song_that_failed_may_be_created_again(
    journal: Path, status: TaskStatus, resubmit: int, state: str
) -> None:
    async with (
        Emulator(rate_limit=None) as emulator,
        emulator.client() as client,
        client.separate_many([LINK], journal=journal) as run,
    ):
        while not emulator.tasks:
            await run_once(client)
        (task_id,) = emulator.tasks
        if status is TaskStatus.SUCCESS:
            emulator.finish(task_id)
        else:
            emulator.fail(task_id, status=status)
        client.notify(task_id)
        assert [outcome.status async for outcome in run] == [status]
    assert states([Song(LINK)], journal, resubmit) == [state]


async def run_once(client: VocalSepClient) -> None:
    await client.get_credits()


async def test_a_song_that_was_created_again_is_known(journal: Path) -> None:
    async with (
        Emulator(rate_limit=None, speed=1000, failure_rate=1.0) as emulator,
        emulator.client() as client,
        client.separate_many([LINK], journal=journal, resubmit=1) as run,
    ):
        assert [outcome.succeeded async for outcome in run] == [False]
    assert states([Song(LINK)], journal, 1) == ["known"]
    assert states([Song(LINK)], journal, 2) == ["again"]


async def test_a_running_task_is_known(journal: Path) -> None:
    async with (
        Emulator(rate_limit=None) as emulator,
        emulator.client() as client,
        client.separate_many([LINK], journal=journal, timeout=None),
    ):
        while not emulator.tasks:
            await run_once(client)
    assert states([Song(LINK)], journal, 3) == ["known"]


def test_an_empty_file_is_a_journal_that_was_just_begun(journal: Path) -> None:
    journal.touch()
    assert states([Song(LINK)], journal) == ["new"]


async def test_a_journal_of_batches_knows_no_songs(journal: Path) -> None:
    async with Emulator(rate_limit=None, speed=1000) as emulator, emulator.client() as client:
        task_id = emulator.add_task(duration=0)
        async with client.track([task_id], journal=journal) as batch:
            assert [each.succeeded async for each in batch] == [True]
    assert states([Song(LINK)], journal) == ["new"]


def test_what_is_no_journal_is_an_error(journal: Path) -> None:
    journal.write_text("no journal")
    with pytest.raises(JournalError):
        states([Song(LINK)], journal)
