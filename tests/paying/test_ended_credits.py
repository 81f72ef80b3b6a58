"""Runs whose credits end in the middle: no further upload or creation begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from paying.runs import Scene, scene
from paying.song_host import CREATION, UPLOAD
from paying.songs_program import client_of, song_of

from vocalsep_async import InsufficientCreditsError, NotBegunError, TaskOutcome
from vocalsep_async._songs.separation import _PREPARED
from vocalsep_async.songs import SongStats

pytestmark = pytest.mark.anyio

SONGS, PAID = 50, 6


NO_CREDITS = {
    "successFlag": "CREATE_TASK_FAILED",
    "errorCode": 429,
    "errorMessage": "The account has insufficient credits.",
    "response": None,
}


async def run_of(stage: Scene) -> tuple[list[TaskOutcome], SongStats]:
    async with client_of(stage.host.url) as client:
        sources = list(map(song_of, stage.songs.given))
        async with client.separate_many(
            sources, journal=stage.journal, download_to=stage.stems, max_pending=10
        ) as run:
            outcomes = [outcome async for outcome in run]
            return outcomes, run.stats


@pytest.mark.parametrize("kinds", [{"files": 10, "urls": 20, "tracks": 20}, {"urls": 50}])
async def test_credits_that_end_leave_the_rest_not_begun_until_a_later_run(
    tmp_path: Path, kinds: dict[str, int]
) -> None:
    async with scene(tmp_path, **kinds) as stage:
        stage.host.credits = PAID
        outcomes, stats = await run_of(stage)
        made = [outcome for outcome in outcomes if outcome.succeeded]
        left = [outcome.error for outcome in outcomes if not outcome.succeeded]
        assert {stage.songs.names[str(each.label)] for each in made} == set(stage.host.created)
        assert all(outcome.files for outcome in made)
        assert {type(error) for error in left} == {NotBegunError, InsufficientCreditsError}
        # Those that were under way together when the first was refused.
        refused = stage.host.posted.total() - PAID
        assert 1 <= refused < SONGS - PAID
        assert sum(isinstance(error, InsufficientCreditsError) for error in left) == refused
        assert stats.songs == len(outcomes)
        assert stats.created == stage.host.created.total() == PAID
        assert stats.not_begun + stats.failed == len(left)
        last = max(n for n, line in enumerate(stage.host.requests) if line.startswith(CREATION))
        # Those that were under way when the answer came.
        late = sum(line.startswith(UPLOAD) for line in stage.host.requests[last + 1 :])
        assert late < _PREPARED
        posted = stage.host.posted.copy()
        stage.host.credits = SONGS
        outcomes, stats = await run_of(stage)
        stage.assert_separated(outcomes)
        assert all(
            stage.host.posted[song] == posted[song]
            for song in stage.host.created
            if song in {stage.songs.names[str(each.label)] for each in made}
        )
        assert max(stage.host.created.values()) == 1
        assert stats.created == SONGS - PAID


async def test_a_task_that_failed_for_lack_of_credits_ends_the_run_and_is_created_by_a_later_one(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, files=10, urls=20, tracks=20) as stage:
        created = stage.host.created
        stage.host.ending = lambda song: {} if song in list(created)[:PAID] else NO_CREDITS
        outcomes, stats = await run_of(stage)
        made = {stage.songs.names[str(each.label)] for each in outcomes if each.files}
        assert made == set(list(created)[:PAID])
        assert stats.created == created.total() < SONGS
        assert stats.not_begun == SONGS - created.total()
        failed = set(created) - made
        stage.host.ending = lambda _: {}
        outcomes, stats = await run_of(stage)
        stage.assert_separated(outcomes)
        # Those that failed were not carried out, and are not billed.
        assert {song for song, times in created.items() if times > 1} == failed
        assert stats.created == SONGS - PAID
