"""What ends or wakes all waits for a task: `client.notify`, and final records of other calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, add_all, numbered, outcomes_of
from fakes import FakeProvider, is_idle, make_client, record
from listening import Recorder
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    ConfigurationError,
    Interval,
    InvalidArgumentError,
    PollPending,
    SeparationTask,
    TaskFailedError,
    TaskRef,
    TaskStatus,
    VocalSepClient,
)
from vocalsep_async.instrumentation import PollFinished, PollStarted, WaitFinished

pytestmark = pytest.mark.anyio

RARELY = Interval(1000)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def waiting(call: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(call)


# notify


async def test_notify_wakes_a_single_wait(provider: FakeProvider) -> None:
    provider.add("a", 10)
    async with make_client(poll=RARELY) as client:
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        notified = anyio.current_time()
        assert client.notify("a") is True
        assert (await wait).succeeded
        assert anyio.current_time() == pytest.approx(notified + provider.round_trip)


async def test_notify_wakes_waits_and_batches_with_one_poll(provider: FakeProvider) -> None:
    provider.add("a", 10)
    events = Recorder(PollStarted)
    async with make_client(poll=RARELY, on_event=events) as client:
        waits = [
            waiting(client.wait_for_task("a")),
            waiting(client.wait_for_tasks(["a"])),
            waiting(client.wait_for_tasks(["a", "b"])),
        ]
        await anyio.sleep(20)
        notified = anyio.current_time()
        assert client.notify(TaskRef("a")) is True
        await asyncio.gather(*waits)
        assert anyio.current_time() == pytest.approx(notified + provider.round_trip)
    assert len(events.of(PollStarted)[-1].wait_ids) == 3
    assert len(provider.times("a")) == 2


async def test_notify_puts_an_id_in_a_backlog_first(provider: FakeProvider) -> None:
    add_all(provider, numbered(100), NEVER)
    async with make_client() as client, client.track([*numbered(100), "last"]) as batch:
        await anyio.sleep(2)
        assert provider.times("last") == []
        notified = anyio.current_time()
        assert client.notify("last") is True
        assert (await anext(batch)).task_id == "last"
        assert anyio.current_time() < notified + 1


async def test_notify_polls_a_task_that_has_not_ended_once_more(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with make_client(poll=RARELY) as client:
        wait = waiting(client.wait_for_task("a", timeout=100))
        await anyio.sleep(20)
        assert client.notify("a")
        assert client.notify("a")
        await anyio.sleep(20)
        assert len(provider.times("a")) == 2
        assert not wait.done()
        await asyncio.gather(wait, return_exceptions=True)


async def test_notify_again_and_again_costs_few_polls(provider: FakeProvider) -> None:
    # Anyone may send callbacks where the receiver cannot tell them from true ones.
    provider.add("a", NEVER)
    async with make_client(poll=RARELY) as client:
        waits = [waiting(client.wait_for_task("a", timeout=None)) for _ in range(2)]
        await anyio.sleep(20)
        for _ in range(3000):
            assert client.notify("a")
            await anyio.sleep(0.1)
        gaps = [late - early for early, late in pairwise(provider.times("a"))]
        assert gaps[1:] == pytest.approx([5, 15, 35, 75, 155], abs=0.5)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def test_false_callbacks_take_no_slots_from_other_tasks(provider: FakeProvider) -> None:
    running, others = numbered(5), [f"other {number}" for number in range(10)]
    add_all(provider, running, NEVER)
    add_all(provider, others, 10)
    async with make_client() as client:
        false, true = (
            [waiting(client.wait_for_task(task_id)) for task_id in tasks]
            for tasks in (running, others)
        )
        for number in range(600):
            client.notify(running[number % 5])
            await anyio.sleep(0.1)
        assert all(wait.done() for wait in true)
        for wait in (*false, *true):
            wait.cancel()
        await asyncio.gather(*false, *true, return_exceptions=True)


async def test_a_callback_after_a_false_one_is_found_within_seconds(provider: FakeProvider) -> None:
    provider.add("a", 22)
    async with make_client(poll=RARELY) as client:
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        assert client.notify("a")
        called = anyio.current_time()
        await anyio.sleep(2.5)
        assert client.notify("a")
        assert (await wait).succeeded
        assert anyio.current_time() == pytest.approx(called + 5 + provider.round_trip)


async def test_notify_returns_false_for_tasks_that_are_not_waited_for(
    provider: FakeProvider,
) -> None:
    client = make_client()
    assert client.notify("a") is False
    async with client, client.track(["a"]) as batch:
        await outcomes_of(batch)
        await client.wait_for_task("b")
        assert [client.notify(task) for task in ("a", "b", "unknown")] == [False] * 3
    assert is_idle()
    assert client.notify("a") is False


async def test_notify_during_the_closing_of_a_client_returns_false(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    client = make_client(poll=RARELY)
    wait = waiting(client.wait_for_task("a"))
    await anyio.sleep(5)
    closing = waiting(client.aclose())
    await asyncio.sleep(0)
    assert client.notify("a") is False
    await asyncio.gather(wait, closing, return_exceptions=True)
    assert len(provider.times("a")) == 1


@pytest.mark.parametrize("wrong", ["", " ", 5, None])
async def test_notify_refuses_what_is_no_task(provider: FakeProvider, wrong: Any) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError):
            client.notify(wrong)


# notify in threads


def error_in_thread(call: Callable[[], object]) -> BaseException | None:
    """What *call* raises in a thread of its own."""
    errors: list[BaseException] = []

    def catch() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    return errors[0] if errors else None


async def in_a_loop(call: Callable[[], object]) -> None:
    call()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("is_batch", [False, True], ids=["client", "batch"])
@pytest.mark.parametrize("has_loop", [False, True], ids=["without a loop", "in its own loop"])
async def test_notify_in_another_thread_names_the_call_that_works(
    *, is_batch: bool, has_loop: bool
) -> None:
    async with VocalSepClient("a-key-for-tests") as client, client.track(keep_open=True) as batch:
        call = partial((batch if is_batch else client).notify, "a")
        in_thread = (lambda: asyncio.run(in_a_loop(call))) if has_loop else call
        error = error_in_thread(in_thread)
        assert call() is False
    assert isinstance(error, ConfigurationError)
    assert "loop.call_soon_threadsafe(client.notify, task_id)" in str(error)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_notify_in_another_loop_does_not_bind_an_unused_client() -> None:
    client = VocalSepClient("a-key-for-tests")
    assert error_in_thread(lambda: asyncio.run(in_a_loop(partial(client.notify, "a")))) is None
    async with client:
        assert client.notify("a") is False


async def test_the_call_that_the_error_names_works(provider: FakeProvider) -> None:
    provider.add("a", 10)
    async with make_client(poll=RARELY) as client:
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        loop = asyncio.get_running_loop()
        notified = anyio.current_time()
        assert error_in_thread(partial(loop.call_soon_threadsafe, client.notify, "a")) is None
        await wait
        assert anyio.current_time() == pytest.approx(notified + provider.round_trip)


# Final records that other calls receive

Call = Callable[[VocalSepClient, Path], Awaitable[object]]


async def downloads(client: VocalSepClient, folder: Path) -> None:
    # The task has no stems, so that nothing is fetched.
    with pytest.raises(TaskFailedError):
        await client.download_stems("a", folder)


async def opens(client: VocalSepClient, _folder: Path) -> None:
    with pytest.raises(TaskFailedError):
        async with client.open_stem("a", "vocal"):
            """There is none."""


CALLS: list[Call] = [
    lambda client, _: client.get_task("a"),
    lambda client, _: client.poll_once("a"),
    downloads,
    opens,
]


@pytest.fixture(params=CALLS, ids=["get_task", "poll_once", "download_stems", "open_stem"])
def call(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[VocalSepClient], Any]:
    """A call that polls the task "a" by itself."""
    return lambda client: request.param(client, tmp_path)


def fails(provider: FakeProvider) -> None:
    """From now on every task has ended without stems."""
    provider.every_answer = lambda task_id: record(task_id, "GENERATE_AUDIO_FAILED")


async def test_a_final_record_ends_all_waits_for_its_task_immediately(
    provider: FakeProvider, call: Callable[[VocalSepClient], Any]
) -> None:
    add_all(provider, ["a", "b"], NEVER)
    events = Recorder(WaitFinished)
    async with make_client(poll=RARELY, on_event=events) as client:
        async with client.track(["a", "b"]) as one, client.track(["a"]) as two:
            waits = [waiting(client.wait_for_task("a")) for _ in range(2)]
            await anyio.sleep(20)
            sent = len(provider.sent)
            fails(provider)
            await call(client)
            now = anyio.current_time()
            tasks = await asyncio.gather(*waits)
            outcomes = await anext(one), await anext(two)
            assert anyio.current_time() == now
            assert len(provider.sent) == sent + 1
            assert one.pending_ids() == ("b",)
        assert {task.status for task in tasks} == {"GENERATE_AUDIO_FAILED"}
        assert [(each.task_id, each.polls) for each in outcomes] == [("a", 1), ("a", 1)]
        assert {each.polls for each in events.of(WaitFinished)} == {1}


async def test_a_final_record_ends_the_wait_of_an_id_in_a_backlog(
    provider: FakeProvider, call: Callable[[VocalSepClient], Any]
) -> None:
    provider.round_trip = 1000  # of the first poll, which holds up the others
    async with (
        make_client() as client,
        client.track(["first", "a"], max_concurrency=1, timeout=None) as batch,
    ):
        await anyio.sleep(10)
        provider.round_trip = 0.1
        fails(provider)
        await call(client)
        now = anyio.current_time()
        outcome = await anext(batch)
        assert anyio.current_time() == now
        assert (outcome.task_id, outcome.status, outcome.polls) == (
            "a",
            "GENERATE_AUDIO_FAILED",
            0,
        )
        assert outcome.elapsed == pytest.approx(10.1)
        assert provider.sent == ["first", "a"]
        assert batch.pending_ids() == ("first",)


async def test_a_final_record_cancels_the_poll_under_way(
    provider: FakeProvider, call: Callable[[VocalSepClient], Any]
) -> None:
    events = Recorder(PollFinished, WaitFinished)
    async with make_client(on_event=events) as client, client.track(["a"]) as batch:
        provider.round_trip = 1000
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(1)
        provider.round_trip = 0.1
        fails(provider)
        await call(client)
        now = anyio.current_time()
        await wait
        await anext(batch)
        assert anyio.current_time() == now
        assert client.stats.in_flight == 0
    assert events.names == ["poll.finished", "poll.finished", "wait.finished"]
    of_the_call, of_the_wait = events.of(PollFinished)
    assert (of_the_call.wait_ids, of_the_call.error) == ((), None)
    assert isinstance(of_the_wait.error, asyncio.CancelledError)


async def test_no_older_answer_follows_a_final_record(provider: FakeProvider) -> None:
    provider.script("a", record("a"), record("a"))
    updates: list[str] = []

    async def slow(task: SeparationTask) -> None:
        updates.append(str(task.status))
        await anyio.sleep(20)

    async with make_client(poll=Interval(5)) as client:
        wait = waiting(client.wait_for_task("a", on_update=slow))
        await anyio.sleep(1)
        provider.round_trip = 10  # of the second poll, whose answer is late
        await anyio.sleep(5)
        provider.round_trip = 0.1
        provider._scripts.clear()
        assert (await client.get_task("a")).succeeded
        provider.script("a", record("a"))
        began = anyio.current_time()
        assert (await wait).succeeded
    assert updates == [TaskStatus.PENDING, TaskStatus.SUCCESS]
    assert anyio.current_time() < began + 40


@pytest.mark.parametrize("name", ["get_task", "poll_once"])
async def test_a_pending_record_ends_no_wait(provider: FakeProvider, name: str) -> None:
    provider.add("a", 40)
    async with make_client(poll=Interval(50)) as client, client.track(["a"]) as batch:
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        seen = await getattr(client, name)("a")
        assert isinstance(seen, PollPending) or seen.status is TaskStatus.PENDING
        await anyio.sleep(1)
        assert not wait.done()
        assert batch.pending_ids() == ("a",)
        assert (await wait).succeeded
        assert (await anext(batch)).polls == 2


async def test_polls_that_end_in_callbacks_need_no_asyncio_task(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where sniffio is installed, anyio finds the event loop within tasks only.
    current_time = anyio.current_time

    def in_tasks_only() -> float:
        assert asyncio.current_task() is not None
        return current_time()

    monkeypatch.setattr(anyio, "current_time", in_tasks_only)
    provider.add("a", NEVER)
    events = Recorder(PollFinished)
    async with make_client(on_event=events) as client:
        provider.round_trip = 1000
        with anyio.move_on_after(5):
            await client.wait_for_task("a")
        with anyio.move_on_after(5):
            await client.wait_for_tasks(["b"], timeout=4)
    assert len(events) == 2
