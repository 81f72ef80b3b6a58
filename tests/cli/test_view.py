"""The view of a batch, against a provider in virtual time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from fakes import FakeProvider, envelope, make_client, provider_in_place, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    BatchStats,
    ClientStats,
    DownloadError,
    DownloadProgress,
    SeparationTask,
    Stems,
    TaskOutcome,
    TaskRef,
    TaskStatus,
)
from vocalsep_async.cli.output import Output
from vocalsep_async.cli.process import ExitCode
from vocalsep_async.cli.progress import Snapshot
from vocalsep_async.cli.view import BatchView, RunOptions

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


class RecorderStub:
    """Stands in for a `RunRecorder`."""

    def __init__(self) -> None:
        self.samples: list[tuple[ClientStats, BatchStats]] = []
        self.ages: list[tuple[str, float]] = []

    def sample(self, client: ClientStats, batch: BatchStats) -> None:
        self.samples.append((client, batch))

    def on_outcome(self, outcome: TaskOutcome, age: float) -> None:
        self.ages.append((outcome.task_id, age))


async def test_a_view_returns_exit_code_0_if_all_tasks_succeed(provider: FakeProvider) -> None:
    provider.add("a", 10)
    provider.add("b", 20)
    output = RecordingOutput()
    async with make_client() as client:
        view = BatchView(client, RunOptions(tasks=["a", "b"]), output)
        assert await view.run() is ExitCode.SUCCEEDED
    assert [each.split()[0] for each in output.results] == ["a", "b"]
    assert view.open_ids == ()
    assert view.stats is not None
    assert view.stats.finished == 2


async def test_a_view_returns_the_worst_exit_code(provider: FakeProvider) -> None:
    provider.script("bad", record("bad", "GENERATE_AUDIO_FAILED", errorMessage="no"))
    provider.add("good", 1)
    provider.add("slow", 1e6)
    async with make_client() as client:
        options = RunOptions(tasks=["bad", "good", "slow"], timeout=60, as_json=True)
        output = RecordingOutput()
        assert await BatchView(client, options, output).run() is ExitCode.FAILED
        assert {each["task_id"]: each["succeeded"] for each in output.results} == {
            "bad": False,
            "good": True,
            "slow": False,
        }
        options = RunOptions(tasks=["good", "slow"], timeout=60)
        assert await BatchView(client, options, RecordingOutput()).run() is ExitCode.TIMED_OUT
        provider.script("good", envelope(401, "no"))
        assert await BatchView(client, options, RecordingOutput()).run() is ExitCode.ACCOUNT


async def test_a_cancelled_view_knows_the_open_tasks(provider: FakeProvider) -> None:
    provider.add("a", 1)
    provider.add("b", 1e6)
    async with make_client() as client:
        view = BatchView(client, RunOptions(tasks=["a", "b"]), RecordingOutput())
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
    async with make_client() as client:
        assert (
            await BatchView(client, RunOptions(tasks=arriving()), output).run()
            is ExitCode.SUCCEEDED
        )
    assert [each.split()[0] for each in output.results] == ["a", "b", "c"]
    assert max(snapshot.total for snapshot in output.snapshots) == 3
    assert output.snapshots[0].total <= 1


async def test_a_snapshot_has_the_tasks_that_have_been_pending_longest(
    provider: FakeProvider,
) -> None:
    names = ["a", "b", "c", "d", "e"]
    for number, name in enumerate(names):
        provider.add(name, 60 + 60 * number)
    output = RecordingOutput()
    refs = [TaskRef(name, type="split_stem") for name in names]
    async with make_client() as client:
        await BatchView(client, RunOptions(tasks=refs), output).run()
    first = output.snapshots[0]
    assert [task_id for task_id, _ in first.slowest] == ["a", "b", "c"]
    assert all(seconds == pytest.approx(0, abs=1) for _, seconds in first.slowest)
    later = next(snapshot for snapshot in output.snapshots if snapshot.batch.finished == 3)
    assert [task_id for task_id, _ in later.slowest] == ["d", "e"]
    assert all(seconds > 100 for _, seconds in later.slowest)


async def test_the_request_rate_is_recent_and_never_above_the_limit(
    provider: FakeProvider,
) -> None:
    for number in range(60):
        provider.add(f"t{number}", 40)
    output = RecordingOutput()
    async with make_client() as client:
        await BatchView(
            client, RunOptions(tasks=[f"t{number}" for number in range(60)]), output
        ).run()
    used = [snapshot.request_rate for snapshot in output.snapshots]
    assert used[0] == 0
    assert used[12] > 1
    # Even a burst of 20 requests is never shown as more than the limit of 20 per 10 s.
    assert max(used) <= 2.1


async def test_a_recorder_gets_every_outcome_and_a_sample_per_second(
    provider: FakeProvider,
) -> None:
    provider.add("a", 10)
    provider.add("b", 30)
    recorder = RecorderStub()
    async with make_client() as client:
        view = BatchView(
            client, RunOptions(tasks=["a", "b"]), Output(is_quiet=True), cast("Any", recorder)
        )
        began = anyio.current_time()
        await view.run()
        lasted = anyio.current_time() - began
    assert [task_id for task_id, _ in recorder.ages] == ["a", "b"]
    assert all(seconds == pytest.approx(0, abs=0.01) for _, seconds in recorder.ages)
    assert len(recorder.samples) == math.ceil(lasted) + 1
    client_stats, batch_stats = recorder.samples[-1]
    assert (batch_stats.finished, batch_stats.pending) == (2, 0)
    assert client_stats.requests == len(provider.polls)


# The age of an outcome


def outcome(task_id: str = "a", **fields: Any) -> TaskOutcome:
    task = SeparationTask(
        task_id=task_id, status=TaskStatus.SUCCESS, stems=Stems(vocal="https://cdn.example/v.mp3")
    )
    usual: dict[str, Any] = {"status": task.status, "task": task, "error": None, "polls": 1}
    return TaskOutcome(**{"task_id": task_id, "elapsed": 20.0, **usual, **fields})


async def ages_after(
    seconds: float, options: RunOptions, finished: TaskOutcome
) -> list[tuple[str, float]]:
    recorder = RecorderStub()
    client = make_client()
    view = BatchView(client, options, RecordingOutput(), cast("Any", recorder))
    if isinstance(options.tasks, list):
        view._with_times(options.tasks)
    await anyio.sleep(seconds)
    view._on_outcome(finished)
    return recorder.ages


async def test_the_age_of_an_outcome_includes_the_download(provider: FakeProvider) -> None:
    ((task_id, seconds),) = await ages_after(50, RunOptions(tasks=["a"]), outcome())
    assert task_id == "a"
    assert seconds == pytest.approx(30)


async def test_the_age_of_an_outcome_is_never_negative(provider: FakeProvider) -> None:
    assert await ages_after(5, RunOptions(tasks=["a"]), outcome()) == [("a", 0.0)]


async def test_the_age_of_an_outcome_is_0_if_its_start_is_unknown(
    provider: FakeProvider,
) -> None:
    async def nothing() -> AsyncIterator[str]:
        for each in tuple[str, ...]():
            yield each

    assert await ages_after(50, RunOptions(tasks=nothing()), outcome()) == [("a", 0.0)]
    assert await ages_after(50, RunOptions(tasks=["b"]), outcome()) == [("a", 0.0)]


# Running downloads


def progress(done: int, total: int | None, name: str = "vocal.wav") -> DownloadProgress:
    path = Path("stems", "a", name)
    return DownloadProgress(task_id="a", stem=path.stem, path=path, done=done, total=total)


async def files_after(*events: DownloadProgress | TaskOutcome) -> tuple[DownloadProgress, ...]:
    output = RecordingOutput()
    view = BatchView(make_client(), RunOptions(tasks=["a"]), output)
    for each in events:
        if isinstance(each, DownloadProgress):
            view._on_download_progress(each)
        else:
            view._on_outcome(each)
    batch = SimpleNamespace(stats=None)
    return view._snapshot(cast("Any", batch)).files


async def test_a_file_is_shown_while_it_is_downloaded(provider: FakeProvider) -> None:
    assert await files_after(progress(1, 3), progress(2, 3)) == (progress(2, 3),)
    assert await files_after(progress(1, None), progress(2, None)) == (progress(2, None),)
    assert await files_after(progress(2, 3), progress(3, 3)) == ()
    assert await files_after(progress(0, 0)) == ()


async def test_a_failed_download_is_no_longer_shown(provider: FakeProvider) -> None:
    cut = DownloadError("the connection was cut", task_id="a", stem="vocal")
    assert await files_after(progress(1, 3), outcome(download_error=cut)) == ()


# With a journal


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_view_tracks_the_tasks_of_its_journal(
    provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.round_trip = 0.0
    journal = tmp_path / "batch.journal"
    provider.script("a", record("a", "GENERATE_AUDIO_FAILED", errorMessage="no"))
    async with make_client(rate_limit=None) as client:
        options = RunOptions(tasks=["a"], journal=journal)
        assert await BatchView(client, options, RecordingOutput()).run() is ExitCode.FAILED
    recorder, output = RecorderStub(), RecordingOutput()
    with provider_in_place(monkeypatch) as another:
        async with make_client(rate_limit=None) as client:
            options = RunOptions(tasks=(), journal=journal)
            again = BatchView(client, options, output, cast("Any", recorder))
            assert await again.run() is ExitCode.FAILED
    assert len(output.results) == 1
    assert recorder.ages == [("a", 0.0)]
    assert another.sent == []
