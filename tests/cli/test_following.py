"""Following tasks to their ends, against a provider in virtual time."""

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
from vocalsep_async.cli.exits import Exit
from vocalsep_async.cli.following import Following, Order
from vocalsep_async.cli.screen import Screen
from vocalsep_async.cli.snapshot import Snapshot

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


class Watched(Screen):
    """Keeps what it is given, and looks once a second."""

    def __init__(self) -> None:
        super().__init__(is_quiet=True)
        self.results: list[Any] = []
        self.shots: list[Snapshot] = []
        self.poll: Callable[[], Snapshot] | None = None

    def result(self, result: Any) -> None:
        self.results.append(result)

    async def show(self, snapshot: Callable[[], Snapshot]) -> None:
        self.poll = snapshot
        while True:
            self.shots.append(snapshot())
            await anyio.sleep(1)


class Kept:
    """Stands in for a keeper."""

    def __init__(self) -> None:
        self.samples: list[tuple[ClientStats, BatchStats]] = []
        self.arrivals: list[tuple[str, float]] = []

    def sampled(self, client: ClientStats, batch: BatchStats) -> None:
        self.samples.append((client, batch))

    def arrived(self, outcome: TaskOutcome, seconds_ago: float) -> None:
        self.arrivals.append((outcome.task_id, seconds_ago))


async def test_all_succeeding_is_status_0_and_nothing_stays_open(provider: FakeProvider) -> None:
    provider.add("a", 10)
    provider.add("b", 20)
    screen = Watched()
    async with make_client() as client:
        following = Following(client, Order(tasks=["a", "b"]), screen)
        assert await following.run() is Exit.SUCCEEDED
    assert [each.split()[0] for each in screen.results] == ["a", "b"]
    assert following.open_ids == ()
    assert following.stats is not None
    assert following.stats.finished == 2


async def test_the_worst_of_all_is_what_it_ends_with(provider: FakeProvider) -> None:
    provider.script("bad", record("bad", "GENERATE_AUDIO_FAILED", errorMessage="no"))
    provider.add("good", 1)
    provider.add("slow", 1e6)
    async with make_client() as client:
        order = Order(tasks=["bad", "good", "slow"], timeout=60, as_json=True)
        screen = Watched()
        assert await Following(client, order, screen).run() is Exit.FAILED
        assert {each["task_id"]: each["ok"] for each in screen.results} == {
            "bad": False,
            "good": True,
            "slow": False,
        }
        order = Order(tasks=["good", "slow"], timeout=60)
        assert await Following(client, order, Watched()).run() is Exit.TIMED_OUT
        provider.script("good", envelope(401, "no"))
        assert await Following(client, order, Watched()).run() is Exit.THROTTLED


async def test_left_early_it_says_what_is_open(provider: FakeProvider) -> None:
    provider.add("a", 1)
    provider.add("b", 1e6)
    async with make_client() as client:
        following = Following(client, Order(tasks=["a", "b"]), Watched())
        with anyio.move_on_after(60):
            await following.run()
    assert following.open_ids == ("b",)
    assert following.stats is not None
    assert (following.stats.finished, following.stats.pending) == (1, 1)


async def test_tasks_are_followed_as_they_come(provider: FakeProvider) -> None:
    async def come() -> AsyncIterator[TaskRef]:
        for name in "abc":
            provider.add(name, 5)
            yield TaskRef(name, type="split_stem")
            await anyio.sleep(30)

    screen = Watched()
    async with make_client() as client:
        assert await Following(client, Order(tasks=come()), screen).run() is Exit.SUCCEEDED
    assert [each.split()[0] for each in screen.results] == ["a", "b", "c"]
    assert max(shot.total for shot in screen.shots) == 3
    assert screen.shots[0].total <= 1


async def test_those_that_have_waited_longest_are_shown(provider: FakeProvider) -> None:
    names = ["a", "b", "c", "d", "e"]
    for number, name in enumerate(names):
        provider.add(name, 60 + 60 * number)
    screen = Watched()
    refs = [TaskRef(name, type="split_stem") for name in names]
    async with make_client() as client:
        await Following(client, Order(tasks=refs), screen).run()
    first = screen.shots[0]
    assert [task_id for task_id, _ in first.slowest] == ["a", "b", "c"]
    assert all(seconds == pytest.approx(0, abs=1) for _, seconds in first.slowest)
    later = next(shot for shot in screen.shots if shot.batch.finished == 3)
    assert [task_id for task_id, _ in later.slowest] == ["d", "e"]
    assert all(seconds > 100 for _, seconds in later.slowest)


async def test_the_rate_is_that_of_the_last_seconds_and_never_above_the_limit(
    provider: FakeProvider,
) -> None:
    for number in range(60):
        provider.add(f"t{number}", 40)
    screen = Watched()
    async with make_client() as client:
        await Following(client, Order(tasks=[f"t{number}" for number in range(60)]), screen).run()
    used = [shot.used for shot in screen.shots]
    assert used[0] == 0
    assert used[12] > 1
    # Any 10 s may hold 20 requests, at once too: that is never shown as more than the limit.
    assert max(used) <= 2.1


async def test_a_keeper_gets_every_outcome_and_a_sample_a_second(provider: FakeProvider) -> None:
    provider.add("a", 10)
    provider.add("b", 30)
    keeper = Kept()
    async with make_client() as client:
        following = Following(
            client, Order(tasks=["a", "b"]), Screen(is_quiet=True), cast("Any", keeper)
        )
        began = anyio.current_time()
        await following.run()
        lasted = anyio.current_time() - began
    assert [task_id for task_id, _ in keeper.arrivals] == ["a", "b"]
    assert all(seconds == pytest.approx(0, abs=0.01) for _, seconds in keeper.arrivals)
    assert len(keeper.samples) == math.ceil(lasted) + 1
    client_stats, batch_stats = keeper.samples[-1]
    assert (batch_stats.finished, batch_stats.pending) == (2, 0)
    assert client_stats.requests == len(provider.polls)


# What was known while its stems were saved


def outcome(task_id: str = "a", **fields: Any) -> TaskOutcome:
    task = SeparationTask(
        task_id=task_id, status=TaskStatus.SUCCESS, stems=Stems(vocal="https://cdn.example/v.mp3")
    )
    usual: dict[str, Any] = {"status": task.status, "task": task, "error": None, "polls": 1}
    return TaskOutcome(**{"task_id": task_id, "elapsed": 20.0, **usual, **fields})


async def told_after(seconds: float, order: Order, told: TaskOutcome) -> list[tuple[str, float]]:
    keeper = Kept()
    client = make_client()
    following = Following(client, order, Watched(), cast("Any", keeper))
    if isinstance(order.tasks, list):
        following._noted(order.tasks)
    await anyio.sleep(seconds)
    following._tell(told)
    return keeper.arrivals


async def test_an_outcome_was_known_before_its_stems_were_saved(provider: FakeProvider) -> None:
    ((task_id, seconds),) = await told_after(50, Order(tasks=["a"]), outcome())
    assert task_id == "a"
    assert seconds == pytest.approx(30)


async def test_nothing_is_known_before_it_is_known(provider: FakeProvider) -> None:
    assert await told_after(5, Order(tasks=["a"]), outcome()) == [("a", 0.0)]


async def test_of_tasks_that_come_or_are_in_the_journal_only_now_is_known(
    provider: FakeProvider,
) -> None:
    async def nothing() -> AsyncIterator[str]:
        for each in tuple[str, ...]():
            yield each

    assert await told_after(50, Order(tasks=nothing()), outcome()) == [("a", 0.0)]
    assert await told_after(50, Order(tasks=["b"]), outcome()) == [("a", 0.0)]


# Files under way


def progress(done: int, total: int | None, name: str = "vocal.wav") -> DownloadProgress:
    path = Path("stems", "a", name)
    return DownloadProgress(task_id="a", stem=path.stem, path=path, done=done, total=total)


async def files_after(*told: DownloadProgress | TaskOutcome) -> tuple[DownloadProgress, ...]:
    screen = Watched()
    following = Following(make_client(), Order(tasks=["a"]), screen)
    for each in told:
        if isinstance(each, DownloadProgress):
            following._progressed(each)
        else:
            following._tell(each)
    batch = SimpleNamespace(stats=None)
    return following._snapshot(cast("Any", batch)).files


async def test_a_file_is_shown_while_it_comes(provider: FakeProvider) -> None:
    assert await files_after(progress(1, 3), progress(2, 3)) == (progress(2, 3),)
    assert await files_after(progress(1, None), progress(2, None)) == (progress(2, None),)
    assert await files_after(progress(2, 3), progress(3, 3)) == ()
    assert await files_after(progress(0, 0)) == ()


async def test_a_file_that_broke_off_is_not_shown_for_ever(provider: FakeProvider) -> None:
    cut = DownloadError("the connection was cut", task_id="a", stem="vocal")
    assert await files_after(progress(1, 3), outcome(download_error=cut)) == ()


# With a journal


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_a_journal_holds_is_followed_without_being_named(
    provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.round_trip = 0.0
    journal = tmp_path / "batch.journal"
    provider.script("a", record("a", "GENERATE_AUDIO_FAILED", errorMessage="no"))
    async with make_client(rate_limit=None) as client:
        order = Order(tasks=["a"], journal=journal)
        assert await Following(client, order, Watched()).run() is Exit.FAILED
    keeper, screen = Kept(), Watched()
    with provider_in_place(monkeypatch) as another:
        async with make_client(rate_limit=None) as client:
            order = Order(tasks=(), journal=journal)
            again = Following(client, order, screen, cast("Any", keeper))
            assert await again.run() is Exit.FAILED
    assert len(screen.results) == 1
    assert keeper.arrivals == [("a", 0.0)]
    assert another.sent == []
