"""Creations with a journal: none is forgotten, and none is made twice."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.journals import journals_in_virtual_time, process
from batch.tracking import outcomes_of
from fakes import Answer, FakeProvider, bare, envelope, make_client
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    APIError,
    ClientClosedError,
    ErrorAction,
    Intent,
    InvalidArgumentError,
    Journal,
    JournalError,
    RateLimit,
    SeparationType,
    ServerError,
    TransportError,
    VocalSepClient,
    VocalSepError,
)

pytestmark = pytest.mark.anyio

GENERATE = "/api/v1/vocal-removal/generate"
CREATED = envelope(200, data={"taskId": "new"})
SONG = {
    "callback_url": "https://hook.example/cb?token=CANARY1",
    "audio_url": "https://songs.example/a.mp3?signature=CANARY2",
}
NOT_SENT = TransportError("throttled", may_have_arrived=False)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    journals_in_virtual_time(monkeypatch)
    return tmp_path / "made.journal"


async def create(client: VocalSepClient, journal: Any, **options: Any) -> Any:
    return await client.create_task(journal=journal, **{**SONG, **options})


async def intents_in(path: Path) -> tuple[Intent, ...]:
    async with Journal(path) as journal:
        return await journal.intents()


def on_disk(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def contents(folder: Path) -> list[bytes]:
    return [each.read_bytes() for each in folder.iterdir()]


async def test_the_intent_is_written_before_the_request_and_the_id_after_it(
    provider: FakeProvider, path: Path
) -> None:
    def answered() -> Any:
        assert on_disk(path, "SELECT task_id, error FROM intents") == [(None, None)]
        return CREATED

    provider.script(GENERATE, answered)
    async with make_client() as client, Journal(path) as journal:
        ref = await create(client, journal, type="split_stem")
        assert ref.task_id == "new"
        assert await journal.intents() == ()
        (known,) = await journal._file.known()
        assert known.ref.task_id == "new"
        assert known.ref.type is SeparationType.SPLIT_STEM
        assert known.ref.created_at is not None
        assert ref.created_at is not None
        assert abs((known.ref.created_at - ref.created_at).total_seconds()) < 0.001
    assert on_disk(path, "SELECT task_id FROM intents") == [("new",)]
    assert len(provider.posted) == 1


async def test_a_created_task_is_tracked_by_the_next_batch(
    provider: FakeProvider, path: Path
) -> None:
    provider.script(GENERATE, CREATED)
    async with process(provider) as client, Journal(path) as journal:
        await create(client, journal)
    async with process(provider) as client, client.track(journal=path) as batch:
        outcomes = await outcomes_of(batch)
    assert outcomes["new"].succeeded
    assert len(provider.posted) == 1


async def test_a_creation_that_is_cancelled_before_it_is_sent_leaves_no_intent(
    provider: FakeProvider, path: Path
) -> None:
    def cancelled() -> Any:
        error = asyncio.CancelledError()
        error.may_have_arrived = False  # type: ignore[attr-defined]
        raise error

    provider.script(GENERATE, cancelled)
    async with make_client() as client, Journal(path) as journal:
        with pytest.raises(asyncio.CancelledError):
            await create(client, journal)
        assert await journal.intents() == ()


async def test_a_creation_that_waits_for_its_slot_has_no_intent(
    provider: FakeProvider, path: Path
) -> None:
    async with make_client(rate_limit=RateLimit(1, 10.0)) as client, Journal(path) as journal:
        provider.script(GENERATE, CREATED, CREATED)
        await create(client, journal)
        waiting = asyncio.create_task(create(client, journal))
        await asyncio.sleep(5)
        assert await journal.intents() == ()
        await waiting
    assert len(provider.posted) == 2


async def test_without_a_journal_nothing_is_written(provider: FakeProvider, path: Path) -> None:
    provider.script(GENERATE, CREATED)
    async with make_client() as client:
        await create(client, None)
    assert on_disk(path, "SELECT * FROM sqlite_master") == []


@pytest.mark.parametrize(
    "answers",
    [
        [envelope(401, "no")],
        [envelope(429, "no credits")],
        [envelope(422, "bad")],
        [envelope(455, "closed")],
        [envelope(430, "too often")] * 4,
        [NOT_SENT] * 4,
        [TransportError("bad certificate", may_have_arrived=False, action=ErrorAction.RAISE)],
    ],
)
async def test_an_error_that_created_nothing_leaves_no_intent(
    provider: FakeProvider, path: Path, answers: list[Answer]
) -> None:
    provider.script(GENERATE, *answers)
    async with make_client() as client, Journal(path) as journal:
        with pytest.raises(VocalSepError) as caught:
            await create(client, journal)
    assert not hasattr(caught.value, "__notes__")
    assert on_disk(path, "SELECT * FROM intents") == []
    assert len(provider.posted) == len(answers)


@pytest.mark.parametrize(
    "answer",
    [
        TransportError("cut"),
        envelope(500, "broken"),
        envelope(501, "broken"),
        envelope(200, data={"id": 7}),
        envelope(200),
        bare(429),
        bare(430, b"<html>slow down</html>"),
        bare(430, b'{"error": "slow down"}', Retry_After="1"),
    ],
)
async def test_an_ambiguous_error_keeps_the_intent_and_is_recorded(
    provider: FakeProvider, path: Path, answer: Answer
) -> None:
    provider.script(GENERATE, answer)
    async with make_client() as client, Journal(path) as journal:
        with pytest.raises(VocalSepError) as caught:
            await create(client, journal, type="split_stem")
        assert any("may have been created" in note for note in caught.value.__notes__)
    (intent,) = await intents_in(path)
    assert intent.error == str(caught.value)
    assert dict(intent.request) == {"type": "split_stem"}
    assert intent.began_at.utcoffset() is not None
    assert len(provider.posted) == 1


async def test_retries_that_cannot_have_arrived_are_one_creation(
    provider: FakeProvider, path: Path
) -> None:
    provider.script(GENERATE, NOT_SENT, envelope(430, "too often"), CREATED)
    async with make_client() as client, Journal(path) as journal:
        assert (await create(client, journal)).task_id == "new"
    assert on_disk(path, "SELECT task_id FROM intents") == [("new",)]


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_creation_that_is_cancelled_under_way_stays_recorded(
    provider: FakeProvider, path: Path, how: str
) -> None:
    provider.round_trip = 100
    provider.script(GENERATE, CREATED)
    async with make_client() as client, Journal(path) as journal:
        if how == "task":
            call = asyncio.create_task(create(client, journal))
            await anyio.sleep(10)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        else:
            with anyio.move_on_after(10):
                await create(client, journal)
        (intent,) = await journal.intents()
        assert intent.error is None
        assert await journal._file.known() == []
    assert len(await intents_in(path)) == 1


@pytest.mark.own_limiter
async def test_a_creation_cancelled_at_any_step_is_recorded_if_it_was_sent(
    provider: FakeProvider, path: Path
) -> None:
    provider.round_trip = 0.0
    async with make_client(rate_limit=None) as client, Journal(path) as journal:
        is_made = False
        steps = 0
        while not is_made:
            provider.script(GENERATE, envelope(200, data={"taskId": f"t{steps}"}))
            sent, begun = len(provider.posted), len(await journal.intents())
            made = len(await journal._file.known())
            call = asyncio.create_task(create(client, journal))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            is_made = not call.cancelled()
            recorded = (
                len(await journal.intents()) - begun + len(await journal._file.known()) - made
            )
            assert recorded >= len(provider.posted) - sent, f"after {steps} steps"
            assert recorded <= 1
            provider._scripts.clear()
            steps += 1
        assert 5 < steps < 200


async def test_closing_the_client_under_way_is_ambiguous_too(
    provider: FakeProvider, path: Path
) -> None:
    cut = ClientClosedError("closed", may_have_arrived=True)
    provider.script(GENERATE, cut, ClientClosedError("closed", may_have_arrived=False))
    async with make_client() as client, Journal(path) as journal:
        for _ in range(2):
            with pytest.raises(ClientClosedError):
                await create(client, journal)
    (intent,) = await intents_in(path)
    assert intent.error == "closed"


async def test_simultaneous_creations_have_intents_of_their_own(
    provider: FakeProvider, path: Path
) -> None:
    provider.script(
        GENERATE,
        envelope(200, data={"taskId": "one"}),
        TransportError("cut"),
        envelope(200, data={"taskId": "two"}),
    )
    async with make_client(rate_limit=RateLimit(1, 10.0)) as client, Journal(path) as journal:
        calls = [create(client, journal, stem_name=name) for name in ("drums", "bass", "piano")]
        made = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(each, TransportError) for each in made] == [False, True, False]
        (intent,) = await journal.intents()
        assert intent.request["stemName"] == "bass"
        assert [known.ref.task_id for known in await journal._file.known()] == ["one", "two"]


async def test_no_link_and_no_key_is_in_the_journal(provider: FakeProvider, path: Path) -> None:
    provider.script(GENERATE, TransportError("cut"), CREATED)
    async with make_client() as client, Journal(path) as journal:
        with pytest.raises(TransportError):
            await create(client, journal, type="split_stem_advanced", stem_name="Drums")
        await create(client, journal)
        (intent,) = await journal.intents()
        files = contents(path.parent)
    files += contents(path.parent)
    assert dict(intent.request) == {"type": "split_stem_advanced", "stemName": "Drums"}
    for content in files:
        for secret in (b"CANARY", b"hook.example", b"songs.example", b"a-key-for-tests"):
            assert secret not in content


async def test_a_song_of_the_provider_is_recorded_by_its_ids(
    provider: FakeProvider, path: Path
) -> None:
    provider.script(GENERATE, TransportError("cut"))
    async with make_client() as client, Journal(path) as journal:
        with pytest.raises(TransportError):
            await create(client, journal, audio_url=None, source_task_id="song", audio_id="track")
        (intent,) = await journal.intents()
    assert dict(intent.request) == {
        "taskId": "song",
        "audioId": "track",
        "type": "separate_vocal",
    }


async def test_a_batch_warns_of_tasks_that_may_have_been_created(
    provider: FakeProvider, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    provider.script(GENERATE, TransportError("cut"))
    async with process(provider) as client, Journal(path) as journal:
        with pytest.raises(TransportError):
            await create(client, journal)
        await journal._file.intend({"type": "split_stem"})
    with caplog.at_level(logging.WARNING, "vocalsep_async"):
        async with process(provider) as client, client.track(journal=path) as batch:
            assert await outcomes_of(batch) == {}
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert json.dumps({"type": "separate_vocal"}) in warnings[0]
    assert "cut" in warnings[0]
    assert "the program ended before the answer" in warnings[1]
    assert len(provider.posted) == 1


# Refused before anything is sent


async def test_without_a_written_intent_nothing_is_sent(provider: FakeProvider, path: Path) -> None:
    async with make_client() as client, Journal(path) as journal:
        await journal._file.check_owner("https://api.sunoapi.org")
        assert journal._file._store is not None
        journal._file._store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(JournalError, match="readonly"):
            await create(client, journal)
    assert provider.sent == []


async def test_an_error_names_the_id_that_the_journal_could_not_record(
    provider: FakeProvider, path: Path
) -> None:
    async with make_client() as client, Journal(path) as journal:

        def answered() -> Any:
            assert journal._file._store is not None
            journal._file._store._connection.execute("PRAGMA query_only = ON")
            return CREATED

        provider.script(GENERATE, answered)
        with pytest.raises(JournalError, match="readonly") as caught:
            await create(client, journal)
    assert "new" in str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert len(await intents_in(path)) == 1


@pytest.mark.parametrize("answer", [envelope(500, "broken"), envelope(422, "bad")])
async def test_a_failure_that_the_journal_could_not_record_has_a_note(
    provider: FakeProvider, path: Path, answer: Answer
) -> None:
    async with make_client() as client, Journal(path) as journal:

        def answered() -> Any:
            assert journal._file._store is not None
            journal._file._store._connection.execute("PRAGMA query_only = ON")
            return answer

        provider.script(GENERATE, answered)
        with pytest.raises(APIError) as caught:
            await create(client, journal)
    notes = " ".join(caught.value.__notes__)
    assert ("may have been created" in notes) is isinstance(caught.value, ServerError)
    assert re.search("The journal could not record this: .*readonly", notes)
    assert len(await intents_in(path)) == 1


async def test_a_new_journal_refuses_the_second_of_two_apis(
    provider: FakeProvider, path: Path
) -> None:
    provider.script(GENERATE, CREATED)
    async with (
        Journal(path) as journal,
        make_client() as client,
        make_client(base_url="https://other.example") as other,
    ):
        answers = await asyncio.gather(
            create(client, journal), create(other, journal), return_exceptions=True
        )
    assert [type(answer) for answer in answers].count(JournalError) == 1
    assert len(provider.posted) == 1


async def test_a_journal_that_is_not_open_is_refused(provider: FakeProvider, path: Path) -> None:
    async with make_client() as client:
        with pytest.raises(JournalError, match="not open"):
            await create(client, Journal(path))
    assert provider.sent == []


@pytest.mark.parametrize("journal", [7, "", b"a path"])
async def test_a_value_that_is_no_journal_is_refused(
    provider: FakeProvider, path: Path, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="journal"):
            await create(client, journal)
    assert provider.sent == []


async def test_a_path_names_a_journal(provider: FakeProvider, path: Path) -> None:
    provider.script(GENERATE, CREATED)
    async with process(provider) as client:
        ref = await create(client, path)
    async with Journal(path) as journal:
        assert [known.ref.task_id for known in await journal._file.known()] == [ref.task_id]


async def test_a_journal_of_another_api_or_label_is_refused(
    provider: FakeProvider, path: Path
) -> None:
    provider.script(GENERATE, CREATED)
    async with process(provider) as client, Journal(path, label="one") as journal:
        await create(client, journal)
    provider.sent.clear()
    async with (
        process(provider, base_url="https://other.example") as client,
        Journal(path, label="one") as journal,
    ):
        with pytest.raises(JournalError, match="base_url"):
            await create(client, journal)
    async with process(provider) as client, Journal(path, label="two") as journal:
        with pytest.raises(JournalError, match="label"):
            await create(client, journal)
    assert provider.sent == []
    assert await intents_in(path) == ()


async def test_unusable_arguments_leave_the_journal_untouched(
    provider: FakeProvider, path: Path
) -> None:
    async with make_client() as client, Journal(path) as journal:
        with pytest.raises(InvalidArgumentError):
            await create(client, journal, audio_id="alone")
        assert await journal.intents() == ()
    assert on_disk(path, "SELECT * FROM meta") == []
