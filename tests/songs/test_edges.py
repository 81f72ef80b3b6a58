"""What goes wrong beside the way of a song: journals, consumers, sources and other calls."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from batch.journals import process
from fakes import FakeProvider, bare, envelope, is_idle, make_client, record
from songs.creating import GENERATE, creations, failed

from vocalsep_async import (
    KIE_JOBS,
    AuthenticationError,
    ClientClosedError,
    Journal,
    JournalError,
    NotBegunError,
    Song,
    SongRunner,
    TaskFailedError,
    TransportError,
    VocalSepClient,
)
from vocalsep_async._journal.store import Store

pytestmark = pytest.mark.anyio

SONG = "https://songs.example/Tides.mp3"


def songs(number: int) -> list[str]:
    return [f"https://songs.example/{each}.mp3" for each in range(1, number + 1)]


def breaks_writing(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Have the journal fail at each statement with *word* in it."""
    apply = Store.apply

    def broken(store: Store, writes: Any, *, durably: bool = False) -> int:
        writes = list(writes)
        if any(word in statement for statement, _ in writes):
            raise JournalError("the disk is full")
        return apply(store, writes, durably=durably)

    monkeypatch.setattr(Store, "apply", broken)


async def drained(run: SongRunner) -> None:
    async for _ in run:
        """Only its end counts."""


async def test_calls_share_a_journal_that_one_of_them_has_open(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client:
        one, other = songs(2)
        first = asyncio.create_task(client.separate(one, journal=path))
        await asyncio.sleep(5)
        assert (await client.separate(other, journal=path.parent / "." / path.name)).succeeded
        assert (await first).succeeded
        assert client._engine.journals._open == {}
        assert (await client.separate(one, journal=path)).succeeded
    assert creations(api) == 2


async def test_a_call_that_comes_while_the_journal_is_closed_opens_it_again(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client:
        for each in songs(3):
            await asyncio.gather(
                client.separate(each, journal=path), client.separate(SONG, journal=path)
            )
    assert creations(api) == 4


async def test_a_journal_that_was_opened_elsewhere_can_be_used(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client, Journal(path) as journal:
        outcomes = await asyncio.gather(*(client.separate(SONG, journal=journal) for _ in "ab"))
        assert {each.task_id for each in outcomes} == {"task-1"}
        assert (await journal._file.known())[0].ref.label == "Tides"


async def test_a_journal_that_cannot_be_opened_is_an_error_and_left_alone(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client:
        with pytest.raises(JournalError):
            await client.separate(SONG, journal=path.parent)
        assert client._engine.journals._open == {}
    assert api.sent == []


async def test_an_intent_that_cannot_be_written_sends_nothing(
    api: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_writing(monkeypatch, "INSERT INTO intents")
    async with process(api) as client:
        with pytest.raises(JournalError, match="full"):
            await client.separate(SONG, journal=path)
        assert client.stats.in_flight == 0
    assert creations(api) == 0


async def test_an_id_that_cannot_be_written_is_in_the_error_and_not_created_again(
    api: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        breaks_writing(patch, "SET task_id")
        async with process(api) as client:
            with pytest.raises(JournalError, match="with the id task-1"):
                await client.separate(SONG, journal=path)
    async with process(api) as client:
        with pytest.raises(Exception, match="may have been created"):
            await client.separate(SONG, journal=path)
    assert creations(api) == 1


async def test_a_run_whose_journal_fails_creates_no_more_and_raises(
    api: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(api) as client:
        run = client.separate_many(songs(30), journal=path, max_pending=3)
        await run.__aenter__()
        await anext(run)
        breaks_writing(monkeypatch, "INSERT OR IGNORE INTO ended")
        with pytest.raises(JournalError, match="full"):
            await drained(run)
        sent = creations(api)
        await asyncio.sleep(100)
        assert creations(api) == sent < 30
        with pytest.raises(JournalError, match="full"):
            await run.__aexit__(None, None, None)
        assert client._engine.journals._open == {}
    assert is_idle()


async def test_an_error_that_cannot_be_recorded_is_noted_on_that_of_the_creation(
    api: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_writing(monkeypatch, "SET error")
    api.script(GENERATE, TransportError("reset"))
    async with process(api) as client:
        with pytest.raises(Exception, match="may have been created") as caught:
            await client.separate(SONG, journal=path)
    assert any("could not record" in note for note in caught.value.__notes__)


async def test_a_song_whose_task_the_journal_has_lost_is_waited_for_by_its_id(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client:
        await client.separate(SONG, journal=path)
    on_disk(path, "DELETE FROM ended")
    on_disk(path, "DELETE FROM added")
    async with process(api) as client:
        outcome = await client.separate(SONG, journal=path)
    assert (outcome.task_id, outcome.succeeded) == ("task-1", True)
    assert creations(api) == 1


def on_disk(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


async def test_a_success_without_links_is_waited_for_once(api: FakeProvider, path: Path) -> None:
    api.script("task-1", *[record("task-1", "SUCCESS", response={})] * 500)
    took = []
    for _ in range(2):
        async with process(api) as client:
            before = asyncio.get_running_loop().time()
            outcome = await client.separate(SONG, journal=path)
            took.append(asyncio.get_running_loop().time() - before)
            assert isinstance(outcome.error, TaskFailedError)
            assert outcome.task is None
    assert took[0] > 50
    assert took[1] < 10
    assert creations(api) == 1


async def test_a_client_that_is_closed_leaves_the_id_in_the_outcome(api: FakeProvider) -> None:
    async with make_client() as client:
        call = asyncio.create_task(client.separate(SONG))
        await asyncio.sleep(10)
        await client.aclose()
        outcome = await call
    assert outcome.task_id == "task-1"
    assert isinstance(outcome.error, ClientClosedError)


async def test_a_closed_client_separates_nothing(api: FakeProvider) -> None:
    client = make_client()
    async with client:
        pass
    with pytest.raises(ClientClosedError):
        await client.separate(SONG)
    async with client.separate_many([SONG]) as run:
        outcome = await anext(run)
    assert isinstance(outcome.error, ClientClosedError)
    assert creations(api) == 0


async def test_a_rejected_key_ends_the_creations_of_a_run(api: FakeProvider) -> None:
    api.script(GENERATE, *[envelope(401, "no")] * 50)
    async with make_client() as client, client.separate_many(songs(40), max_pending=2) as run:
        errors = [outcome.error async for outcome in run]
    assert creations(api) <= 2
    causes = [error.cause for error in errors if isinstance(error, NotBegunError)]
    assert len(causes) >= 38
    assert all(isinstance(cause, AuthenticationError) for cause in causes)


async def test_an_iterator_is_read_no_further_when_the_credits_have_ended(
    api: FakeProvider,
) -> None:
    def endless() -> Iterator[str]:
        for number in range(10_000):
            if number == 10:
                api.script(GENERATE, *[envelope(429, "no credits")] * 9)
            yield f"https://songs.example/{number}.mp3"

    async with make_client() as client, client.separate_many(endless(), max_pending=3) as run:
        outcomes = [outcome async for outcome in run]
    assert 10 <= len(outcomes) <= 16


async def test_a_slow_consumer_of_an_endless_source_stops_its_reading(api: FakeProvider) -> None:
    given = 0

    def endless() -> Iterator[str]:
        nonlocal given
        while True:
            given += 1
            yield f"https://songs.example/{given}.mp3"

    async with make_client() as client, client.separate_many(endless(), max_pending=3) as run:
        await asyncio.sleep(3600)
        assert given <= 7
        assert (await anext(run)).succeeded
        await asyncio.sleep(3600)
        assert given <= 8


async def test_of_an_endless_source_only_the_last_songs_are_kept(
    api: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocalsep_async._songs.runner._REMEMBERED", 2)
    again = [*songs(6), *songs(6)]
    options: dict[str, Any] = {"max_pending": 1, "journal": path}
    async with process(api) as client, client.separate_many(iter(again), **options) as run:
        outcomes = [outcome async for outcome in run]
        assert len(run._outcomes) == 2  # type: ignore[attr-defined]
        assert client._engine.songs.claims._shared == {}
        assert (run.stats.created, run.stats.known) == (6, 6)
    assert [each.task_id for each in outcomes[:6]] == [each.task_id for each in outcomes[6:]]
    assert creations(api) == 6


def held(api: FakeProvider, task_id: str) -> asyncio.Event:
    """Have that task run until the event is set."""
    is_over = asyncio.Event()
    answer = api.every_answer
    assert answer is not None

    def unless_held(asked: str) -> Any:
        return record(asked) if asked == task_id and not is_over.is_set() else answer(asked)

    api.every_answer = unless_held
    return is_over


async def test_a_song_that_is_under_way_is_not_forgotten(
    api: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocalsep_async._songs.runner._REMEMBERED", 1)
    may_end = held(api, "task-1")

    async def source() -> AsyncIterator[Song]:
        yield Song(SONG, label="slow")
        for number, each in enumerate(songs(3), 1):
            await asyncio.sleep(200)
            assert (run.stats.created, run.stats.succeeded) == (number, number - 1)
            yield Song(each, label=f"quick {number}")
        await asyncio.sleep(200)
        yield Song(SONG, label="copy")
        may_end.set()

    async with make_client() as client, client.separate_many(source()) as run:
        outcomes = {outcome.label: outcome async for outcome in run}
        assert run.stats.joined == 1
    assert outcomes["slow"].task_id == "task-1"
    # Of a song that had been forgotten, the copy would have an outcome of its own.
    assert outcomes["copy"] == evolve(outcomes["slow"], label="copy")
    assert creations(api) == 4


async def test_a_song_under_way_does_not_keep_those_that_ended_meanwhile(
    api: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocalsep_async._songs.runner._REMEMBERED", 2)
    held(api, "task-1")
    source = iter([SONG, *songs(9)])
    async with make_client() as client, client.separate_many(source, max_pending=2) as run:
        for _ in range(9):
            assert (await anext(run)).succeeded
        assert len(run._outcomes) == 3  # type: ignore[attr-defined]


async def test_of_songs_that_failed_only_the_last_are_kept(
    api: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocalsep_async._songs.runner._REMEMBERED", 2)
    api.script(GENERATE, *[envelope(422, "bad song")] * 9)
    async with make_client() as client, client.separate_many(iter(songs(9))) as run:
        await drained(run)
        assert run.stats.failed == 9
        assert len(run._outcomes) == 2  # type: ignore[attr-defined]


async def test_of_the_labels_of_an_endless_source_only_the_last_are_kept(
    api: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocalsep_async._songs.runner._REMEMBERED", 2)
    again: list[Song | str] = [*songs(5), Song(SONG, label="1"), Song(SONG, label="5")]
    async with make_client() as client, client.separate_many(iter(again), max_pending=1) as run:
        outcomes = [outcome async for outcome in run]
        assert len(run._labels._names) == 2  # type: ignore[attr-defined]
    # The label of a song that is forgotten may be taken, and that of one that is not may not.
    assert [each.label for each in outcomes if not each.succeeded] == ["5"]
    assert creations(api) == 6


async def test_a_source_that_is_cancelled_from_outside_is_an_error(api: FakeProvider) -> None:
    async def cancelled() -> AsyncIterator[str]:
        yield SONG
        raise asyncio.CancelledError

    async with make_client() as client, client.separate_many(cancelled()) as run:
        assert (await anext(run)).succeeded
        with pytest.raises(Exception, match="cancelled by something"):
            await anext(run)


def test_a_source_that_ends_the_program_ends_it() -> None:
    def source() -> Iterator[str]:
        yield SONG
        sys.exit(7)

    async def separate() -> None:
        client = VocalSepClient("key", base_url="http://127.0.0.1:9")
        async with client, client.separate_many(source()) as run:
            await drained(run)

    with pytest.raises(SystemExit) as caught:
        asyncio.run(separate())
    assert caught.value.code == 7


@pytest.mark.parametrize(
    "answer",
    [
        envelope(455, "closed"),
        envelope(430, "too often"),
        TransportError("refused", may_have_arrived=False),
    ],
    ids=["maintenance", "throttling", "no connection"],
)
async def test_a_run_waits_minutes_of_bad_times_out_before_a_song_is_created(
    api: FakeProvider, path: Path, answer: Any
) -> None:
    began = asyncio.get_running_loop().time()
    created = api.every_answer

    def until_better(asked: str) -> Any:
        is_bad = asyncio.get_running_loop().time() - began < 300
        assert created is not None
        return answer if is_bad and asked == GENERATE else created(asked)

    api.every_answer = until_better
    async with process(api) as client, client.separate_many(songs(5), journal=path) as run:
        outcomes = [outcome async for outcome in run]
    assert all(each.succeeded for each in outcomes)


async def test_a_run_does_not_wait_for_better_times_without_end(api: FakeProvider) -> None:
    api.script(GENERATE, *[TransportError("refused", may_have_arrived=False)] * 5000)
    async with make_client() as client, client.separate_many(songs(2)) as run:
        before = asyncio.get_running_loop().time()
        errors = [outcome.error async for outcome in run]
        took = asyncio.get_running_loop().time() - before
    assert all(isinstance(error, TransportError) for error in errors)
    assert 600 <= took < 900


async def test_a_failed_task_of_another_kind_ends_no_run(api: FakeProvider) -> None:
    api.script("task-1", failed("task-1", "CREATE_TASK_FAILED", "the song is too long"))
    async with make_client() as client, client.separate_many(songs(3), max_pending=1) as run:
        outcomes = [outcome async for outcome in run]
    assert sorted(each.succeeded for each in outcomes) == [False, True, True]


async def test_a_song_that_failed_keeps_its_outcome_when_there_is_no_money_for_another_try(
    api: FakeProvider,
) -> None:
    api.script("task-1", failed("task-1", "GENERATE_AUDIO_FAILED"))
    options: dict[str, Any] = {"resubmit": 1, "max_credits": 10}
    async with make_client() as client, client.separate_many(songs(1), **options) as run:
        (outcome,) = [each async for each in run]
    assert outcome.task_id == "task-1"
    assert creations(api) == 1


async def test_a_call_that_shares_the_song_of_a_run_is_not_bound_by_its_credits(
    api: FakeProvider,
) -> None:
    async with make_client() as client, client.separate_many(songs(2), max_credits=10) as run:
        other = asyncio.create_task(client.separate(songs(2)[1]))
        outcomes = [outcome async for outcome in run]
        assert (await other).succeeded
    assert sum(isinstance(each.error, NotBegunError) for each in outcomes) <= 1


async def test_jobs_of_kie_are_created_without_a_callback_url(api: FakeProvider) -> None:
    api.script(KIE_JOBS.creation_path, bare(502))
    async with make_client(provider=KIE_JOBS) as client:
        with pytest.raises(Exception, match="may have been created"):
            await client.separate(SONG)
    assert "callBackUrl" not in api.posted[0]


async def test_without_a_timeout_a_song_is_waited_for_without_end(api: FakeProvider) -> None:
    for number in range(1, 3):
        api.add(f"task-{number}", 5000.0)
    async with make_client() as client:
        outcome = await client.separate(SONG, timeout=None)
    assert outcome.succeeded
