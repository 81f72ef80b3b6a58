"""How long a batch or a creation waits for its journal, as events and as a metric."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from listening import Recorder
from telemetry.telemetry import Telemetry

from vocalsep_async import Journal, JournalError
from vocalsep_async._events import Events, timed_write
from vocalsep_async.emulator import Emulator
from vocalsep_async.instrumentation import JournalWritten

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_each_outcome_and_its_files_are_a_write(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    ids = [vocalsep_emulator.add_task() for _ in range(3)]
    for task_id in ids:
        vocalsep_emulator.finish(task_id)
    events, telemetry = Recorder(JournalWritten), Telemetry()
    path = tmp_path / "journal.sqlite"
    async with vocalsep_emulator.client(on_event=events) as client:
        telemetry.instrument(client)
        async with client.track(ids, journal=path) as batch:
            assert len([outcome async for outcome in batch]) == 3
        assert len(events) == 3
        more = vocalsep_emulator.add_task()
        vocalsep_emulator.finish(more)
        async with client.track([more], journal=path, download_to=tmp_path) as batch:
            assert len([outcome async for outcome in batch]) == 4
    written = events.of(JournalWritten)
    assert {each.path for each in written} == {path}
    # The outcome of the new task, and the files of all four.
    assert len(written) == 3 + 1 + 4
    assert all(each.duration > 0 for each in written)
    (point,) = telemetry.points("vocalsep.journal.write.duration")
    assert point.count == len(written)
    assert point.sum == pytest.approx(sum(each.duration for each in written))


async def test_a_creation_waits_for_its_intent_and_for_the_id(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    events = Recorder()
    async with (
        vocalsep_emulator.client(on_event=events) as client,
        Journal(tmp_path / "journal.sqlite") as journal,
    ):
        await client.create_task(audio_url="https://a.example/a.mp3", journal=journal)
    assert events.names == [
        "creation.intended",
        "journal.written",
        "creation.sent",
        "creation.confirmed",
        "journal.written",
    ]


async def test_a_write_that_fails_is_no_event() -> None:
    events = Recorder()
    with pytest.raises(JournalError), timed_write(Events([events]), Path("journal.sqlite")):
        raise JournalError("the disk is full")
    assert events == []


async def test_a_write_is_no_event_unless_one_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "vocalsep_async.journal")
    with timed_write(Events(), Path("journal.sqlite")):
        pass
    assert caplog.records == []
