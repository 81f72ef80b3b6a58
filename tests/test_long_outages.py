"""Outages of the service: the whole client slows down, and comes back with the first answer."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fakes import Answer, FakeProvider, bare, envelope, finished, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Event, TaskTimeoutError, TransportError
from vocalsep_async.instrumentation import Paused, Resumed

pytestmark = [pytest.mark.anyio, pytest.mark.own_limiter]

HOUR = 3600.0
FAILURES: dict[str, Answer] = {
    "refused": TransportError("no connection (Connection refused)", may_have_arrived=False),
    "cut": TransportError("the server closed the connection before it answered"),
    "5xx": bare(503),
    "a gateway's page": bare(502, b"<html>Bad Gateway</html>"),
    "an error of the server in its own envelope": envelope(500, "broken"),
    "a page with 200": bare(200, b"<html>please log in</html>"),
}


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def fails(provider: FakeProvider, failure: Answer) -> None:
    provider.every_answer = lambda _: failure


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_an_hour_of_outage_costs_a_batch_few_requests(
    provider: FakeProvider, failure: Answer
) -> None:
    ids = [f"t{number}" for number in range(40)]
    async with make_client() as client, client.track(ids) as batch:
        provider.every_answer = record
        await anyio.sleep(30)
        fails(provider, failure)
        before, began = len(provider.sent), anyio.current_time()
        await anyio.sleep(HOUR)
        assert len(provider.sent) - before <= 300
        assert anyio.current_time() - began == pytest.approx(HOUR)
        returned = anyio.current_time()
        provider.ends_all()
        outcomes = [outcome async for outcome in batch]
    assert all(outcome.succeeded for outcome in outcomes)
    # The next probe, at the latest 24 s later, brings the whole rate back at once.
    assert anyio.current_time() - returned <= 24 + len(ids) / 2 + 5


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_the_return_from_a_short_outage_is_noticed_within_a_second(
    provider: FakeProvider, failure: Answer
) -> None:
    ids = [f"t{number}" for number in range(40)]
    async with make_client() as client, client.track(ids) as batch:
        provider.every_answer = record
        await anyio.sleep(30)
        fails(provider, failure)
        await anyio.sleep(50)
        returned = anyio.current_time()
        provider.ends_all()
        await anext(batch)
        assert anyio.current_time() - returned <= 1.2


async def test_an_outage_is_a_pause_that_is_announced_and_ends(provider: FakeProvider) -> None:
    events: list[Event] = []
    async with (
        make_client(on_event=events.append) as client,
        client.track([f"t{number}" for number in range(10)]) as batch,
    ):
        fails(provider, FAILURES["cut"])
        await anyio.sleep(90)
        assert client.stats.paused_for > 0
        provider.ends_all()
        assert [outcome.succeeded async for outcome in batch] == [True] * 10
    pauses = [event for event in events if isinstance(event, Paused)]
    assert {pause.reason for pause in pauses} == {"outage"}
    assert [pause.duration for pause in pauses[:4]] == pytest.approx([2, 4, 8, 16])
    assert sum(isinstance(event, Resumed) for event in events) == 1


async def test_a_wait_that_times_out_in_an_outage_names_its_cause(provider: FakeProvider) -> None:
    async with make_client() as client, anyio.create_task_group() as group:
        fails(provider, FAILURES["cut"])
        for number in range(10):
            group.start_soon(client.wait_for_tasks, [f"t{number}"])
        await anyio.sleep(100)
        with pytest.raises(TaskTimeoutError, match="closed the connection") as caught:
            await client.wait_for_task("a", timeout=5)
        assert isinstance(caught.value.last_error, TransportError)
        group.cancel_scope.cancel()


async def test_one_task_that_always_fails_slows_no_other_one(provider: FakeProvider) -> None:
    ids = [f"t{number}" for number in range(10)]
    for task_id in ids:
        provider.add(task_id, 300)
    provider.script("bad", *[envelope(500, "broken")] * 1000)
    async with make_client() as client, client.track([*ids, "bad"], timeout=500) as batch:
        succeeded = [(await anext(batch)).task_id for _ in ids]
        assert client.stats.paused_for == 0
    assert sorted(succeeded) == ids


async def test_waits_that_their_callers_give_up_are_no_outage(provider: FakeProvider) -> None:
    provider.round_trip = 60
    async with make_client() as client:
        for _ in range(60):
            with anyio.move_on_after(2):
                await client.get_task("a")
        assert client.stats.paused_for == 0


async def test_throttling_in_an_outage_is_no_failure(provider: FakeProvider) -> None:
    provider.script("a", *[FAILURES["5xx"]] * 8, envelope(430, "slow down"), finished("a"))
    async with make_client() as client:
        assert (await client.wait_for_task("a")).succeeded
