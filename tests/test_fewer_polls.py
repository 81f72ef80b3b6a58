"""Waits for tasks that expect a callback leave to it the polls that are hardly worth a request."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, add_all, numbered, outcomes_of
from fakes import FakeProvider, finished, make_client
from posted_records import success
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Interval, TaskRef, TaskTimeoutError, VocalSepClient
from vocalsep_async._scheduling.callbacks import PATIENCE, CallbackLosses

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _dated(provider: FakeProvider) -> None:
    provider.is_dated = True


def waiting(call: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(call)


def expecting(task_id: str) -> TaskRef:
    """A ref as `create_task` returns it."""
    return TaskRef(
        task_id, type="separate_vocal", created_at=datetime.now(UTC), expects_callback=True
    )


def losses_of(client: VocalSepClient) -> CallbackLosses:
    return client._engines._memory.losses


def relies_on_callbacks(client: VocalSepClient) -> None:
    """As after a hundred callbacks that came."""
    for _ in range(100):
        losses_of(client).on_callback()


async def test_the_first_poll_of_a_task_that_expects_a_callback_is_not_immediate(
    provider: FakeProvider,
) -> None:
    add_all(provider, ["a", "b", "c"], 60)
    async with make_client() as client:
        waits = [
            waiting(client.wait_for_task(expecting("a"))),
            waiting(client.wait_for_tasks([expecting("b")])),
            waiting(client.wait_for_task(TaskRef("c", created_at=datetime.now(UTC)))),
        ]
        await anyio.sleep(10)
        assert set(provider.sent) == {"c"}
        await asyncio.gather(*waits)
    assert provider.times("a")[0] > 1010.0


async def test_a_callback_ends_a_wait_with_a_single_poll(provider: FakeProvider) -> None:
    provider.add("a", 30)
    async with make_client() as client:
        relies_on_callbacks(client)
        wait = waiting(client.wait_for_task(expecting("a")))
        await anyio.sleep(32)
        assert client.notify("a")
        await wait
        assert anyio.current_time() < 1000 + 32.2
        assert losses_of(client).share < 0.02
    assert len(provider.times("a")) == 1


async def test_a_lost_callback_delays_the_end_of_a_wait_and_does_not_prevent_it(
    provider: FakeProvider,
) -> None:
    provider.add("a", 30)
    async with make_client() as client:
        relies_on_callbacks(client)
        before = losses_of(client).share
        await client.wait_for_task(expecting("a"))
        assert 1060.0 < anyio.current_time() < 1200.0
        await anyio.sleep(PATIENCE)
        losses_of(client).settle(anyio.current_time())
        assert losses_of(client).share > before
    assert len(provider.times("a")) < 4


async def test_callbacks_that_all_get_lost_leave_everything_as_it_was_without_them(
    provider: FakeProvider,
) -> None:
    async with make_client() as client:
        for number in range(12):
            provider.add(f"t{number}", 30)
            await client.wait_for_task(expecting(f"t{number}"))
            await anyio.sleep(PATIENCE + 1)
        client._engines._memory.losses.settle(anyio.current_time())
        assert losses_of(client).cost == 0.0
        provider.add("a", 30)
        began = anyio.current_time()
        await client.wait_for_task(expecting("a"))
    assert provider.times("a")[0] < began + 1


async def test_a_batch_sends_fewer_polls_where_callbacks_come(provider: FakeProvider) -> None:
    ids, chance = numbered(40), random.Random(7)
    polls = {}
    for expects in (False, True):
        add_all(provider, [], 0)
        provider.sent.clear()
        loop = asyncio.get_running_loop()
        async with make_client() as client:
            refs = []
            for task_id in ids:
                lasts = chance.uniform(20, 90)
                provider.add(task_id, lasts)
                loop.call_at(anyio.current_time() + lasts + 2, client.notify, task_id)
                refs.append(expecting(task_id) if expects else TaskRef(task_id))
            async with client.track(refs) as batch:
                await outcomes_of(batch)
        provider.reopen()
        polls[expects] = len(provider.sent)
    assert polls[True] < 0.7 * polls[False]


async def test_an_interval_that_the_user_chose_is_kept(provider: FakeProvider) -> None:
    provider.add("a", 18)
    async with make_client(poll=Interval(5)) as client:
        relies_on_callbacks(client)
        await client.wait_for_task(expecting("a"))
    times = provider.times("a")
    assert [round(at - times[0]) for at in times] == [0, 5, 10, 15, 20]


async def test_a_wait_for_a_single_poll_is_not_left_to_a_callback(provider: FakeProvider) -> None:
    add_all(provider, ["a", "b", "c"], NEVER)
    async with make_client() as client:
        for task_id in ("a", "a"):
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task(expecting(task_id), timeout=0)
        await client.wait_for_tasks([expecting("b"), expecting("c")], timeout=0)
    assert anyio.current_time() < 1005
    assert sorted(provider.sent) == ["a", "a", "b", "c"]


async def test_the_last_poll_before_a_deadline_is_not_left_to_a_callback(
    provider: FakeProvider,
) -> None:
    provider.add("a", 10)
    async with make_client() as client:
        relies_on_callbacks(client)
        assert (await client.wait_for_task(expecting("a"), timeout=15)).succeeded
    assert len(provider.times("a")) == 1


SHARERS = [
    pytest.param(lambda: "a", {}, True, id="a bare id"),
    pytest.param(lambda: expecting("a"), {"poll": Interval(5)}, True, id="an interval"),
    pytest.param(lambda: expecting("a"), {"timeout": 0}, True, id="a single poll"),
    pytest.param(lambda: expecting("a"), {}, False, id="another wait of its kind"),
]


@pytest.mark.parametrize("ref, options, is_immediate", SHARERS)
async def test_another_wait_for_the_task_polls_at_once_unless_it_leaves_that_to_a_callback_too(
    provider: FakeProvider, ref: Any, options: Any, *, is_immediate: bool
) -> None:
    provider.add("a", NEVER)
    async with make_client() as client:
        relies_on_callbacks(client)
        waits = [waiting(client.wait_for_task(expecting("a"), timeout=100))]
        await anyio.sleep(2)
        waits.append(waiting(client.wait_for_task(ref(), **{"timeout": 50, **options})))
        await anyio.sleep(1)
        assert len(provider.sent) == is_immediate
        await asyncio.gather(*waits, return_exceptions=True)


async def test_what_one_wait_knows_of_a_callback_holds_for_all(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with make_client() as client, client.track([expecting("b")]) as batch:
        relies_on_callbacks(client)
        provider.add("b", NEVER)
        batch.add("a")
        await anyio.sleep(1)
        batch.add(expecting("a"))
        await anyio.sleep(5)
        polls = len(provider.times("a"))
        await anyio.sleep(20)
        assert len(provider.times("a")) == polls


async def test_a_task_that_is_known_to_have_ended_is_polled_at_once(provider: FakeProvider) -> None:
    provider.add("a", 10)
    async with make_client() as client:
        relies_on_callbacks(client)
        wait = waiting(client.wait_for_task(expecting("a")))
        await anyio.sleep(11)
        client.notify("a")
        await wait
        began = anyio.current_time()
        client.notify("a")  # once more
        await client.wait_for_task(expecting("a"))
        assert anyio.current_time() < began + 1


async def test_a_callback_after_which_a_poll_finds_no_end_is_not_waited_for_again(
    provider: FakeProvider,
) -> None:
    provider.add("a", 40)
    async with make_client() as client:
        relies_on_callbacks(client)
        share = losses_of(client).share
        wait = waiting(client.wait_for_task(expecting("a")))
        await anyio.sleep(20)
        client.notify("a")
        await wait
        # As without callbacks, though that one did not tell the end.
        assert anyio.current_time() < 1000 + 40 + 10
        await anyio.sleep(PATIENCE)
        losses_of(client).settle(anyio.current_time())
        assert losses_of(client).share > share


async def test_a_callback_that_comes_soon_after_a_poll_found_the_end_is_not_lost(
    provider: FakeProvider,
) -> None:
    provider.add("a", 10)
    async with make_client() as client:
        wait = waiting(client.wait_for_task(expecting("a")))
        await anyio.sleep(11)
        await client.get_task("a")
        await wait
        await anyio.sleep(1)
        assert client.notify("a") is False
        assert losses_of(client).share < 0.5


async def test_a_callback_counts_where_the_time_of_the_end_is_not_known(
    provider: FakeProvider,
) -> None:
    provider.is_dated = False
    provider.add("a", NEVER)
    async with make_client() as client:
        ref = TaskRef("a", expects_callback=True)
        wait = waiting(client.wait_for_task(ref))
        await anyio.sleep(5)
        provider.every_answer = finished
        client.notify("a")
        await wait
        assert losses_of(client).share < 0.5
        await client.wait_for_task(TaskRef("b", expects_callback=True))
        assert losses_of(client).next_change == anyio.current_time() + PATIENCE


async def test_the_notify_of_a_batch_is_a_callback_too(provider: FakeProvider) -> None:
    provider.add("a", 20)
    async with make_client() as client, client.track([expecting("a")]) as batch:
        await anyio.sleep(21)
        assert batch.notify("a")
        assert (await anext(batch)).succeeded
        assert losses_of(client).share < 0.5


async def test_a_callback_before_the_wait_counts_as_one_that_came(provider: FakeProvider) -> None:
    provider.add("a", 0)
    async with make_client() as client:
        client.notify("a")
        await client.wait_for_task(expecting("a"))
        assert losses_of(client).share < 0.5


async def test_durations_are_learned_from_callbacks_that_tell_no_times(
    provider: FakeProvider,
) -> None:
    provider.add("a", NEVER)
    async with make_client() as client:
        wait = waiting(client.wait_for_task(expecting("a")))
        await anyio.sleep(12)
        client.notify("a", record=success("a"))
        await wait
        assert client.durations.view("separate_vocal").completions == 1


async def test_nothing_is_learned_of_a_task_of_unknown_age_whose_callback_has_not_come(
    provider: FakeProvider,
) -> None:
    provider.is_dated = False
    add_all(provider, ["a", "b"], NEVER)
    async with make_client() as client:
        relies_on_callbacks(client)
        model = client._durations._hazards.model(None)
        wait = waiting(client.wait_for_task(TaskRef("a", expects_callback=True), timeout=50))
        await anyio.sleep(20)
        provider.every_answer = finished
        provider._done_at["b"] = 0.0
        await client.get_task("b")
        assert sum(model.counts.exposure) == pytest.approx(60.0)
        await asyncio.gather(wait, return_exceptions=True)
