"""The activity of Temporal: one creation, whatever becomes of its attempts; in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import sys
from collections.abc import Awaitable
from typing import Any

import pytest
from batch.journals import process
from fakes import FakeProvider, bare, envelope, is_idle, make_client
from frameworks.fake_temporal import FakeTemporal, separate, unavailable
from songs.creating import GENERATE, creates_tasks, creations, failed
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from test_cancellation import STEPS, Mode, broken_off
from virtual_time import VIRTUAL_TIME

from vocalsep_async import InvalidArgumentError, TransportError
from vocalsep_async._transport.api import Reply
from vocalsep_async.contrib.temporal import (
    SeparationActivity,
    SeparationInput,
    SeparationResult,
)

pytestmark = pytest.mark.anyio

URL = "https://songs.example/Tides.mp3?signature=CANARY"
SONG = SeparationInput(URL)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def api(provider: FakeProvider) -> FakeProvider:
    return creates_tasks(provider)


@pytest.fixture
def server() -> FakeTemporal:
    return FakeTemporal()


async def failure_of(attempt: Awaitable[object]) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await attempt
    return caught.value


# What is promised


async def test_a_song_is_created_once_and_its_stems_are_named(
    api: FakeProvider, server: FakeTemporal
) -> None:
    async with process(api) as client:
        result = await separate(server, client, SONG)
    assert result == SeparationResult(
        task_id="task-1", label=None, status="SUCCESS", stems=["instrumental", "vocal"]
    )
    assert creations(api) == 1
    assert server.steps == ["preparing", "creating", "created"]
    assert is_idle()


async def test_the_server_knows_that_a_request_is_sent_before_it_is_and_the_id_after_it(
    api: FakeProvider, server: FakeTemporal
) -> None:
    def created() -> Reply:
        assert server.steps == ["preparing", "creating"]
        assert server.details[0]["task_id"] is None
        api.add("task-1", 60.0)
        return envelope(200, data={"taskId": "task-1"})

    api.script(GENERATE, created)
    async with process(api) as client:
        await separate(server, client, SONG)
    assert server.details[0]["task_id"] == "task-1"


@pytest.mark.parametrize("deaths", range(1, 40))
async def test_a_worker_that_dies_at_any_moment_has_no_song_paid_twice(
    api: FakeProvider, server: FakeTemporal, deaths: int
) -> None:
    """Nothing that it does from then on reaches a server, and it comes back as a zombie."""
    left = deaths
    back = asyncio.Event()

    async def moment() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            await back.wait()

    def dying(function: Any) -> Any:
        async def died(*arguments: Any) -> Any:
            await moment()
            result = await function(*arguments)
            await moment()
            return result

        return died

    exchange, heartbeat = api.exchange, server.on_heartbeat
    server.on_heartbeat = dying(heartbeat)  # type: ignore[method-assign]
    api.exchange = dying(exchange)  # type: ignore[method-assign]
    async with process(api) as client, process(api) as other:
        first = asyncio.ensure_future(separate(server, client, SONG))
        await asyncio.sleep(120.0)
        if left > 0:  # it lived to the end
            assert (await first).task_id == "task-1"
            return
        server.on_heartbeat, api.exchange = heartbeat, exchange  # type: ignore[method-assign]
        step = server.details[0]["step"] if server.details else "preparing"
        second = asyncio.ensure_future(separate(server, other, SONG))
        back.set()
        _, failure = await asyncio.gather(first, second, return_exceptions=True)
        assert creations(api) <= 1
        if step == "creating":
            assert isinstance(failure, ApplicationError)
            assert (failure.type, failure.non_retryable) == ("CreationUncertainError", True)
        else:
            assert isinstance(failure, SeparationResult)
            assert creations(api) == 1
    assert is_idle()


async def test_an_attempt_goes_on_with_the_task_of_the_one_before(
    api: FakeProvider, server: FakeTemporal
) -> None:
    async with process(api) as client:
        first = asyncio.ensure_future(separate(server, client, SONG))
        await asyncio.sleep(20.0)
        first.cancel()
        await asyncio.wait([first])
    # Another worker, on which there is no such file.
    async with process(api) as client:
        result = await separate(server, client, SONG)
    assert result.task_id == "task-1"
    assert creations(api) == 1


@STEPS
@pytest.mark.parametrize("mode", ["native"])
async def test_a_song_can_be_cancelled_at_every_await_and_is_paid_once(
    provider: FakeProvider, *, mode: Mode, step: int
) -> None:
    api = creates_tasks(provider, duration=1.0)
    for n in range(1, 1_000, step):
        server = FakeTemporal()
        before = creations(api)
        async with process(api) as client:
            hits = await broken_off(separate(server, client, SONG), {n}, mode)
            assert is_idle(), f"cancelled at {n}: tasks are left"
            assert client.stats.in_flight == 0, f"cancelled at {n}: still counted"
            await separate(server, client, SONG)
        assert creations(api) - before == 1, f"cancelled at {n}: not paid once"
        if not hits:
            assert n > 20
            return
    raise AssertionError("the sweep found no end")


async def test_a_cancelled_activity_ends_as_cancelled_and_keeps_its_task(
    api: FakeProvider, server: FakeTemporal
) -> None:
    async with process(api) as client:
        running = asyncio.ensure_future(separate(server, client, SONG))
        await asyncio.sleep(20.0)
        server.is_cancelled = True
        async with asyncio.timeout(2.5):
            with pytest.raises(asyncio.CancelledError):
                await running
    assert server.details[0]["task_id"] == "task-1"
    assert creations(api) == 1


async def test_an_activity_that_is_cancelled_before_its_creation_sends_nothing(
    api: FakeProvider, server: FakeTemporal
) -> None:
    server.is_cancelled = True
    async with process(api) as client:
        with pytest.raises(asyncio.CancelledError):
            await separate(server, client, SONG)
    assert creations(api) == 0


# Heartbeats


@pytest.mark.parametrize("refused", [0, 1])
async def test_nothing_is_created_after_a_heartbeat_that_was_not_accepted(
    api: FakeProvider, server: FakeTemporal, refused: int
) -> None:
    server.answers.extend([None] * refused + [unavailable()])
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
        assert (failure.type, failure.non_retryable) == ("JournalError", False)
        assert "unavailable" in failure.message
        assert creations(api) == 0
        # What was not begun is not what the worker sends once more either.
        assert {each["step"] for each in server.worker} == {"preparing"}
        assert (await separate(server, client, SONG)).task_id == "task-1"
    assert creations(api) == 1


async def test_a_codec_that_fails_is_a_heartbeat_that_was_not_accepted(
    api: FakeProvider, server: FakeTemporal
) -> None:
    server.answers.append(ValueError("no key"))
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
    assert "no key" in failure.message
    assert creations(api) == 0


async def test_an_id_that_was_not_written_down_is_logged_and_sent_again(
    api: FakeProvider, server: FakeTemporal, caplog: pytest.LogCaptureFixture
) -> None:
    def created() -> Reply:
        server.is_away = True
        api.add("task-9", 60.0)
        return envelope(200, data={"taskId": "task-9"})

    api.script(GENERATE, created)
    async with process(api) as client:
        running = asyncio.ensure_future(separate(server, client, SONG))
        await asyncio.sleep(10.0)
        assert server.details[0]["step"] == "creating"
        assert "the task task-9 was created" in caplog.text
        server.is_away = False
        await asyncio.sleep(5.0)
        assert server.accepted[-1]["task_id"] == "task-9"
        assert (await running).task_id == "task-9"
    # The worker sends its newest heartbeat once more at the end of the attempt.
    assert server.worker[-1]["task_id"] == "task-9"


@pytest.mark.parametrize("seconds, gap", [(6.0, 2.0), (3_000.0, 10.0), (None, 10.0)])
async def test_heartbeats_are_sent_in_a_third_of_their_timeout(
    api: FakeProvider, server: FakeTemporal, seconds: float | None, gap: float
) -> None:
    zero = server.attempt().info.start_to_close_timeout
    assert zero is not None
    server.heartbeat_timeout = None if seconds is None else zero * seconds
    async with process(api) as client:
        await separate(server, client, SONG)
    assert len(server.accepted) == pytest.approx(60.0 / gap + 2, abs=2)
    assert server.worker == []


# What is not known


async def test_a_song_that_may_exist_is_not_created_again_unasked(
    api: FakeProvider, server: FakeTemporal
) -> None:
    api.script(GENERATE, TransportError("reset by https://songs.example/a?key=CANARY"))
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
        assert (failure.type, failure.non_retryable) == ("CreationUncertainError", True)
        assert failure.details[0]["began_at"]
        assert "CANARY" not in json.dumps(server.details)
        # As an operator who resets the activity does.
        failure = await failure_of(separate(server, client, SONG))
        assert failure.type == "CreationUncertainError"
        assert "reset by" in failure.message
        assert creations(api) == 1
        api.script(GENERATE, TransportError("reset"))
        asked = dataclasses.replace(SONG, on_uncertain="create")
        failure = await failure_of(separate(server, client, asked))
        assert (failure.type, failure.non_retryable) == ("CreationUncertainError", False)
        assert (await separate(server, client, asked)).task_id == "task-1"
    assert creations(api) == 3


async def test_a_song_stays_perhaps_created_when_its_second_creation_is_refused(
    api: FakeProvider, server: FakeTemporal
) -> None:
    api.script(GENERATE, TransportError("reset"), envelope(422, "no"))
    async with process(api) as client:
        await failure_of(separate(server, client, SONG))
        asked = dataclasses.replace(SONG, on_uncertain="create")
        assert (await failure_of(separate(server, client, asked))).type == "InvalidParametersError"
        failure = await failure_of(separate(server, client, SONG))
    assert failure.type == "CreationUncertainError"


async def test_a_creation_that_was_refused_leaves_the_song_as_it_was(
    api: FakeProvider, server: FakeTemporal
) -> None:
    api.script(GENERATE, *[envelope(455, "closed")] * 10)
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
        assert (failure.type, failure.non_retryable) == ("MaintenanceError", False)
        assert failure.details[0] == {"version": 1, "code": 455}
        assert server.details[0]["step"] == "preparing"
        api._scripts.clear()
        assert (await separate(server, client, SONG)).task_id == "task-1"


async def test_a_refusal_that_was_not_written_down_counts_as_perhaps_created(
    api: FakeProvider, server: FakeTemporal
) -> None:
    def refused() -> Reply:
        server.is_away = True
        return envelope(422, "no")

    api.script(GENERATE, refused)
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
        server.is_away = False
        assert failure.type == "InvalidParametersError"
        assert "could not record this" in failure.message
        assert (await failure_of(separate(server, client, SONG))).type == "CreationUncertainError"
    assert creations(api) == 1


# Errors


async def test_a_task_that_failed_is_an_error_that_is_not_tried_again(
    api: FakeProvider, server: FakeTemporal
) -> None:
    api.script("task-1", failed("task-1", "GENERATE_AUDIO_FAILED"))
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
        assert (failure.type, failure.non_retryable) == ("TaskFailedError", True)
        assert failure.details[0] == {"version": 1, "task_id": "task-1"}
        assert failure.__cause__ is None
        # Also if the attempt before it has created it.
        api.script("task-1", failed("task-1", "GENERATE_AUDIO_FAILED"))
        assert (await failure_of(separate(server, client, SONG))).type == "TaskFailedError"
    assert creations(api) == 1


async def test_a_history_gets_no_key_no_query_of_a_link_and_no_cause(
    api: FakeProvider, server: FakeTemporal
) -> None:
    said = "not read: https://cdn.example/a.mp3?Signature=s3cret-of-a-link"
    api.script("task-1", failed("task-1", "GENERATE_AUDIO_FAILED", said))
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
    history = Failure()
    await DataConverter.default.encode_failure(failure, history)
    assert "cdn.example" in str(history)
    assert "s3cret" not in str(history)
    assert "a-key-for-tests" not in str(history)
    assert not history.HasField("cause")
    # Where the activity raised it, and nothing of what led to it.
    assert history.stack_trace.count("/vocalsep_async/") == 1


async def test_throttling_says_when_to_try_again(api: FakeProvider, server: FakeTemporal) -> None:
    api.script(GENERATE, *[bare(429)] * 10)
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
    assert failure.type == "CreationUncertainError"  # without an envelope it proves nothing
    server = FakeTemporal()
    api._scripts.clear()
    api.script(GENERATE, *[envelope(430, "slow down", **{"Retry-After": "77"})] * 10)
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG))
    assert (failure.type, failure.non_retryable) == ("RateLimitedError", False)
    assert failure.next_retry_delay is not None
    assert failure.next_retry_delay.total_seconds() == 77.0


async def test_a_worker_whose_client_is_closed_leaves_the_song_to_another(
    api: FakeProvider, server: FakeTemporal
) -> None:
    client = make_client()
    async with client:
        running = asyncio.ensure_future(separate(server, client, SONG))
        await asyncio.sleep(20.0)
    failure = await failure_of(running)
    assert (failure.type, failure.non_retryable) == ("ClientClosedError", False)
    async with process(api) as client:
        assert (await separate(server, client, SONG)).task_id == "task-1"
    assert creations(api) == 1


@pytest.mark.parametrize(
    "song",
    [
        SeparationInput(),
        SeparationInput(URL, task_id="task-1"),
        SeparationInput(source_task_id="music"),
        SeparationInput(source_task_id="music", audio_id="track", task_id="task-1"),
        SeparationInput("ftp://songs.example/a.mp3"),
        SeparationInput(URL, type="split_everything"),
        SeparationInput(URL, on_uncertain="perhaps"),
        SeparationInput(task_id="task-1", type="split_everything"),
        SeparationInput(task_id=" "),
    ],
    ids=str,
)
async def test_an_unusable_song_is_an_error_before_anything_is_sent(
    api: FakeProvider, server: FakeTemporal, song: SeparationInput
) -> None:
    async with process(api) as client:
        failure = await failure_of(separate(server, client, song))
    assert (failure.type, failure.non_retryable) == ("InvalidArgumentError", True)
    assert api.sent == []


async def test_a_local_activity_is_refused(api: FakeProvider, server: FakeTemporal) -> None:
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SONG, is_local=True))
    assert (failure.type, failure.non_retryable) == ("InvalidArgumentError", True)
    assert api.sent == []


def test_an_activity_needs_a_client() -> None:
    with pytest.raises(InvalidArgumentError, match="VocalSepClient"):
        SeparationActivity("a key")  # type: ignore[arg-type]


# Sources


async def test_a_song_of_the_provider_is_named_by_both_ids(
    api: FakeProvider, server: FakeTemporal
) -> None:
    song = SeparationInput(source_task_id="music", audio_id="track", type="split_stem")
    async with process(api) as client:
        await separate(server, client, song)
    assert (api.posted[0]["taskId"], api.posted[0]["audioId"]) == ("music", "track")
    assert api.posted[0]["type"] == "split_stem"


async def test_a_task_that_exists_is_waited_for_and_nothing_is_created(
    api: FakeProvider, server: FakeTemporal
) -> None:
    api.add("task-9", 5.0)
    async with process(api) as client:
        result = await separate(server, client, SeparationInput(task_id="task-9", label="Tides"))
    assert (result.task_id, result.label) == ("task-9", "Tides")
    assert creations(api) == 0


# Versions


async def test_a_song_of_a_later_version_is_left_to_a_later_worker(
    api: FakeProvider, server: FakeTemporal
) -> None:
    async with process(api) as client:
        failure = await failure_of(separate(server, client, SeparationInput(URL, version=2)))
    assert (failure.type, failure.non_retryable) == ("UnknownVersionError", False)
    assert api.sent == []


@pytest.mark.parametrize(
    "kept, kind",
    [
        ({"version": 2, "step": "created"}, "UnknownVersionError"),
        ({"version": 1, "step": "elsewhere"}, "InvalidArgumentError"),
        ("task-1", "InvalidArgumentError"),
    ],
)
async def test_an_attempt_that_cannot_read_the_last_heartbeat_creates_nothing(
    api: FakeProvider, server: FakeTemporal, kept: Any, kind: str
) -> None:
    server.details = (kept,)
    async with process(api) as client:
        assert (await failure_of(separate(server, client, SONG))).type == kind
    assert api.sent == []


async def test_the_heartbeats_of_the_first_version_can_be_read(
    api: FakeProvider, server: FakeTemporal
) -> None:
    """As version 0.1.0 has written them."""
    server.details = (
        json.loads(
            '{"version": 1, "step": "created", "began_at": null, "error": null, "task_id": '
            '"task-9", "created_at": "2026-12-01T10:00:00+00:00", "route": null}'
        ),
    )
    api.add("task-9", 5.0)
    async with process(api) as client:
        assert (await separate(server, client, SONG)).task_id == "task-9"
    assert creations(api) == 0


async def test_what_goes_in_and_comes_out_is_plain_data() -> None:
    result = SeparationResult(task_id="t", label=None, status="SUCCESS", stems=["vocal"])
    for value in (SONG, result):
        payloads = await DataConverter.default.encode([value])
        assert json.loads(payloads[0].data) == dataclasses.asdict(value)
        assert await DataConverter.default.decode(payloads, [type(value)]) == [value]
        assert payloads[0].ByteSize() < 1_000


# The package


def reimport_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("temporal", "_temporal_heartbeats"):
        monkeypatch.delitem(sys.modules, f"vocalsep_async.contrib.{each}")
    monkeypatch.setitem(sys.modules, name, None)
    importlib.import_module("vocalsep_async.contrib.temporal")


def test_the_module_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"vocalsep-async\[temporal\]"):
        reimport_without("temporalio", monkeypatch)


def test_another_module_that_is_missing_is_named_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match="attrs"):
        reimport_without("attrs", monkeypatch)
