"""A journal holds one creation for each song."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from journal.running import using

from vocalsep_async import JournalError, TaskRef
from vocalsep_async._journal.journal import JournalFile

pytestmark = pytest.mark.anyio

REQUEST = {"type": "split_stem"}


async def test_a_claim_is_known_to_the_next_run(path: Path) -> None:
    before = datetime.now(UTC)
    async with using(JournalFile(path)) as journal:
        number = await journal.intend(REQUEST, identity="song", label="Song")
    async with using(JournalFile(path)) as journal:
        claim = await journal.claim("song")
        (intent,) = await journal.intents()
    assert claim is not None
    assert (claim.number, claim.task_id, claim.error) == (number, None, None)
    assert before <= claim.began_at <= datetime.now(UTC)
    assert intent.label == "Song"


async def test_a_claim_has_the_id_of_its_task_once_that_is_known(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        number = await journal.intend(REQUEST, identity="song")
        await journal.created(number, TaskRef("id"))
        claim = await journal.claim("song")
        assert claim is not None
        assert claim.task_id == "id"
        assert await journal.claim("another") is None


async def test_a_second_claim_of_a_song_is_refused(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        await journal.intend(REQUEST, identity="song")
        with pytest.raises(JournalError, match="UNIQUE"):
            await journal.intend(REQUEST, identity="song")
        assert len(await journal.intents()) == 1


async def test_a_creation_that_failed_for_certain_gives_its_song_free(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        number = await journal.intend(REQUEST, identity="song")
        await journal.not_created(number, None)
        assert await journal.claim("song") is None


async def test_a_creation_whose_result_is_unknown_keeps_its_song(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        number = await journal.intend(REQUEST, identity="song")
        await journal.not_created(number, "no answer came")
        claim = await journal.claim("song")
    assert claim is not None
    assert (claim.task_id, claim.error) == (None, "no answer came")


async def test_an_intent_that_takes_the_place_of_another_one_keeps_it_without_its_song(
    path: Path,
) -> None:
    async with using(JournalFile(path)) as journal:
        first = await journal.intend(REQUEST, identity="song")
        second = await journal.intend(REQUEST, identity="song", replaces=first)
        assert second != first
        assert len(await journal.intents()) == 2
        claim = await journal.claim("song")
        assert claim is not None
        assert claim.number == second


async def test_intents_that_take_the_place_of_others_at_once_have_numbers_of_their_own(
    path: Path,
) -> None:
    songs = [f"song {number}" for number in range(20)]
    async with using(JournalFile(path)) as journal:
        first = [await journal.intend(REQUEST, identity=song) for song in songs]
        again = [
            journal.intend(REQUEST, identity=song, replaces=number)
            for song, number in zip(songs, first, strict=True)
        ]
        numbers = await asyncio.gather(*again)
        for song, number in zip(songs, numbers, strict=True):
            claim = await journal.claim(song)
            assert claim is not None
            assert claim.number == number


async def test_a_journal_keeps_its_secret_and_shares_it_with_no_other(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        secret = await journal.secret()
        assert await journal.secret() == secret
    async with using(JournalFile(path)) as journal:
        assert await journal.secret() == secret
    async with using(JournalFile(path.with_name("other"))) as journal:
        assert await journal.secret() != secret
    assert len(secret) == 32


async def test_a_damaged_secret_is_an_error(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        journal._open_store().apply([("INSERT INTO meta VALUES ('secret', 'none')", ())])
        with pytest.raises(JournalError, match="damaged"):
            await journal.secret()


async def test_one_task_is_read_with_what_was_written_last(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        journal.add([TaskRef("id", label="Song")])
        row = await journal.task("id")
        assert row is not None
        assert (row.task_id, row.label, row.record) == ("id", "Song", None)
        assert await journal.task("another") is None
