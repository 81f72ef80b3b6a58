"""Callers and processes that want the same song at the same moment: one creation for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from paying.runs import scene
from paying.song_host import CREATION, Moment, every
from paying.songs_program import client_of, song_of
from uploads.upload_host import Visit

from vocalsep_async import TaskOutcome

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", ["files", "urls", "tracks"])
@pytest.mark.parametrize("has_journal", [False, True], ids=["no journal", "journal"])
async def test_twenty_concurrent_callers_of_one_song_share_its_task(
    tmp_path: Path, kind: str, *, has_journal: bool
) -> None:
    async with scene(tmp_path, **{kind: 1}) as stage, client_of(stage.host.url) as client:
        song = song_of(stage.songs.given[0])
        journal = stage.journal if has_journal else None
        calls = [client.separate(song, journal=journal, download_to=stage.stems) for _ in range(20)]
        outcomes: list[TaskOutcome] = await asyncio.gather(*calls)
        assert len({outcome.task_id for outcome in outcomes}) == 1
        stage.assert_separated(outcomes[:1])
        assert all(outcome.files == outcomes[0].files for outcome in outcomes)
        assert stage.host.posted.total() == 1
        assert stage.host.uploaded.total() <= 1


async def test_songs_that_are_given_twice_have_two_outcomes_and_one_task(tmp_path: Path) -> None:
    async with scene(tmp_path, files=3, urls=2, tracks=2) as stage:
        stage.songs.given.extend(stage.songs.given[:])
        async with client_of(stage.host.url) as client:
            sources = list(map(song_of, stage.songs.given))
            async with client.separate_many(
                sources, journal=stage.journal, download_to=stage.stems
            ) as run:
                outcomes = [outcome async for outcome in run]
        assert all(outcome.succeeded for outcome in outcomes)
        assert Counter(outcome.label for outcome in outcomes) == Counter(
            dict.fromkeys(stage.songs.names, 2)
        )
        stage.assert_no_song_was_posted_twice()
        assert max(stage.host.fetched.values()) == 1


async def test_songs_that_are_the_same_have_the_stems_of_the_first_one_in_every_run(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, files=3, copies=2, urls=1) as stage:
        for _ in range(4):
            outcomes = await stage.run()
            stage.assert_separated(outcomes.values())
            (folder,) = {path.parent.name for path in outcomes["copy 1"].files.values()}
            assert folder == "file 0"
        assert max(stage.host.fetched.values()) == 1


async def test_the_second_of_two_processes_is_told_which_one_has_the_journal(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, files=2, urls=2, tracks=2) as stage:
        began, go_on = asyncio.Event(), asyncio.Event()

        async def wait(_visit: Visit) -> None:
            began.set()
            await go_on.wait()

        stage.host.at(every(CREATION), Moment.READ, wait)
        winner = asyncio.create_task(stage.program())
        await began.wait()
        pid = stage.pid
        loser = await stage.program()
        go_on.set()
        (error,) = [text for word, text in loser.said if word == "error"]
        assert f"process {pid}" in error
        done = await winner
        assert {tuple(errors) for _, (_, *errors) in done.said} == {(None, None)}
        stage.assert_no_song_was_posted_twice()
        await stage.assert_nothing_is_left_to_do()


async def test_two_processes_that_begin_together_create_each_song_once(tmp_path: Path) -> None:
    async with scene(tmp_path, files=2, urls=2, tracks=2) as stage:
        done = await asyncio.gather(stage.program(), stage.program())
        assert all(each.code == 0 for each in done), done
        assert "outcome" in {word for each in done for word, _ in each.said}
        stage.assert_no_song_was_posted_twice()
        await stage.assert_nothing_is_left_to_do()
