"""Any run of songs: one outcome each, one creation at most, and numbers that add up."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from batch.journals import journals_in_virtual_time, process
from fakes import Answer, FakeProvider, bare, envelope, provider_in_place
from hypothesis import given, settings
from hypothesis import strategies as st
from songs.creating import GENERATE, creates_tasks, creations, failed
from virtual_time import VirtualTimeLoop

from vocalsep_async import (
    CreationUncertainError,
    InsufficientCreditsError,
    NotBegunError,
    Song,
    SongStats,
    TaskOutcome,
    TransportError,
)

ANSWERS: dict[str, Answer] = {
    "refused": envelope(422, "bad song"),
    "throttled": envelope(430, "too often"),
    "reset": TransportError("reset"),
    "gateway": bare(502),
    "no credits": envelope(429, "no credits"),
}
UNKNOWN = {"reset", "gateway"}
# The fate of each creation, in the order in which they arrive; None creates a task.
FATES = st.lists(st.sampled_from([None, None, None, *ANSWERS]), max_size=12)
SONGS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=12)


def song(number: int, label: int) -> Song:
    return Song(f"https://songs.example/{number}.mp3", label=f"label {label}")


async def run(
    provider: FakeProvider, songs: list[Song], **options: Any
) -> tuple[list[TaskOutcome], SongStats]:
    async with process(provider) as client, client.separate_many(songs, **options) as run:
        return [outcome async for outcome in run], run.stats


def posted(provider: FakeProvider) -> Counter[str]:
    return Counter(body["audioUrl"] for body in provider.posted)


@settings(max_examples=settings().max_examples // 2)
@given(
    songs=SONGS,
    fates=FATES,
    fails=st.sets(st.integers(1, 8), max_size=3),
    max_pending=st.integers(1, 4),
    max_credits=st.none() | st.integers(0, 60),
)
def test_a_run_gives_each_song_one_outcome_and_one_creation_and_the_next_one_completes_it(
    songs: list[tuple[int, int]],
    fates: list[str | None],
    fails: set[int],
    max_pending: int,
    max_credits: int | None,
) -> None:
    given_songs = [song(*each) for each in songs]

    async def main(provider: FakeProvider, path: Path) -> None:
        answer = creates_tasks(provider).every_answer
        left = list(fates)
        met: list[str | None] = []

        def next_answer(asked: str) -> Answer:
            assert answer is not None
            fate = left.pop(0) if left and asked == GENERATE else None
            if asked == GENERATE:
                met.append(fate)
            return answer(asked) if fate is None else ANSWERS[fate]

        provider.every_answer = next_answer
        for number in fails:
            task_id = f"task-{number}"
            provider.script(task_id, failed(task_id, "CREATE_TASK_FAILED", "too long"))
        options: dict[str, Any] = {"journal": path, "max_pending": max_pending}
        outcomes, stats = await run(provider, given_songs, max_credits=max_credits, **options)
        assert Counter(each.label for each in outcomes) == Counter(s.label for s in given_songs)
        check_numbers(outcomes, stats, max_credits)
        unknown = UNKNOWN.intersection(met)
        uncertain = [each for each in outcomes if isinstance(each.error, CreationUncertainError)]
        assert bool(uncertain) <= bool(unknown)
        left.clear()
        again, _ = await run(provider, given_songs, **options)
        assert not any(isinstance(each.error, NotBegunError) for each in again)
        check_creations(provider, met, again)

    with (
        TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
        provider_in_place(patch) as provider,
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
    ):
        journals_in_virtual_time(patch)
        runner.run(main(provider, Path(folder, "songs.journal")))


def check_numbers(outcomes: list[TaskOutcome], stats: SongStats, max_credits: int | None) -> None:
    assert stats.pending == 0
    ended = stats.succeeded + stats.failed + stats.uncertain + stats.not_begun
    assert stats.songs == len(outcomes) == ended
    assert stats.succeeded == sum(each.succeeded for each in outcomes)
    assert stats.credits_spent is not None
    assert max_credits is None or stats.credits_spent <= max_credits
    assert len({each.task_id for each in outcomes if each.task_id}) == stats.created
    for each in outcomes:
        if isinstance(each.error, NotBegunError) and each.error.cause is not None:
            assert isinstance(each.error.cause, InsufficientCreditsError)


def check_creations(
    provider: FakeProvider, fates: list[str | None], outcomes: list[TaskOutcome]
) -> None:
    """No song was created twice, nor again after a creation of unknown fate."""
    accepted: Counter[str] = Counter()
    for fate, body in zip(fates, provider.posted, strict=True):
        if fate is None or fate in UNKNOWN:
            accepted[body["audioUrl"]] += 1
    assert all(times == 1 for times in accepted.values())
    assert creations(provider) == posted(provider).total()
    for each in outcomes:
        # Whatever has a label of its own is known by now, one way or the other.
        assert each.task_id or each.error is not None
