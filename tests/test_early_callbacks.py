"""A callback that comes before the wait for its task makes the first poll of that wait immediate.

It comes before where a task ends as soon as it is created, or a service was restarted meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, add_all, numbered
from fakes import FakeProvider, is_idle, make_client
from posted_records import posted, success
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import KIE, Interval, PollDone, PollPending, TaskRef
from vocalsep_async.policies import EARLY_CALLBACK_PATIENCE

pytestmark = pytest.mark.anyio

RARELY = Interval(1000)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("ref", ["last", TaskRef("last", type="split_stem")])
async def test_a_batch_polls_a_task_whose_callback_came_before_all_others(
    provider: FakeProvider, ref: Any
) -> None:
    add_all(provider, numbered(100), NEVER)
    async with make_client() as client:
        assert client.notify("last") is False
        async with client.track([*numbered(100), ref]) as batch:
            began = anyio.current_time()
            assert (await anext(batch)).task_id == "last"
            assert anyio.current_time() < began + 1
    assert provider.sent.index("last") == 0


async def test_a_task_that_is_added_to_a_batch_after_its_callback_is_polled_at_once(
    provider: FakeProvider,
) -> None:
    add_all(provider, numbered(100), NEVER)
    async with make_client() as client, client.track(numbered(100), keep_open=True) as batch:
        await anyio.sleep(2)
        client.notify("late")
        batch.add("late")
        began = anyio.current_time()
        assert (await anext(batch)).task_id == "late"
        assert anyio.current_time() < began + 1


async def test_the_record_of_an_early_callback_ends_a_wait_without_a_poll(
    provider: FakeProvider,
) -> None:
    async with make_client() as client:
        assert client.notify("a", record=success("a")) is False
        began = anyio.current_time()
        task = await client.wait_for_task("a")
        assert anyio.current_time() == began
        assert task.stems == success("a").stems
        assert is_idle()
        # It is remembered for one wait.
        await client.wait_for_task("a")
    assert provider.sent == ["a"]


async def test_the_record_of_an_early_callback_ends_a_wait_for_a_single_poll(
    provider: FakeProvider,
) -> None:
    async with make_client() as client:
        client.notify("a", record=success("a"))
        assert (await client.wait_for_task("a", timeout=0)).succeeded
    assert provider.sent == []


async def test_the_record_of_an_early_callback_is_an_outcome_of_a_batch(
    provider: FakeProvider,
) -> None:
    provider.add("b", 10)
    async with make_client() as client:
        client.notify("a", record=success("a"))
        outcomes = await client.wait_for_tasks(["b", TaskRef("a", type="separate_vocal")])
    assert (outcomes["a"].succeeded, outcomes["a"].polls, outcomes["a"].elapsed) == (True, 0, 0.0)
    assert "a" not in provider.sent
    assert outcomes["b"].succeeded


async def test_the_record_of_an_early_callback_is_found_whatever_the_route_of_the_wait(
    provider: FakeProvider,
) -> None:
    async with make_client(base_url="https://api.kie.ai", provider=KIE) as client:
        client.notify("a", record=success("a"))
        task = await client.wait_for_task(TaskRef("a", route="kie"))
    assert (task.route, provider.sent) == ("kie", [])


async def test_an_early_callback_with_the_record_of_no_end_makes_a_poll(
    provider: FakeProvider,
) -> None:
    async with make_client() as client:
        client.notify("a", record=posted("a", 200))
        assert (await client.wait_for_task("a")).succeeded
    assert provider.sent == ["a"]


async def test_a_wait_that_ends_before_its_early_record_is_handed_out_gets_none(
    provider: FakeProvider,
) -> None:
    async with make_client() as client:
        client.notify("a", record=success("a"))
        wait = asyncio.ensure_future(client.wait_for_task("a"))
        await asyncio.sleep(0)
        await client.aclose()
        await asyncio.gather(wait, return_exceptions=True)
        await anyio.sleep(1)
    assert provider.sent == []


async def test_poll_once_returns_the_record_of_an_early_callback_without_a_poll(
    provider: FakeProvider,
) -> None:
    provider.add("b", NEVER)
    async with make_client() as client:
        client.notify("a", record=success("a"))
        client.notify("b")
        done = await client.poll_once("a")
        assert isinstance(done, PollDone)
        assert done.task.succeeded
        assert isinstance(await client.poll_once("b"), PollPending)
    assert provider.sent == ["b"]


async def test_an_early_callback_is_forgotten_after_its_patience(provider: FakeProvider) -> None:
    async with make_client() as client:
        client.notify("a", record=success("a"))
        await anyio.sleep(EARLY_CALLBACK_PATIENCE + 1)
        await client.wait_for_task("a")
    assert provider.sent == ["a"]


async def test_a_callback_that_is_repeated_after_the_end_disturbs_no_other_wait(
    provider: FakeProvider,
) -> None:
    add_all(provider, ["b"], NEVER)
    async with make_client(poll=RARELY) as client, client.track(["b"]) as batch:
        await client.wait_for_task("a")
        sent = len(provider.sent)
        for _ in range(3):
            assert client.notify("a") is False
        await anyio.sleep(100)
        assert len(provider.sent) == sent
        assert batch.pending_ids() == ("b",)


def test_an_early_callback_is_remembered_in_the_next_event_loop(provider: FakeProvider) -> None:
    client = make_client()

    async def opens() -> None:
        await client.wait_for_task("other")
        client.notify("a", record=success("a"))

    async def waits() -> None:
        assert (await client.wait_for_task("a")).succeeded
        await client.aclose()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(opens())
    provider.reopen()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(waits())
    assert provider.sent == ["other"]
