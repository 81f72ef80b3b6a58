"""`client.notify(record=...)`: the record of a callback that cannot be forged is an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve
from batch.journals import journals_in_virtual_time, process
from batch.tracking import NEVER, add_all, numbered, outcomes_of
from fakes import FakeProvider, finished, make_client, record
from listening import Recorder
from posted_records import INFO, posted, success
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    KIE,
    KIE_JOBS,
    Interval,
    InvalidArgumentError,
    SeparationTask,
    Stems,
    TaskFailedError,
    TaskRef,
    TaskStatus,
)
from vocalsep_async.instrumentation import TaskFinished

pytestmark = pytest.mark.anyio

RARELY = Interval(1000)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def waiting(call: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(call)


async def test_the_record_of_a_callback_ends_waits_and_batches_without_a_poll(
    provider: FakeProvider,
) -> None:
    add_all(provider, ["a"], NEVER)
    events = Recorder(TaskFinished)
    async with make_client(poll=RARELY, on_event=events) as client:
        waits = [waiting(client.wait_for_task("a")), waiting(client.wait_for_tasks(["a"]))]
        await anyio.sleep(20)
        now, sent = anyio.current_time(), len(provider.sent)
        assert client.notify("a", record=success("a")) is True
        task, outcomes = await asyncio.gather(*waits)
        assert (anyio.current_time(), len(provider.sent)) == (now, sent)
    assert dict(task.stems) == dict(outcomes["a"].result().stems)
    assert task.stems.vocal == INFO["vocal_url"]
    assert len(events) == 1


async def test_the_record_of_a_callback_ends_the_wait_of_an_id_in_a_backlog(
    provider: FakeProvider,
) -> None:
    add_all(provider, numbered(100), NEVER)
    async with make_client() as client, client.track([*numbered(100), "last"]) as batch:
        await anyio.sleep(2)
        now = anyio.current_time()
        assert client.notify("last", record=success("last"))
        outcome = await anext(batch)
        assert (outcome.task_id, outcome.succeeded, outcome.polls) == ("last", True, 0)
        assert anyio.current_time() == now


async def test_a_callback_about_a_failure_is_an_outcome_with_its_code_and_message(
    provider: FakeProvider,
) -> None:
    add_all(provider, ["a"], NEVER)
    async with make_client(poll=RARELY) as client:
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        assert client.notify("a", record=posted("a", 451, "cannot fetch", vocal_removal_info=None))
        task = await wait
    assert task.status is TaskStatus.GENERATE_AUDIO_FAILED
    assert (task.error_code, task.error_message) == (451, "cannot fetch")
    assert len(provider.times("a")) == 1


NO_ENDS = {
    "no end": posted("a", 202),
    "a success without links": posted("a", 200),
    "a status that its raw record does not have": evolve(success("a"), raw={}),
    "other links than its raw record": evolve(success("a"), stems=Stems(drums="https://x.example")),
    "a code that is none": evolve(posted("a", 451), error_code="E"),
}


@pytest.mark.parametrize("given", NO_ENDS.values(), ids=NO_ENDS)
async def test_a_record_that_proves_no_end_only_makes_a_poll(
    provider: FakeProvider, given: SeparationTask
) -> None:
    provider.add("a", 60)
    async with make_client(poll=RARELY) as client:
        wait = waiting(client.wait_for_task("a", timeout=100))
        await anyio.sleep(20)
        assert client.notify("a", record=given) is True
        await anyio.sleep(0.5)
        assert not wait.done()
        assert len(provider.times("a")) == 2
        await asyncio.gather(wait, return_exceptions=True)


async def test_a_poll_that_finds_no_end_beats_a_callback_without_a_record(
    provider: FakeProvider,
) -> None:
    provider.add("a", 40)
    async with make_client(poll=Interval(30)) as client:
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(10)
        client.notify("a")
        await anyio.sleep(1)
        assert not wait.done()
        assert (await wait).succeeded
    assert len(provider.times("a")) == 3


async def test_records_of_tasks_that_ended_or_are_unknown_are_not_waited_for(
    provider: FakeProvider,
) -> None:
    provider.add("b", NEVER)
    async with make_client() as client:
        await client.wait_for_task("a")
        await asyncio.gather(client.wait_for_task("b", timeout=5), return_exceptions=True)
        for task_id in ("a", "b", "unknown"):
            assert client.notify(task_id, record=success(task_id)) is False


@pytest.mark.parametrize("wrong", [{"taskId": "a"}, "SUCCESS", success("b")])
async def test_a_record_must_be_one_of_the_task(provider: FakeProvider, wrong: Any) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="record"):
            client.notify("a", record=wrong)


async def test_a_record_takes_the_type_and_the_route_of_the_task_that_waits(
    provider: FakeProvider,
) -> None:
    provider.add("a", NEVER)
    ref = TaskRef("a", type="split_stem_advanced", route="kie_jobs")
    data: dict[str, Any] = {
        "state": "success",
        "resultJson": '{"resultUrls": ["https://cdn.example/v.mp3"]}',
    }
    given = posted("a", provider=KIE_JOBS, **data)
    async with make_client(base_url="https://api.kie.ai", provider=KIE, poll=RARELY) as client:
        wait = waiting(client.wait_for_task(ref))
        await anyio.sleep(20)
        assert client.notify("a", record=given)
        task = await wait
    assert (task.type, task.route) == ("split_stem_advanced", "kie_jobs")


@pytest.mark.parametrize(
    "given", [success("a"), posted("a", 451, "no"), evolve(posted("a", 500), raw={})]
)
async def test_a_journal_restores_an_outcome_that_a_callback_brought(
    provider: FakeProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: SeparationTask,
) -> None:
    journals_in_virtual_time(monkeypatch)
    path = tmp_path / "journal"
    provider.add("a", NEVER)
    async with process(provider) as client, client.track(["a"], journal=path) as batch:
        await anyio.sleep(5)
        client.notify("a", record=given)
        first = await anext(batch)
    sent = len(provider.sent)
    async with process(provider) as client, client.track((), journal=path) as batch:
        again = (await outcomes_of(batch))["a"]
    assert len(provider.sent) == sent
    assert (again.status, again.task) == (first.status, first.task)
    if given.succeeded:
        assert again.result().stems == given.stems
    else:
        with pytest.raises(TaskFailedError):
            again.result()


async def test_a_record_that_another_client_polled_can_be_handed_on(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a"), finished("a"))
    async with make_client(poll=RARELY) as client, make_client() as other:
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        task = await other.get_task("a")
        assert client.notify("a", record=task)
        assert await wait == task
    assert len(provider.sent) == 2
