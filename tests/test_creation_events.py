"""The events of `create_task`: each creation that began is confirmed or fails, once."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.journals import journals_in_virtual_time
from fakes import Answer, FakeProvider, bare, envelope, make_client
from listening import Recorder
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    ClientClosedError,
    Event,
    InvalidArgumentError,
    Journal,
    JournalError,
    SeparationType,
    TransportError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async.instrumentation import (
    CreationConfirmed,
    CreationFailed,
    CreationIntended,
    CreationSent,
    JournalClosed,
    JournalOpened,
)

pytestmark = pytest.mark.anyio

GENERATE = "/api/v1/vocal-removal/generate"
CREATED = envelope(200, data={"taskId": "new"})
OFTEN = envelope(430, "Your call frequency is too high")
SONG = {"callback_url": "https://hook.example/cb", "audio_url": "https://songs.example/a.mp3"}
OURS = (
    CreationIntended,
    CreationSent,
    CreationConfirmed,
    CreationFailed,
    JournalOpened,
    JournalClosed,
)
RECORDED = [
    "creation.intended",
    "journal.opened",
    "creation.sent",
    "creation.confirmed",
    "journal.closed",
]


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def events() -> Recorder:
    return Recorder(*OURS)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    journals_in_virtual_time(monkeypatch)
    return tmp_path / "made.journal"


async def create(client: VocalSepClient, **options: Any) -> Any:
    return await client.create_task(**{**SONG, **options})


async def failure_of(client: VocalSepClient, **options: Any) -> VocalSepError:
    with pytest.raises(VocalSepError) as caught:
        await create(client, **options)
    return caught.value


async def test_a_creation_is_intended_sent_and_confirmed(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.script(GENERATE, CREATED)
    async with make_client(on_event=events) as client:
        await create(client, type="split_stem")
    assert events.names == ["creation.intended", "creation.sent", "creation.confirmed"]
    assert events.the(CreationIntended).type is SeparationType.SPLIT_STEM
    assert events.the(CreationConfirmed).task_id == "new"
    assert len({event.creation_id for event in events}) == 1  # type: ignore[attr-defined]


async def test_a_creation_whose_type_the_provider_chooses_has_none(
    provider: FakeProvider, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    provider.script(GENERATE, CREATED)
    caplog.set_level("INFO", "vocalsep_async.creations")
    async with make_client(on_event=events) as client:
        await create(client, type=None)
    intended = events.the(CreationIntended)
    assert intended.type is None
    assert caplog.messages[0] == f"{intended.creation_id} started"


async def test_two_creations_have_different_ids(provider: FakeProvider, events: Recorder) -> None:
    provider.script(GENERATE, CREATED, CREATED)
    async with make_client(on_event=events) as client:
        await create(client)
        await create(client)
    first, second = events.of(CreationIntended)
    assert first.creation_id != second.creation_id


async def test_the_intent_is_emitted_before_the_first_await(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    async with make_client(on_event=events) as client:
        call = asyncio.ensure_future(create(client, journal=path))
        await asyncio.sleep(0)
        assert events.names == ["creation.intended"]
        call.cancel()
        await asyncio.wait([call])
    assert events.names[-1] == "creation.failed"


async def test_every_event_of_a_creation_sees_the_callers_context(provider: FakeProvider) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen = {}

    def listener(event: Event) -> None:
        seen[event.name] = request.get()

    provider.script(GENERATE, OFTEN, CREATED)
    async with make_client(on_event=listener) as client:
        request.set("A")
        await create(client)
    assert {name: seen[name] for name in seen if name.startswith("creation")} == {
        "creation.intended": "A",
        "creation.sent": "A",
        "creation.confirmed": "A",
    }


async def test_a_creation_is_sent_when_its_slot_is_granted(provider: FakeProvider) -> None:
    sent_at = []

    def listener(event: Event) -> None:
        if isinstance(event, CreationSent):
            sent_at.append(anyio.current_time())

    provider.script(GENERATE, OFTEN, CREATED)
    async with make_client(on_event=listener) as client:
        await create(client)
    # The provider counts a request half a round trip after it was sent.
    arrived = provider.times(GENERATE)
    assert sent_at == [pytest.approx(each - provider.round_trip / 2) for each in arrived]
    assert len(sent_at) == 2


@pytest.mark.parametrize(
    "wrong", [{"audio_url": "not a link"}, {"type": "karaoke"}, {"journal": 5}, {"journal": ""}]
)
async def test_an_invalid_argument_emits_nothing(
    provider: FakeProvider, events: Recorder, wrong: dict[str, Any]
) -> None:
    async with make_client(on_event=events) as client:
        with pytest.raises(InvalidArgumentError):
            await create(client, **wrong)
    assert events == []


@pytest.mark.parametrize(
    "answer, may_exist",
    [
        (envelope(400, "bad"), False),
        (envelope(429, "no credits"), False),
        (envelope(500, "broken"), True),
        (bare(430), True),
        (envelope(200, data={}), True),
        (TransportError("cut"), True),
        (TransportError("refused", may_have_arrived=False), False),
        (ClientClosedError("closed", may_have_arrived=True), True),
    ],
)
async def test_a_creation_that_fails_says_whether_its_task_may_exist(
    provider: FakeProvider, events: Recorder, answer: Answer, *, may_exist: bool
) -> None:
    provider.script(GENERATE, *[answer] * 9)
    async with make_client(on_event=events) as client:
        error = await failure_of(client)
    assert events.names[-1] == "creation.failed"
    failed = events.the(CreationFailed)
    assert (failed.error, failed.may_exist) == (error, may_exist)
    assert hasattr(error, "__notes__") is may_exist
    assert len(events.of(CreationSent)) == len(provider.posted)


async def test_a_closed_client_begins_a_creation_that_fails(
    provider: FakeProvider, events: Recorder
) -> None:
    client = make_client(on_event=events)
    await client.aclose()
    error = await failure_of(client)
    assert isinstance(error, ClientClosedError)
    assert events.names == ["creation.intended", "creation.failed"]
    assert events.the(CreationFailed).error is error


@pytest.mark.parametrize("seconds, may_exist", [(0.05, True), (0.3, False)])
async def test_a_cancelled_creation_may_exist_only_if_it_was_under_way(
    provider: FakeProvider, events: Recorder, seconds: float, *, may_exist: bool
) -> None:
    # Until 0.1 s the first request is under way; from then on the client pauses.
    provider.script(GENERATE, OFTEN, CREATED)
    async with make_client(on_event=events) as client:
        with anyio.move_on_after(seconds):
            await create(client)
    failed = events.the(CreationFailed)
    assert isinstance(failed.error, asyncio.CancelledError)
    assert failed.may_exist is may_exist
    assert events.names == ["creation.intended", "creation.sent", "creation.failed"]


async def test_an_error_of_a_users_hook_while_it_is_sent_is_a_failure_in_doubt(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.script(GENERATE, LookupError("a tracing hook"))
    async with make_client(on_event=events) as client:
        with pytest.raises(LookupError) as caught:
            await create(client)
    failed = events.the(CreationFailed)
    assert (failed.error, failed.may_exist) == (caught.value, True)


# With a journal


async def test_a_creation_with_a_path_opens_and_closes_its_journal(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    provider.script(GENERATE, CREATED)
    async with make_client(on_event=events) as client:
        await create(client, journal=path)
    assert events.names == RECORDED
    assert events.the(JournalOpened).path == events.the(JournalClosed).path == path


async def test_a_creation_neither_opens_nor_closes_a_journal_that_it_was_given(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    provider.script(GENERATE, CREATED)
    async with make_client(on_event=events) as client, Journal(path) as journal:
        await create(client, journal=journal)
    assert events.names == ["creation.intended", "creation.sent", "creation.confirmed"]


async def test_a_creation_with_an_unusable_journal_fails_and_is_not_sent(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    async with make_client(on_event=events) as client:
        for unusable in (path.parent, Journal(path)):  # a folder; a journal that is not open
            events.clear()
            error = await failure_of(client, journal=unusable)
            assert isinstance(error, JournalError)
            assert events.names == ["creation.intended", "creation.failed"]
            failed = events.the(CreationFailed)
            assert (failed.error, failed.may_exist) == (error, False)
    assert provider.sent == []


async def test_a_failed_creation_closes_its_journal_first(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    provider.script(GENERATE, TransportError("cut"))
    async with make_client(on_event=events) as client:
        await failure_of(client, journal=path)
    assert events.names == [*RECORDED[:3], "journal.closed", "creation.failed"]


async def test_a_journal_that_cannot_record_the_id_leaves_the_creation_confirmed(
    provider: FakeProvider, events: Recorder, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise JournalError("disk full")

    provider.script(GENERATE, CREATED)
    monkeypatch.setattr(JournalFile, "created", broken)
    async with make_client(on_event=events) as client:
        await failure_of(client, journal=path)
    assert events.names == RECORDED


async def test_a_journal_that_fails_to_close_is_closed_in_the_events(
    provider: FakeProvider, events: Recorder, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = JournalFile.aclose

    async def broken(journal: JournalFile) -> None:
        await close(journal)
        raise JournalError("disk full")

    provider.script(GENERATE, TransportError("cut"))
    monkeypatch.setattr(JournalFile, "aclose", broken)
    async with make_client(on_event=events) as client:
        error = await failure_of(client, journal=path)
    assert events.names == [*RECORDED[:3], "journal.closed", "creation.failed"]
    failed = events.the(CreationFailed)
    assert (failed.error, failed.may_exist) == (error, True)
    assert isinstance(error, JournalError)


async def test_a_creation_cancelled_at_any_step_finishes_exactly_once(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    provider.round_trip = 0.0
    endings = set()
    async with make_client(rate_limit=None, on_event=events) as client:
        is_made = False
        steps = 0
        while not is_made:
            provider.script(GENERATE, CREATED)
            posted = len(provider.posted)
            events.clear()
            call = asyncio.create_task(create(client, journal=path))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            is_made = not call.cancelled()
            ends = len(events.of(CreationConfirmed)) + len(events.of(CreationFailed))
            assert ends == len(events.of(CreationIntended)) == min(steps, 1)
            assert len(events.of(JournalOpened)) == len(events.of(JournalClosed))
            for failed in events.of(CreationFailed):
                assert failed.may_exist or len(provider.posted) == posted
                endings.add(failed.may_exist)
            provider._scripts.clear()
            steps += 1
    assert endings == {True, False}
