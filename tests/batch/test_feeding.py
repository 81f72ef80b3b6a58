"""`add`, `notify` and `close` while a batch runs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from batch.tracking import NEVER, add_all, numbered, outcomes_of, slowly, tracker_of
from fakes import FakeProvider, envelope, make_client

from vocalsep_async import (
    ConfigurationError,
    Interval,
    InvalidArgumentError,
    RateLimit,
    RetryPolicy,
    SeparationType,
    TaskOutcome,
    TaskRef,
)
from vocalsep_async.batch import BatchRunner

pytestmark = pytest.mark.anyio


# add and close


async def test_a_batch_that_is_kept_open_ends_only_after_close(provider: FakeProvider) -> None:
    got: list[str] = []

    async def feed() -> None:
        for task_id in numbered(5):
            await anyio.sleep(50)
            batch.add(task_id)
        await anyio.sleep(50)
        assert len(got) == 5
        batch.close()
        batch.close()

    async with (
        make_client() as client,
        client.track(keep_open=True) as batch,
        anyio.create_task_group() as group,
    ):
        group.start_soon(feed)
        async for outcome in batch:
            got.append(outcome.task_id)  # noqa: PERF401 - read meanwhile
    assert got == numbered(5)


async def test_without_keep_open_iteration_ends_with_the_last_task(provider: FakeProvider) -> None:
    provider.add("a", 20)
    async with make_client() as client, client.track(["a"]) as batch:
        batch.add("b")
        assert sorted(await outcomes_of(batch)) == ["a", "b"]


async def test_after_the_end_of_iteration_more_can_be_added(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(["a"]) as batch:
        await outcomes_of(batch)
        batch.add("b")
        assert list(await outcomes_of(batch)) == ["b"]


async def test_after_close_pending_tasks_get_their_outcomes(provider: FakeProvider) -> None:
    add_all(provider, numbered(5), 30)
    async with make_client() as client, client.track(numbered(5), keep_open=True) as batch:
        batch.close()
        assert len(await outcomes_of(batch)) == 5


async def test_after_close_nothing_can_be_added(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(["a"], keep_open=True) as batch:
        batch.close()
        with pytest.raises(ConfigurationError, match=r"closed; add tasks before close\(\)"):
            batch.add("b")
        assert list(await outcomes_of(batch)) == ["a"]


async def test_close_does_not_stop_the_reading_of_a_source(
    provider: FakeProvider,
) -> None:
    async with make_client() as client, client.track(slowly("abc", 10)) as batch:
        batch.close()
        assert list(await outcomes_of(batch)) == ["a", "b", "c"]


@pytest.mark.parametrize("wrong", ["", 7, None])
async def test_an_unusable_id_is_refused_where_it_is_added(
    provider: FakeProvider, wrong: object
) -> None:
    async with make_client() as client, client.track(["a"]) as batch:
        with pytest.raises(InvalidArgumentError, match="task id"):
            batch.add(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError, match="task id"):
            batch.notify(wrong)  # type: ignore[arg-type]
        assert batch.stats.pending == 1


@pytest.mark.own_limiter
async def test_an_added_task_is_polled_immediately(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with make_client() as client, client.track(["a"], poll=Interval(500)) as batch:
        await anyio.sleep(60)
        began = anyio.current_time()
        batch.add("b")
        assert (await anext(batch)).task_id == "b"
        assert anyio.current_time() == pytest.approx(began + 0.1)


@pytest.mark.parametrize("asked", [False, True])
async def test_an_added_ref_completes_what_is_known_of_a_pending_task(
    provider: FakeProvider, *, asked: bool
) -> None:
    provider.add("a", NEVER)
    ref = TaskRef(
        "a", type=SeparationType.SPLIT_STEM, created_at=datetime.now(UTC) - timedelta(seconds=70)
    )
    async with make_client() as client, client.track(["a"], poll=Interval(50)) as batch:
        if asked:
            await anyio.sleep(1)
        batch.add(ref)
        await anyio.sleep(1)
        target = client._engine.poller._targets["a"]
        assert target.type is SeparationType.SPLIT_STEM
        assert target.age_is_known
        assert batch.stats.pending == 1
    assert len(provider.polls) == 1


@pytest.mark.own_limiter
async def test_a_batch_learns_from_its_first_polls_that_its_ids_are_new(
    provider: FakeProvider,
) -> None:
    """Then a second poll of a quick task comes before the first one of a slow one."""
    provider.is_dated = True
    quick = [TaskRef(f"q{n}", type="separate_vocal") for n in range(30)]
    slow = [TaskRef(f"s{n}", type="split_stem") for n in range(90)]
    for ref in (*quick, *slow):
        provider.add(ref.task_id, 25 if ref in quick else 300)
    async with make_client() as client, client.track([*quick, *slow]) as batch:
        async for outcome in batch:
            if outcome.task_id == "q0":
                break
    assert not {ref.task_id for ref in slow} <= {polled for _, polled in provider.polls}


async def test_the_backlog_does_not_keep_refs_with_a_known_age(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(keep_open=True) as batch:
        for task_id in numbered(100):
            batch.add(TaskRef(task_id, created_at=datetime.now(UTC)))
            await anext(batch)
        lines = tracker_of(batch)._backlog._lines.values()
        assert sum(len(line.ids) for line in lines) < 10


# notify


async def after_notify(batch: BatchRunner, task_id: str) -> tuple[TaskOutcome, float]:
    """The next outcome, and how long it took after the task was notified."""
    began = anyio.current_time()
    assert batch.notify(task_id) is True
    return await anext(batch), anyio.current_time() - began


@pytest.mark.own_limiter
async def test_notify_polls_a_task_soon(provider: FakeProvider) -> None:
    provider.add("a", 60)
    async with make_client() as client, client.track(["a"], poll=Interval(1000)) as batch:
        await anyio.sleep(61)
        outcome, took = await after_notify(batch, "a")
    assert outcome.succeeded
    assert took == pytest.approx(0.1)
    assert len(provider.polls) == 2


@pytest.mark.own_limiter
async def test_notify_keeps_a_second_between_polls_of_a_task(provider: FakeProvider) -> None:
    provider.add("a", 0.2)
    async with make_client() as client, client.track(["a"], poll=Interval(1000)) as batch:
        await anyio.sleep(0.3)
        _, took = await after_notify(batch, "a")
    assert took == pytest.approx(0.8)


async def test_repeated_notify_calls_make_one_poll(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with make_client() as client, client.track(["a"], poll=Interval(1000)) as batch:
        await anyio.sleep(60)
        for _ in range(10):
            assert batch.notify(TaskRef("a"))
        await anyio.sleep(60)
        assert len(provider.polls) == 2


async def test_notify_puts_a_never_polled_task_first(
    provider: FakeProvider,
) -> None:
    add_all(provider, numbered(200), NEVER)
    async with make_client() as client, client.track([*numbered(200), "last"]) as batch:
        await anyio.sleep(10)
        outcome, took = await after_notify(batch, "last")
    assert outcome.task_id == "last"
    assert took < 2


async def test_notify_during_a_poll_makes_another_poll(provider: FakeProvider) -> None:
    provider.round_trip = 4
    provider.add("a", 2.5)
    async with make_client() as client, client.track(["a"], poll=Interval(1000)) as batch:
        await anyio.sleep(3)  # the poll was answered before the task ended
        outcome, took = await after_notify(batch, "a")
    assert outcome.succeeded
    assert took < 10


async def test_notify_after_a_failure_does_not_wait_for_the_retry_delay(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[envelope(500, "broken")] * 7)
    retry = RetryPolicy(jitter=0)
    async with make_client(retry=retry) as client, client.track(["a"]) as batch:
        await anyio.sleep(30)
        _, took = await after_notify(batch, "a")
    assert took < 1


async def test_notify_waits_for_the_rate_limit(provider: FakeProvider) -> None:
    provider.add("a", 5)
    limit = RateLimit(1, 100.0)
    async with make_client(rate_limit=limit) as client, client.track(["a"]) as batch:
        await anyio.sleep(10)
        _, took = await after_notify(batch, "a")
    assert took == pytest.approx(90.2, abs=0.1)


async def test_notify_returns_whether_the_task_is_pending(provider: FakeProvider) -> None:
    provider.add("b", math.inf)
    async with make_client() as client, client.track(["a", "b"]) as batch:
        assert batch.notify("a") is True
        await anext(batch)
        assert batch.notify("a") is False
        assert batch.notify("unknown") is False
        assert batch.notify("b") is True
        await anyio.sleep(10)
    assert {task_id for _, task_id in provider.polls} == {"a", "b"}
