"""The view of a batch, against a provider in virtual time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import anyio
import pytest
from fakes import FakeProvider, envelope, make_client, provider_in_place, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    DownloadProgress,
    Interval,
    RateLimit,
    TaskOutcome,
    TaskRef,
    TransportError,
    VocalSepClient,
)
from vocalsep_async.cli.activity import Activity, Snapshot
from vocalsep_async.cli.output import Output
from vocalsep_async.cli.process import ExitCode
from vocalsep_async.cli.view import BatchView, RunOptions
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


class RecordingOutput(Output):
    """Keeps results, and takes a snapshot every second."""

    def __init__(self) -> None:
        super().__init__(is_quiet=True)
        self.results: list[Any] = []
        self.snapshots: list[Snapshot] = []

    def result(self, result: Any) -> None:
        self.results.append(result)

    async def show_progress(self, snapshot: Callable[[], Snapshot]) -> None:
        while True:
            self.snapshots.append(snapshot())
            await anyio.sleep(1)


@asynccontextmanager
async def watched_client(**options: Any) -> AsyncIterator[tuple[VocalSepClient, Activity]]:
    activity = Activity()
    async with make_client(on_event=activity, **options) as client:
        yield client, activity


class RecorderStub:
    """Stands in for a `RunRecorder`."""

    def __init__(self) -> None:
        self.samples: list[Snapshot] = []
        self.ages: list[tuple[str, float | None]] = []

    def sample(self, snapshot: Snapshot) -> None:
        self.samples.append(snapshot)

    def on_outcome(self, outcome: TaskOutcome, age: float | None) -> None:
        self.ages.append((outcome.task_id, age))


async def test_a_view_returns_exit_code_0_if_all_tasks_succeed(provider: FakeProvider) -> None:
    provider.add("a", 10)
    provider.add("b", 20)
    output = RecordingOutput()
    async with watched_client() as (client, activity):
        view = BatchView(client, activity, RunOptions(tasks=["a", "b"]), output)
        assert await view.run() is ExitCode.SUCCEEDED
    assert [each.split()[0] for each in output.results] == ["a", "b"]
    assert view.open_ids == ()
    assert view.stats is not None
    assert view.stats.finished == 2


async def test_a_view_returns_the_worst_exit_code(provider: FakeProvider) -> None:
    provider.script("bad", record("bad", "GENERATE_AUDIO_FAILED", errorMessage="no"))
    provider.add("good", 1)
    provider.add("slow", 1e6)
    async with watched_client() as (client, activity):
        options = RunOptions(tasks=["bad", "good", "slow"], timeout=60, as_json=True)
        output = RecordingOutput()
        assert await BatchView(client, activity, options, output).run() is ExitCode.FAILED
        assert {each["task_id"]: each["succeeded"] for each in output.results} == {
            "bad": False,
            "good": True,
            "slow": False,
        }
        options = RunOptions(tasks=["good", "slow"], timeout=60)
        assert (
            await BatchView(client, activity, options, RecordingOutput()).run()
            is ExitCode.TIMED_OUT
        )
        provider.script("good", *[envelope(401, "no")] * 3)
        assert (
            await BatchView(client, activity, options, RecordingOutput()).run() is ExitCode.ACCOUNT
        )


async def test_a_cancelled_view_knows_the_open_tasks(provider: FakeProvider) -> None:
    provider.add("a", 1)
    provider.add("b", 1e6)
    async with watched_client() as (client, activity):
        view = BatchView(client, activity, RunOptions(tasks=["a", "b"]), RecordingOutput())
        with anyio.move_on_after(60):
            await view.run()
    assert view.open_ids == ("b",)
    assert view.stats is not None
    assert (view.stats.finished, view.stats.pending) == (1, 1)


async def test_a_view_tracks_tasks_that_arrive_over_time(provider: FakeProvider) -> None:
    async def arriving() -> AsyncIterator[TaskRef]:
        for name in "abc":
            provider.add(name, 5)
            yield TaskRef(name, type="split_stem")
            await anyio.sleep(30)

    output = RecordingOutput()
    async with watched_client() as (client, activity):
        assert (
            await BatchView(client, activity, RunOptions(tasks=arriving()), output).run()
            is ExitCode.SUCCEEDED
        )
    assert [each.split()[0] for each in output.results] == ["a", "b", "c"]
    assert max(snapshot.total for snapshot in output.snapshots) == 3
    assert output.snapshots[0].total <= 1


@pytest.mark.parametrize("arrive_later", [False, True])
async def test_the_progress_has_the_labels_of_the_tasks(
    provider: FakeProvider, *, arrive_later: bool
) -> None:
    provider.add("a", 60)
    song = TaskRef("a", label="Tin Roof")

    async def arriving() -> AsyncIterator[TaskRef]:
        yield song

    output = RecordingOutput()
    options = RunOptions(tasks=arriving() if arrive_later else [song])
    async with watched_client() as (client, activity):
        await BatchView(client, activity, options, output).run()
    assert output.snapshots[5].noun == "song"
    assert [name for name, _ in output.snapshots[5].slowest] == ["Tin Roof"]


async def test_a_generator_of_tasks_is_closed_when_its_view_ends(provider: FakeProvider) -> None:
    closed = anyio.Event()

    async def endless() -> AsyncIterator[TaskRef]:
        try:
            provider.add("a", math.inf)
            yield TaskRef("a")
            await anyio.sleep_forever()
        finally:
            closed.set()

    async with watched_client() as (client, activity):
        with anyio.move_on_after(30):
            options = RunOptions(tasks=endless())
            await BatchView(client, activity, options, RecordingOutput()).run()
        assert closed.is_set()


async def test_tasks_may_arrive_from_an_iterator_that_is_no_generator(
    provider: FakeProvider,
) -> None:
    provider.add("a", 5)

    class Arriving:
        left: ClassVar = ["a"]

        def __aiter__(self) -> Arriving:
            return self

        async def __anext__(self) -> str:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    output = RecordingOutput()
    async with watched_client() as (client, activity):
        await BatchView(client, activity, RunOptions(tasks=Arriving()), output).run()
    assert [each.split()[0] for each in output.results] == ["a"]


async def test_the_progress_comes_from_the_events_of_the_client(provider: FakeProvider) -> None:
    provider.script("a", TransportError("cut"), record("a"))
    provider.add("a", 60)
    output = RecordingOutput()
    async with watched_client() as (client, activity):
        await BatchView(client, activity, RunOptions(tasks=["a"]), output).run()
        requests = client.stats.requests
    assert output.snapshots[-1].requests in {requests, requests - 1}
    assert all(each.silence is None for each in output.snapshots)
    ((task_id, seconds),) = output.snapshots[50].slowest
    assert task_id == "a"
    assert seconds == pytest.approx(50, abs=1)


async def test_the_progress_has_the_reason_after_ten_seconds_without_an_answer(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[TransportError("cut")] * 5)
    output = RecordingOutput()
    async with watched_client(poll=Interval(5)) as (client, activity):
        await BatchView(client, activity, RunOptions(tasks=["a"]), output).run()
    silences = [each.silence for each in output.snapshots]
    assert silences[:10] == [None] * 10
    assert silences[11] is not None
    assert str(silences[11].error) == "cut"
    assert all(math.isinf(each.batch.eta) for each in output.snapshots if each.silence)


async def test_a_short_period_of_the_rate_limit_has_ten_samples(provider: FakeProvider) -> None:
    provider.add("a", 60)
    recorder = RecorderStub()
    options = RunOptions(tasks=["a"], limit=RateLimit(20, 2.0))
    async with watched_client() as (client, activity):
        await BatchView(client, activity, options, RecordingOutput(), cast("Any", recorder)).run()
    assert len(recorder.samples) >= 5 * 60


async def test_a_recorder_gets_every_outcome_and_a_sample_per_second(
    provider: FakeProvider,
) -> None:
    provider.add("a", 10)
    provider.add("b", 30)
    recorder = RecorderStub()
    async with watched_client() as (client, activity):
        view = BatchView(
            client,
            activity,
            RunOptions(tasks=["a", "b"]),
            Output(is_quiet=True),
            cast("Any", recorder),
        )
        began = anyio.current_time()
        await view.run()
        lasted = anyio.current_time() - began
    assert [task_id for task_id, _ in recorder.ages] == ["a", "b"]
    assert all(seconds == pytest.approx(0, abs=0.01) for _, seconds in recorder.ages)
    assert len(recorder.samples) == math.ceil(lasted) + 1
    last = recorder.samples[-1]
    assert (last.batch.finished, last.batch.pending) == (2, 0)
    assert last.requests == len(provider.polls)


# With downloads


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_file_is_shown_once_its_stem_is_saved(tmp_path: Path) -> None:
    progress: list[DownloadProgress] = []

    class Watching(Activity):
        def on_progress(self, each: DownloadProgress) -> None:
            super().on_progress(each)
            progress.append(each)

    activity = Watching()
    async with (
        Emulator(rate_limit=None, speed=1000) as emulator,
        VocalSepClient("a-key", base_url=emulator.url, on_event=activity) as client,
    ):
        options = RunOptions(tasks=[emulator.add_task(duration=0)], download_to=tmp_path)
        view = BatchView(client, activity, options, RecordingOutput())
        assert await view.run() is ExitCode.SUCCEEDED
    assert {each.stem for each in progress} == {"vocal", "instrumental"}
    assert view.stats is not None
    assert activity.snapshot(view.stats).files == ()


# With a journal


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_view_tracks_the_tasks_of_its_journal(
    provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.round_trip = 0.0
    journal = tmp_path / "batch.journal"
    provider.script("a", record("a", "GENERATE_AUDIO_FAILED", errorMessage="no"))
    async with watched_client(rate_limit=None) as (client, activity):
        options = RunOptions(tasks=["a"], journal=journal)
        assert (
            await BatchView(client, activity, options, RecordingOutput()).run() is ExitCode.FAILED
        )
    recorder, output = RecorderStub(), RecordingOutput()
    with provider_in_place(monkeypatch) as another:
        async with watched_client(rate_limit=None) as (client, activity):
            options = RunOptions(tasks=(), journal=journal)
            again = BatchView(client, activity, options, output, cast("Any", recorder))
            assert await again.run() is ExitCode.FAILED
    assert len(output.results) == 1
    assert recorder.ages == [("a", None)]
    assert another.sent == []
