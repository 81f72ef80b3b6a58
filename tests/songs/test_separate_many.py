"""Many songs: one outcome and one creation for each, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch.journals import process
from fakes import FakeProvider, bare, envelope, is_idle, make_client
from songs.creating import GENERATE, creations, failed

from vocalsep_async import (
    ConfigurationError,
    CreationUncertainError,
    InsufficientCreditsError,
    InvalidArgumentError,
    JournalError,
    NotBegunError,
    RateLimit,
    Song,
    SongRunner,
    TaskOutcome,
    TransportError,
)
from vocalsep_async.providers import KIE_JOBS

pytestmark = pytest.mark.anyio

NO_CREDITS = envelope(429, "no credits")


def songs(number: int) -> list[str]:
    return [f"https://songs.example/{each}.mp3" for each in range(1, number + 1)]


async def outcomes_of(run: SongRunner) -> dict[str | None, TaskOutcome]:
    return {outcome.label: outcome async for outcome in run}


async def test_each_song_has_one_outcome_and_one_creation(api: FakeProvider) -> None:
    async with make_client() as client, client.separate_many(songs(5)) as run:
        outcomes = await outcomes_of(run)
        stats = run.stats
    assert set(outcomes) == {"1", "2", "3", "4", "5"}
    assert all(each.succeeded for each in outcomes.values())
    assert creations(api) == 5
    assert (stats.songs, stats.succeeded, stats.created, stats.pending) == (5, 5, 5, 0)
    assert is_idle()


async def test_no_more_songs_are_under_way_than_are_allowed(api: FakeProvider) -> None:
    async with make_client() as client, client.separate_many(songs(9), max_pending=3) as run:
        created: list[float] = []
        async for _ in run:
            stats = run.stats
            assert stats.created <= stats.succeeded + 3
            created.append(asyncio.get_running_loop().time())
    assert len(created) == 9


async def test_a_song_that_comes_twice_has_two_outcomes_and_one_task(api: FakeProvider) -> None:
    twice: list[Song | str] = [
        Song(songs(1)[0], label="a"),
        Song(songs(1)[0], label="b"),
        songs(2)[1],
    ]
    async with make_client() as client, client.separate_many(twice) as run:
        outcomes = await outcomes_of(run)
        assert run.stats.joined == 1
    assert outcomes["a"].task_id == outcomes["b"].task_id != outcomes["2"].task_id
    assert creations(api) == 2


async def test_a_song_that_comes_again_when_it_has_ended_is_not_created_again(
    api: FakeProvider,
) -> None:
    again = [Song(songs(1)[0], label="a"), Song(songs(1)[0], label="b")]
    async with make_client() as client, client.separate_many(again, max_pending=1) as run:
        outcomes = await outcomes_of(run)
    assert outcomes["a"].task_id == outcomes["b"].task_id
    assert creations(api) == 1


async def test_the_second_song_of_a_label_is_an_error_before_anything_is_sent(
    api: FakeProvider,
) -> None:
    same = [Song(songs(1)[0], label="Tides"), Song(songs(2)[1], label="TIDES")]
    async with make_client() as client, client.separate_many(same) as run:
        outcomes = await outcomes_of(run)
    assert outcomes["Tides"].succeeded
    assert isinstance(outcomes["TIDES"].error, InvalidArgumentError)
    assert creations(api) == 1


async def test_a_song_that_cannot_be_read_leaves_its_label_to_the_next(
    api: FakeProvider, path: Path
) -> None:
    same = [Song(path.with_name("nowhere.mp3"), label="Tides"), Song(songs(1)[0], label="Tides")]
    async with make_client() as client, client.separate_many(same) as run:
        outcomes = [outcome async for outcome in run]
    assert sorted(each.succeeded for each in outcomes) == [False, True]


async def test_one_song_that_fails_does_not_affect_the_others(api: FakeProvider) -> None:
    api.script(GENERATE, envelope(422, "bad song"))
    async with make_client() as client, client.separate_many(songs(4)) as run:
        outcomes = await outcomes_of(run)
        assert run.stats.failed == 1
    assert sorted(each.succeeded for each in outcomes.values()) == [False, True, True, True]


async def test_a_creation_of_unknown_fate_is_listed_and_not_repeated(
    api: FakeProvider, path: Path
) -> None:
    api.script(GENERATE, TransportError("reset"))
    for known in (0, 2):
        async with process(api) as client, client.separate_many(songs(3), journal=path) as run:
            outcomes = await outcomes_of(run)
            assert (run.stats.uncertain, run.stats.known) == (1, known)
        assert (
            sum(isinstance(each.error, CreationUncertainError) for each in outcomes.values()) == 1
        )
    assert creations(api) == 3


@pytest.mark.parametrize("is_created", [False, True])
async def test_a_run_ends_its_creations_when_the_credits_end_and_goes_on_later(
    api: FakeProvider, path: Path, *, is_created: bool
) -> None:
    if is_created:
        lacks = failed("task-7", "CREATE_TASK_FAILED", "credits insufficient", 402)
        api.script("task-7", lacks)
    options: dict[str, Any] = {"max_pending": 2, "journal": path}
    async with process(api) as client, client.separate_many(songs(50), **options) as run:
        outcomes: dict[str | None, TaskOutcome] = {}
        async for outcome in run:
            outcomes[outcome.label] = outcome
            if run.stats.succeeded == 6 and not is_created:
                api.script(GENERATE, *[NO_CREDITS] * 50)
        stats = run.stats
    assert len(outcomes) == 50
    assert stats.succeeded in (6, 7)
    assert stats.not_begun >= 40
    not_begun = [each.error for each in outcomes.values() if isinstance(each.error, NotBegunError)]
    assert all("not begun" in str(error) for error in not_begun)
    assert all(isinstance(error.cause, InsufficientCreditsError) for error in not_begun)
    before = creations(api)
    api._scripts.clear()
    async with process(api) as client, client.separate_many(songs(50), journal=path) as run:
        later = await outcomes_of(run)
        assert run.stats.known == stats.succeeded
    assert all(each.succeeded for each in later.values())
    assert creations(api) - before == 50 - stats.succeeded


async def test_what_runs_when_the_credits_end_is_waited_for(api: FakeProvider) -> None:
    async def source() -> AsyncIterator[str]:
        for number, each in enumerate(songs(9)):
            if number == 3:
                api.script(GENERATE, NO_CREDITS)
            yield each

    async with make_client() as client, client.separate_many(source(), max_pending=3) as run:
        outcomes = [outcome async for outcome in run]
    assert sum(each.succeeded for each in outcomes) >= 2
    assert creations(api) <= 6


async def test_no_creation_exceeds_the_credits_of_a_run(api: FakeProvider, path: Path) -> None:
    price = 10.0
    async with process(api) as client:
        options: dict[str, Any] = {"max_credits": 3 * price, "journal": path}
        async with client.separate_many(songs(5), **options) as run:
            outcomes = await outcomes_of(run)
            assert run.stats.credits_spent == 3 * price
            assert run.stats.not_begun == 2
    assert creations(api) == 3
    assert sum(isinstance(each.error, NotBegunError) for each in outcomes.values()) == 2


async def test_a_creation_that_may_have_been_accepted_counts_as_spent(api: FakeProvider) -> None:
    api.script(GENERATE, bare(502))
    options: dict[str, Any] = {"max_credits": 20, "max_pending": 1}
    async with make_client() as client, client.separate_many(songs(3), **options) as run:
        await outcomes_of(run)
        assert (run.stats.uncertain, run.stats.created, run.stats.not_begun) == (1, 1, 1)


async def test_a_creation_that_was_refused_costs_nothing(api: FakeProvider) -> None:
    api.script(GENERATE, envelope(422, "bad song"))
    async with make_client() as client, client.separate_many(songs(3), max_credits=20) as run:
        await outcomes_of(run)
        assert (run.stats.failed, run.stats.created, run.stats.not_begun) == (1, 2, 0)


async def test_an_unknown_price_with_a_limit_is_an_error_before_anything_is_sent(
    api: FakeProvider,
) -> None:
    unknown = KIE_JOBS.__class__(name="x", codes={}, credits_path="/c", hosts=frozenset())
    async with make_client(provider=unknown) as client:
        run = client.separate_many(songs(2), max_credits=100)
        with pytest.raises(ConfigurationError, match="price"):
            await run.__aenter__()
    assert api.sent == []


async def test_an_unknown_price_without_a_limit_is_said(api: FakeProvider) -> None:
    unknown = KIE_JOBS.__class__(name="x", codes={}, credits_path="/c", hosts=frozenset())
    async with make_client(provider=unknown) as client, client.separate_many(songs(1)) as run:
        await outcomes_of(run)
        assert run.stats.credits_spent is None


async def test_a_failed_task_is_submitted_again_as_often_as_was_asked(
    api: FakeProvider, path: Path
) -> None:
    for number in (1, 2):
        api.script(f"task-{number}", failed(f"task-{number}", "GENERATE_AUDIO_FAILED"))
    for resubmit, expected in ((0, 1), (1, 2), (2, 3), (2, 3)):
        options: dict[str, Any] = {"resubmit": resubmit, "journal": path}
        async with process(api) as client, client.separate_many(songs(1), **options) as run:
            (outcome,) = [each async for each in run]
        assert creations(api) == expected
        assert outcome.task_id == f"task-{expected}"
    assert outcome.succeeded


async def test_other_failures_are_not_submitted_again(api: FakeProvider) -> None:
    api.script("task-1", failed("task-1", "CREATE_TASK_FAILED"))
    async with make_client() as client, client.separate_many(songs(1), resubmit=3) as run:
        (outcome,) = [each async for each in run]
    assert outcome.status == "CREATE_TASK_FAILED"
    assert not outcome.succeeded
    assert creations(api) == 1


async def test_an_endless_source_is_read_no_further_ahead_than_songs_may_be_pending(
    api: FakeProvider,
) -> None:
    given = 0

    def endless() -> Iterator[str]:
        nonlocal given
        while True:
            given += 1
            yield f"https://songs.example/{given}.mp3"

    async with make_client() as client, client.separate_many(endless(), max_pending=4) as run:
        taken = 0
        async for _ in run:
            taken += 1
            assert given <= taken + 2 * 4
            if taken == 12:
                break
    assert is_idle()


async def test_the_error_of_a_source_comes_after_what_was_begun(api: FakeProvider) -> None:
    async def breaks() -> AsyncIterator[str]:
        for each in songs(3):
            yield each
        raise OSError("the list is gone")

    async with make_client() as client, client.separate_many(breaks()) as run:
        assert [(await anext(run)).succeeded for _ in range(3)] == [True] * 3
        with pytest.raises(OSError, match="gone"):
            await anext(run)
        assert [each async for each in run] == []


async def test_a_run_that_is_left_early_loses_no_id(api: FakeProvider, path: Path) -> None:
    api.round_trip = 2.0
    async with process(api) as client:
        async with client.separate_many(songs(30), journal=path) as run:
            await asyncio.sleep(5)
        begun = creations(api)
        assert 0 < begun < 30
        assert run.stats.succeeded == 0
    assert is_idle()
    async with process(api) as client, client.separate_many(songs(30), journal=path) as run:
        outcomes = await outcomes_of(run)
        assert run.stats.known == begun
    assert all(each.succeeded for each in outcomes.values())
    assert creations(api) == 30


async def test_a_wrong_song_of_a_collection_is_an_error_before_anything_is_sent(
    api: FakeProvider,
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError):
            async with client.separate_many([*songs(2), 7]):  # type: ignore[list-item]
                raise AssertionError("it was entered")
    assert api.sent == []


@pytest.mark.parametrize("sources", ["song.mp3", b"RIFF", Path("a"), Song("a"), 7, None])
async def test_a_single_song_is_not_taken_for_many(api: FakeProvider, sources: Any) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="songs"):
            client.separate_many(sources)
    assert api.sent == []


async def test_a_run_is_entered_once_and_used_within_its_block(api: FakeProvider) -> None:
    async with make_client() as client:
        run = client.separate_many(songs(1))
        assert repr(run) == "<SongRunner, not entered>"
        with pytest.raises(ConfigurationError, match="block"):
            await anext(run)
        with pytest.raises(ConfigurationError, match="block"):
            _ = run.stats
        async with run:
            assert repr(run) == "<SongRunner: 0 pending, 0 finished>"
            with pytest.raises(ConfigurationError, match="once"):
                await run.__aenter__()
        assert api.sent == []


async def test_a_journal_that_cannot_be_used_is_an_error_of_the_block(
    api: FakeProvider, path: Path
) -> None:
    async with process(api, base_url="https://api.kie.ai") as client:
        await client.separate(songs(1)[0], journal=path)
    async with process(api) as client:
        with pytest.raises(JournalError, match="base_url"):
            await client.separate_many(songs(1), journal=path).__aenter__()
        assert client._engine.journals._open == {}


async def test_creations_come_before_polls_while_fewer_songs_are_pending(
    api: FakeProvider,
) -> None:
    limit = RateLimit(20, 10.0)
    async with make_client(rate_limit=limit) as client, client.separate_many(songs(40)) as run:
        await asyncio.sleep(25)
        assert creations(api) >= 36
        await outcomes_of(run)
