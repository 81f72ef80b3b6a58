"""One song: created once, whatever happens, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from batch.journals import process
from fakes import FakeProvider, bare, envelope, finished, make_client, record
from songs.creating import GENERATE, creations, failed

from vocalsep_async import (
    AuthenticationError,
    CreationUncertainError,
    InvalidArgumentError,
    Journal,
    MaintenanceError,
    RequestTimeoutError,
    Song,
    TaskTimeoutError,
    TransportError,
    VocalSepError,
)

pytestmark = pytest.mark.anyio

SONG = "https://songs.example/Tides.mp3?signature=CANARY"
UNKNOWN = [
    TransportError("reset"),
    RequestTimeoutError("no answer"),
    bare(307, location="https://elsewhere.example/"),
    bare(500),
    bare(502),
    envelope(500, "internal error"),
]


def written_to(path: Path) -> bytes:
    """What a journal, and the files beside it, hold."""
    return b"".join(each.read_bytes() for each in path.parent.iterdir())


async def test_a_song_is_created_waited_for_and_returned(api: FakeProvider) -> None:
    async with make_client() as client:
        outcome = await client.separate(SONG)
    assert outcome.succeeded
    assert (outcome.task_id, outcome.label) == ("task-1", "Tides")
    assert outcome.polls > 0
    assert outcome.elapsed >= 60.0
    assert api.posted[0]["audioUrl"] == SONG


async def test_a_song_of_the_provider_is_named_by_both_ids(api: FakeProvider) -> None:
    async with make_client() as client:
        outcome = await client.separate(("music", "track"), type="split_stem")
    assert outcome.label is None
    assert (api.posted[0]["taskId"], api.posted[0]["audioId"]) == ("music", "track")
    assert api.posted[0]["type"] == "split_stem"


@pytest.mark.parametrize("has_journal", [False, True])
async def test_twenty_calls_for_one_song_share_one_task(
    api: FakeProvider, path: Path, *, has_journal: bool
) -> None:
    async with make_client() as client:
        journal = path if has_journal else None
        outcomes = await asyncio.gather(
            *(client.separate(SONG, journal=journal) for _ in range(20))
        )
    assert {each.task_id for each in outcomes} == {"task-1"}
    assert creations(api) == 1


async def test_a_call_that_comes_while_another_waits_for_the_song_shares_its_task(
    api: FakeProvider,
) -> None:
    async with make_client() as client:
        first = asyncio.create_task(client.separate(SONG))
        await asyncio.sleep(30)
        assert (await client.separate(SONG)).task_id == (await first).task_id
    assert creations(api) == 1


async def test_the_next_run_takes_the_outcome_from_the_journal(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client:
        first = await client.separate(SONG, journal=path)
    requests = len(api.sent)
    async with process(api) as client:
        second = await client.separate(SONG, journal=path)
    assert len(api.sent) == requests
    assert (second.task_id, second.succeeded) == (first.task_id, True)
    assert second.label == "Tides"


async def test_the_next_run_waits_for_the_task_of_one_that_was_cut(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client:
        cut = asyncio.create_task(client.separate(SONG, journal=path))
        await asyncio.sleep(10)
        cut.cancel()
        await asyncio.wait([cut])
    async with process(api) as client:
        assert (await client.separate(SONG, journal=path)).task_id == "task-1"
    assert creations(api) == 1


@pytest.mark.parametrize("answer", UNKNOWN, ids=repr)
async def test_a_creation_of_unknown_fate_is_sent_once_and_reported_ever_after(
    api: FakeProvider, path: Path, answer: VocalSepError
) -> None:
    api.script(GENERATE, answer)
    for _ in range(2):
        async with process(api) as client:
            with pytest.raises(CreationUncertainError, match="may have been created") as caught:
                await client.separate(SONG, journal=path)
            assert caught.value.label == "Tides"
            assert caught.value.reason
    assert creations(api) == 1


async def test_the_error_of_a_creation_of_unknown_fate_keeps_its_cause_and_notes(
    api: FakeProvider,
) -> None:
    api.script(GENERATE, TransportError("reset"))
    async with make_client() as client:
        with pytest.raises(CreationUncertainError) as caught:
            await client.separate(SONG)
    assert isinstance(caught.value.__cause__, TransportError)
    assert "may have been created" in caught.value.__notes__[0]


async def test_a_song_of_unknown_fate_is_created_again_on_request_only(
    api: FakeProvider, path: Path
) -> None:
    api.script(GENERATE, TransportError("reset"))
    async with process(api) as client:
        with pytest.raises(CreationUncertainError):
            await client.separate(SONG, journal=path)
        again = await client.separate(SONG, journal=path, on_uncertain="create")
        assert again.task_id == "task-1"
        assert (await client.separate(SONG, journal=path)).task_id == "task-1"
    assert creations(api) == 2
    async with Journal(path) as journal:
        (kept,) = await journal.intents()
        assert kept.label == "Tides"


async def test_a_song_of_unknown_fate_stays_so_where_another_creation_is_refused(
    api: FakeProvider, path: Path
) -> None:
    api.script(GENERATE, TransportError("reset"), envelope(401, "no"))
    async with process(api) as client:
        with pytest.raises(CreationUncertainError):
            await client.separate(SONG, journal=path)
        with pytest.raises(AuthenticationError):
            await client.separate(SONG, journal=path, on_uncertain="create")
        with pytest.raises(CreationUncertainError, match="reset"):
            await client.separate(SONG, journal=path)
    assert creations(api) == 2


async def test_a_single_song_is_not_tried_for_minutes(api: FakeProvider) -> None:
    api.script(GENERATE, envelope(455, "closed"))
    async with make_client() as client:
        with pytest.raises(MaintenanceError):
            await client.separate(SONG)
    assert creations(api) == 1


async def test_a_song_that_was_refused_is_created_by_the_next_call(
    api: FakeProvider, path: Path
) -> None:
    api.script(GENERATE, envelope(401, "no"))
    async with process(api) as client:
        with pytest.raises(AuthenticationError):
            await client.separate(SONG, journal=path)
        assert (await client.separate(SONG, journal=path)).succeeded


async def test_a_wait_that_fails_leads_to_no_creation(api: FakeProvider, path: Path) -> None:
    api.script("task-1", *[bare(502)] * 500)
    async with process(api) as client:
        for _ in range(2):
            outcome = await client.separate(SONG, journal=path, timeout=600)
            assert isinstance(outcome.error, TaskTimeoutError)
    assert creations(api) == 1


async def test_a_task_that_failed_is_not_created_again(api: FakeProvider, path: Path) -> None:
    api.script("task-1", failed("task-1", "GENERATE_AUDIO_FAILED"))
    async with process(api) as client:
        for _ in range(2):
            outcome = await client.separate(SONG, journal=path)
            assert not outcome.succeeded
            assert outcome.reason is not None
            assert "it failed" in outcome.reason
    assert creations(api) == 1


async def test_a_failed_callback_is_no_failure_of_the_song(api: FakeProvider) -> None:
    answer = finished("task-1")
    api.script(
        "task-1", answer._replace(body=answer.body.replace(b"SUCCESS", b"CALLBACK_EXCEPTION"))
    )
    async with make_client() as client:
        outcome = await client.separate(SONG)
    assert outcome.succeeded
    assert creations(api) == 1


async def test_a_word_for_a_status_that_is_not_known_is_waited_out(api: FakeProvider) -> None:
    api.script("task-1", record("task-1", "REMIXING"), finished("task-1"))
    async with make_client() as client:
        assert (await client.separate(SONG)).succeeded


async def test_a_journal_holds_neither_link_nor_path_of_a_song(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client:
        await client.separate(SONG, journal=path)
    written = written_to(path)
    assert b"CANARY" not in written
    assert b"songs.example" not in written


async def test_a_song_with_another_type_is_another_song(api: FakeProvider, path: Path) -> None:
    async with process(api) as client:
        one = await client.separate(SONG, journal=path)
        other = await client.separate(SONG, journal=path, type="split_stem")
    assert one.task_id != other.task_id


async def test_songs_with_one_key_are_the_same_whatever_their_links(
    api: FakeProvider, path: Path
) -> None:
    async with process(api) as client:
        one = await client.separate(Song(SONG, key="tides"), journal=path)
        same = await client.separate(Song(f"{SONG}&again", key="tides"), journal=path)
        other = await client.separate(f"{SONG}&again", journal=path)
    assert one.task_id == same.task_id != other.task_id


async def test_a_cancelled_call_waits_for_the_answer_to_its_creation(
    api: FakeProvider, path: Path
) -> None:
    api.round_trip = 8.0
    async with process(api) as client:
        call = asyncio.create_task(client.separate(SONG, journal=path))
        await asyncio.sleep(1)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert (await client.separate(SONG, journal=path)).task_id == "task-1"
    assert creations(api) == 1


async def test_a_cancelled_call_waits_for_no_answer_without_end(
    api: FakeProvider, path: Path
) -> None:
    api.round_trip = 60.0
    async with process(api) as client:
        call = asyncio.create_task(client.separate(SONG, journal=path))
        await asyncio.sleep(1)
        call.cancel()
        before = asyncio.get_running_loop().time()
        await asyncio.wait([call])
        assert asyncio.get_running_loop().time() - before == 10.0
        with pytest.raises(CreationUncertainError, match="the program ended before"):
            await client.separate(SONG, journal=path)
    assert creations(api) == 1


async def test_a_call_that_joins_a_cancelled_one_gets_its_task(api: FakeProvider) -> None:
    api.round_trip = 8.0
    async with make_client() as client:
        first = asyncio.create_task(client.separate(SONG))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(1)
        assert (await client.separate(SONG)).task_id == "task-1"
    assert creations(api) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"type": "karaoke"},
        {"type": None},
        {"on_uncertain": "retry"},
        {"label": ""},
        {"timeout": -1},
        {"callback_url": "ftp://x"},
        {"stem_name": " "},
        {"download_to": ""},
    ],
)
async def test_a_wrong_argument_is_an_error_before_anything_is_sent(
    api: FakeProvider, path: Path, options: dict[str, object]
) -> None:
    async with process(api) as client:
        with pytest.raises(InvalidArgumentError):
            await client.separate(SONG, journal=path, **options)  # type: ignore[arg-type]
    assert written_to(path) == b""
    assert api.sent == []
