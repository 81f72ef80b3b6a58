"""Calls that end early: cancelled at every await, timed out from outside, closed, misused.

The cancel sweep runs one call again and again. The client's coroutines, in whatever task, count
how often they suspend; in run *n* the call is cancelled at the *n*-th suspension. It ends when a
run gets through without being hit.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal

import aiohttp
import anyio
import pytest
from fault_server import FaultServer

from vocalsep_async import (
    ClientClosedError,
    ConfigurationError,
    Interval,
    RateLimit,
    RetryPolicy,
    TaskTimeoutError,
    VocalSepClient,
    VocalSepError,
)

pytestmark = pytest.mark.anyio

KEY = "sk-test-0123456789"
SOON = 60.0
"""Seconds after which a call counts as hanging."""
QUICK = RetryPolicy(attempts=3, initial=0.001, maximum=0.001)

Call = Callable[[VocalSepClient], Awaitable[object]]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def client_at(url: str, **options: Any) -> VocalSepClient:
    options = {"rate_limit": None, "retry": QUICK, "poll": Interval(0.001)} | options
    return VocalSepClient(KEY, base_url=url, **options)


async def create(client: VocalSepClient) -> object:
    return await client.create_task(
        callback_url="https://callback.example/", audio_url="https://a.example/a.mp3"
    )


def polls_of(task_id: str) -> Call:
    return lambda client: client.get_task(task_id)


def timed_polls_of(task_id: str) -> Call:
    return lambda client: client.get_task(task_id, timeout=SOON)


def waits_for(task_id: str) -> Call:
    return lambda client: client.wait_for_task(task_id)


def waits_for_all(*task_ids: str) -> Call:
    return lambda client: client.wait_for_tasks(task_ids)


def separates(name: str) -> Call:
    return lambda client: client.separate(f"https://a.example/{name}.mp3")


async def credits_of(client: VocalSepClient) -> object:
    return await client.get_credits()


async def close(client: VocalSepClient) -> object:
    await client.aclose()
    return None


def connector_of(client: VocalSepClient) -> aiohttp.BaseConnector | None:
    session = client._engine.transport._session
    return None if session is None else session.connector


async def tasks_left(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Tasks that still run after the cancelled ones had the time to end."""
    for _ in range(50):
        left = asyncio.all_tasks() - before
        if not left:
            break
        await asyncio.sleep(0)
    return left


# The sweep


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that calls back before it suspends."""

    def __init__(self, inner: Coroutine[Any, Any, Any], suspends: Callable[[], None]) -> None:
        self._inner = inner
        self._suspends = suspends

    def send(self, value: Any) -> Any:
        awaited = self._inner.send(value)
        self._suspends()
        return awaited

    def throw(self, *error: Any) -> Any:
        awaited = self._inner.throw(*error)
        self._suspends()
        return awaited

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Counting:
    """A task factory for the client's tasks: every suspension counts, some call *cancel*."""

    def __init__(self, cancel_at: set[int]) -> None:
        self.count = 0
        self.hits = 0
        self.cancel: Callable[[], object] = lambda: None
        self._cancel_at = cancel_at

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(_Counted(coro, self._suspends), loop=loop, **options)

    def _suspends(self) -> None:
        self.count += 1
        if self.count in self._cancel_at:
            self.hits += 1
            self.cancel()


Mode = Literal["native", "scope"]


async def broken_off(call: Awaitable[object], cancel_at: set[int], mode: Mode) -> int:
    """Run *call*, cancelling it at these suspensions; return how many of them it met.

    A cancelled call must raise the cancellation; any other error is raised here.
    """
    counting, loop = Counting(cancel_at), asyncio.get_running_loop()
    scope = anyio.CancelScope()

    async def plainly() -> None:
        await call

    async def in_scope() -> None:
        with scope:
            await call
            return
        raise asyncio.CancelledError

    factory = loop.get_task_factory()
    loop.set_task_factory(counting)
    try:
        task = loop.create_task(plainly() if mode == "native" else in_scope())
        counting.cancel = task.cancel if mode == "native" else scope.cancel
        async with asyncio.timeout(SOON):
            await asyncio.wait([task])
    finally:
        loop.set_task_factory(factory)
    if counting.hits and mode == "native":
        assert task.cancelled(), f"the cancellation at {cancel_at} was swallowed"
    if not task.cancelled():
        task.result()
    return counting.hits


async def never_leaks(
    server: FaultServer,
    fault: str,
    call_of: Callable[[str], Call],
    mode: Mode,
    *,
    step: int,
    then_again: int | None = None,
    usable_after: bool = True,
) -> int:
    """Sweep in steps; return how many suspensions there were at least."""
    for n in range(1, 400, step):
        before = asyncio.all_tasks()
        points = {n} if then_again is None else {n, n + then_again}
        async with client_at(f"{server.url}/{fault}") as client:
            hits = await broken_off(call_of(f"task-{n}")(client), points, mode)
            assert not await tasks_left(before), f"cancelled at {points}: tasks are left"
            connector = connector_of(client)
            assert connector is None or not connector._acquired, f"cancelled at {points}"
            assert client.stats.in_flight == 0, f"cancelled at {points}: still counted"
            if usable_after:
                async with asyncio.timeout(SOON):
                    assert (await client.wait_for_task("next")).task_id == "next"
        assert not await tasks_left(before), f"cancelled at {points}, then closed"
        if not hits:
            return n - step
    raise AssertionError("the sweep found no end")


STEPS = pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.deep)])

SWEEPS: dict[str, tuple[str, Callable[[str], Call]]] = {
    "a poll": ("healthy", polls_of),
    "a poll that is retried": ("once-fin_before", polls_of),
    "a wait": ("pending_twice", waits_for),
    "a wait for three": (
        "pending_twice",
        lambda task_id: waits_for_all(task_id, f"{task_id}b", f"{task_id}c"),
    ),
    "a creation": ("healthy", lambda _: create),
    "a song": ("healthy", separates),
    "credits": ("healthy", lambda _: credits_of),
    "a poll with a timeout": ("once-fin_before", timed_polls_of),
}


@STEPS
@pytest.mark.parametrize("mode", ["native", "scope"])
@pytest.mark.parametrize("what", SWEEPS)
async def test_a_call_can_be_cancelled_at_every_await(
    server: FaultServer, what: str, mode: Mode, step: int
) -> None:
    fault, call_of = SWEEPS[what]
    assert await never_leaks(server, fault, call_of, mode, step=step) >= 3 // step


@STEPS
@pytest.mark.parametrize("later", [1, 2])
@pytest.mark.parametrize("what", SWEEPS)
async def test_a_call_can_be_cancelled_again_while_it_cleans_up(
    server: FaultServer, what: str, later: int, step: int
) -> None:
    fault, call_of = SWEEPS[what]
    points = await never_leaks(server, fault, call_of, "native", step=step, then_again=later)
    assert points >= 3 // step


def opened_and_closed(task_id: str) -> Call:
    async def use(client: VocalSepClient) -> None:
        await client.get_task(task_id)
        wait = asyncio.ensure_future(client.wait_for_task(task_id))
        try:
            await asyncio.sleep(0)
            await client.aclose()
        finally:
            wait.cancel()

    return use


@STEPS
@pytest.mark.parametrize("mode", ["native", "scope"])
async def test_closing_can_be_cancelled_at_every_await_and_done_again(
    server: FaultServer, mode: Mode, step: int
) -> None:
    points = await never_leaks(
        server, "pending_twice", opened_and_closed, mode, step=step, usable_after=False
    )
    assert points >= 3 // step


@pytest.mark.parametrize("call_of", [polls_of, waits_for, waits_for_all, lambda _: create])
async def test_a_cancelled_scope_sends_nothing(
    server: FaultServer, call_of: Callable[[str], Call]
) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await call_of("task-1")(client)
        assert scope.cancelled_caught
        assert server.hits == client.stats.requests == 0
        assert (await client.get_task("task-1")).succeeded


# Deadlines of callers

LONG_CALLS: dict[str, Call] = {
    "a poll": polls_of("task-1"),
    "a wait": waits_for("task-1"),
    "waits": waits_for_all("task-1", "task-2"),
    "a creation": create,
}


@pytest.mark.parametrize("deadline", [asyncio.timeout, anyio.fail_after])
@pytest.mark.parametrize("what", LONG_CALLS)
async def test_a_shorter_deadline_around_a_call_raises_its_own_error(
    server: FaultServer, what: str, deadline: Any
) -> None:
    async with client_at(f"{server.url}/black_hole") as client:
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError) as caught:
            await within(deadline(0.05), LONG_CALLS[what](client))
        assert type(caught.value) is TimeoutError
        assert not await tasks_left(before)
        assert client.stats.in_flight == 0


async def within(deadline: Any, call: Awaitable[object]) -> None:
    """asyncio's deadlines are asynchronous context managers, anyio's are not."""
    if hasattr(deadline, "__aenter__"):
        async with deadline:
            await call
    else:
        with deadline:
            await call


async def test_two_simultaneous_deadlines_end_in_one_timeout(server: FaultServer) -> None:
    async with client_at(f"{server.url}/black_hole") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.wait_for_task("task-1", timeout=0.05)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)


@pytest.mark.parametrize("call", [polls_of("task-1"), create, credits_of])
async def test_a_cancellation_in_the_iteration_of_the_request_timeout_is_kept(
    server: FaultServer, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    async with client_at(f"{server.url}/black_hole", request_timeout=SOON) as client:
        ended = asyncio.ensure_future(call(client))
        await anyio.to_thread.run_sync(server.wait_for_hits, 1)
        # As after a callback that held the loop until both were due.
        now = loop.time
        loop.call_at(now() + 2 * SOON, ended.cancel)
        monkeypatch.setattr(loop, "time", lambda: now() + 3 * SOON)
        (ended_by,) = await asyncio.gather(ended, return_exceptions=True)
        assert isinstance(ended_by, asyncio.CancelledError)
        assert client.stats.requests == 1


async def test_the_deadline_of_a_wait_cuts_a_request_in_flight(server: FaultServer) -> None:
    async with client_at(f"{server.url}/black_hole") as client:
        before = asyncio.all_tasks()
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("task-1", timeout=0.05)
        assert caught.value.polls == 1
        assert not await tasks_left(before)
        assert client.stats.in_flight == 0


# Other waits


async def test_a_cancelled_wait_leaves_other_waits_for_its_task_alone(
    server: FaultServer,
) -> None:
    async with client_at(f"{server.url}/pending_twice", poll=Interval(0.05)) as client:
        first = asyncio.ensure_future(client.wait_for_task("task-1"))
        second = asyncio.ensure_future(client.wait_for_task("task-1"))
        await anyio.to_thread.run_sync(server.wait_for_hits, 1)
        first.cancel()
        assert (await second).succeeded
        assert first.cancelled()
        assert server.hits == client.stats.requests == 3


# Closing


async def _closing(client: VocalSepClient, server: FaultServer, hits: int) -> None:
    await anyio.to_thread.run_sync(server.wait_for_hits, hits)
    await client.aclose()


async def ended_by_closing(client: VocalSepClient, server: FaultServer, call: Call) -> object:
    """The result of *call*, during which the client was closed."""
    before = asyncio.all_tasks()
    closing = asyncio.ensure_future(_closing(client, server, 1))
    try:
        with anyio.fail_after(SOON):
            return await call(client)
    finally:
        await closing
        assert not await tasks_left(before)
        assert client.stats.in_flight == 0


@pytest.mark.parametrize("what", ["a poll", "a wait", "a creation"])
@pytest.mark.parametrize("borrowed", [False, True], ids=["own session", "borrowed session"])
async def test_closing_ends_a_request_that_is_under_way(
    server: FaultServer, what: str, *, borrowed: bool
) -> None:
    session = aiohttp.ClientSession() if borrowed else None
    client = client_at(f"{server.url}/black_hole", session=session)
    with pytest.raises(ClientClosedError):
        await ended_by_closing(client, server, LONG_CALLS[what])
    assert server.hits == 1
    if session is not None:
        assert not session.closed
        await session.close()


async def test_closing_ends_waits_for_many_with_one_outcome_each(server: FaultServer) -> None:
    client = client_at(f"{server.url}/black_hole")
    outcomes = await ended_by_closing(client, server, waits_for_all("task-1", "task-2"))
    assert isinstance(outcomes, dict)
    assert [type(each.error) for each in outcomes.values()] == [ClientClosedError] * 2


async def test_closing_ends_a_wait_between_two_polls(server: FaultServer) -> None:
    client = client_at(f"{server.url}/pending", poll=Interval(600))
    with pytest.raises(ClientClosedError):
        await ended_by_closing(client, server, waits_for("task-1"))


@pytest.mark.parametrize("what", LONG_CALLS)
async def test_closing_ends_a_call_that_queues_for_the_rate_limit(
    server: FaultServer, what: str
) -> None:
    client = client_at(f"{server.url}/healthy", rate_limit=RateLimit(1, 600.0))
    await client.get_task("task-0")
    outcome: object = None
    try:
        outcome = await ended_by_closing(client, server, LONG_CALLS[what])
    except ClientClosedError as error:
        outcome = {"task-1": error}
    assert isinstance(outcome, dict)
    errors = [getattr(each, "error", each) for each in outcome.values()]
    assert {type(error) for error in errors} == {ClientClosedError}
    assert server.hits == 1


async def test_closing_ends_a_call_between_two_attempts(server: FaultServer) -> None:
    slow = RetryPolicy(attempts=3, initial=600.0, maximum=600.0)
    client = client_at(f"{server.url}/html502", retry=slow)
    with pytest.raises(ClientClosedError):
        await ended_by_closing(client, server, polls_of("task-1"))


@contextmanager
def host_without_ears() -> Iterator[str]:
    """The URL of a host that accepts no more connections, and refuses none."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"
        for filler in fillers:
            filler.close()


async def test_closing_ends_a_call_that_is_still_connecting() -> None:
    with host_without_ears() as url:
        client = client_at(url)
        call = asyncio.ensure_future(client.get_task("task-1"))
        await anyio.wait_all_tasks_blocked()
        assert client.stats.in_flight == 1
        await client.aclose()
        with anyio.fail_after(SOON), pytest.raises(ClientClosedError):
            await call


async def test_a_call_that_is_cut_while_it_connects_keeps_no_slot() -> None:
    with host_without_ears() as url:
        async with client_at(url, rate_limit=RateLimit(1, 600.0)) as client:
            call = asyncio.ensure_future(client.get_task("task-1"))
            await anyio.wait_all_tasks_blocked()
            assert client.stats.in_flight == 1
            call.cancel()
            with anyio.fail_after(SOON), pytest.raises(asyncio.CancelledError):
                await call
            assert client.stats.requests == 0


async def test_a_call_that_is_cut_when_its_request_was_sent_keeps_its_slot(
    server: FaultServer,
) -> None:
    async with client_at(f"{server.url}/black_hole", rate_limit=RateLimit(1, 600.0)) as client:
        call = asyncio.ensure_future(client.get_task("task-1"))
        await anyio.to_thread.run_sync(server.wait_for_hits, 1)
        call.cancel()
        with anyio.fail_after(SOON), pytest.raises(asyncio.CancelledError):
            await call
        assert client.stats.requests == 1


@pytest.mark.parametrize(
    "call",
    [*LONG_CALLS.values(), credits_of, lambda client: client.__aenter__()],
    ids=[*LONG_CALLS, "credits", "opening"],
)
async def test_a_closed_client_raises_an_error_and_sends_nothing(
    server: FaultServer, call: Call
) -> None:
    client = client_at(f"{server.url}/healthy")
    await client.get_task("task-0")
    await client.aclose()
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await call(client)
    assert server.hits == 1


async def test_a_client_may_be_opened_and_closed_in_different_tasks(server: FaultServer) -> None:
    client = client_at(f"{server.url}/healthy")
    await asyncio.ensure_future(client.__aenter__())
    assert (await client.get_task("task-1")).succeeded
    await asyncio.ensure_future(client.aclose())


async def test_an_unclosed_client_is_warned_about_by_its_name(server: FaultServer) -> None:
    async def forget() -> aiohttp.ClientSession | None:
        client = client_at(f"{server.url}/healthy")
        await client.get_task("task-1")
        return client._engine.transport._session

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session = await forget()  # which would complain on its own
        gc.collect()
    assert session is not None
    await session.close()
    (text,) = [str(each.message) for each in caught if each.category is ResourceWarning]
    assert text.startswith("unclosed <VocalSepClient of 127.0.0.1")
    assert "aclose()" in text
    assert KEY not in text


async def test_a_client_that_was_never_used_or_was_closed_is_not_warned_about(
    server: FaultServer,
) -> None:
    async def use() -> None:
        client_at(f"{server.url}/healthy")
        async with client_at(f"{server.url}/healthy") as client:
            await client.get_task("task-1")
        async with aiohttp.ClientSession() as session:
            borrower = client_at(f"{server.url}/healthy", session=session)
            await borrower.get_task("task-1")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await use()
        gc.collect()
    assert [str(each.message) for each in caught] == []


# Event loops


def test_a_client_belongs_to_the_loop_it_was_first_used_in(server: FaultServer) -> None:
    client = client_at(f"{server.url}/healthy")

    async def use() -> None:
        await client.get_task("task-1")

    async def misuse(call: Call) -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await call(client)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(use())
        for call in [*LONG_CALLS.values(), credits_of]:
            second.run(misuse(call))
        first.run(use())
        first.run(client.aclose())
    assert server.hits == 2


def test_a_borrowed_session_brings_its_loop_with_it(server: FaultServer) -> None:
    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def misuse(session: aiohttp.ClientSession) -> None:
        client = client_at(f"{server.url}/healthy", session=session)
        with pytest.raises(ConfigurationError, match="another event loop"):
            await client.get_task("task-1")

    with asyncio.Runner() as first, asyncio.Runner() as second:
        session = first.run(make())
        second.run(misuse(session))
        first.run(session.close())
    assert server.hits == 0


def without_a_loop(call: Awaitable[object]) -> None:
    """Drive *call* by hand up to its first suspension, as a foreign library would."""
    steps = call.__await__()
    try:
        next(steps)
    finally:
        if isinstance(steps, Generator):
            steps.close()


NEEDS_NO_CLOCK: dict[str, Call] = {
    "opening": lambda client: client.__aenter__(),
    "a poll": polls_of("task-1"),
    "a poll with a timeout": timed_polls_of("task-1"),
    "a creation": create,
    "credits": credits_of,
}


@pytest.mark.parametrize("what", NEEDS_NO_CLOCK)
def test_without_asyncio_the_client_names_its_need(what: str) -> None:
    with pytest.raises(ConfigurationError, match="needs asyncio"):
        without_a_loop(NEEDS_NO_CLOCK[what](client_at("http://127.0.0.1:9")))


# Other loops of asyncio


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


LOOPS = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param("asyncio", id="asyncio"),
        pytest.param(
            ("asyncio", {"use_uvloop": True}),
            id="uvloop",
            marks=pytest.mark.skipif(find_spec("uvloop") is None, reason="needs uvloop"),
        ),
        pytest.param(
            ("asyncio", {"loop_factory": _eager_loop}),
            id="eager tasks",
            marks=pytest.mark.skipif(
                not hasattr(asyncio, "eager_task_factory"), reason="needs Python 3.12"
            ),
        ),
    ],
)


@LOOPS
async def test_every_call_works_on_every_loop(server: FaultServer) -> None:
    before = asyncio.all_tasks()
    async with client_at(f"{server.url}/pending_twice") as client:
        updates: list[str] = []
        task = await client.wait_for_task(
            "task-1", on_update=lambda each: updates.append(str(each.status))
        )
        assert updates == ["PENDING", "PENDING", "SUCCESS"]
        assert task == await client.get_task("task-1")
        outcomes = await client.wait_for_tasks([f"task-{n}" for n in range(5)])
        assert all(outcome.succeeded for outcome in outcomes.values())
        await create(client)
        await client.get_credits()
        assert server.hits == client.stats.requests
    assert not await tasks_left(before)


@LOOPS
async def test_every_loop_can_cancel_and_close(server: FaultServer) -> None:
    before = asyncio.all_tasks()
    client = client_at(f"{server.url}/black_hole")
    for call in LONG_CALLS.values():
        with pytest.raises(TimeoutError), anyio.fail_after(0.02):
            await call(client)
    with pytest.raises(ClientClosedError):
        await ended_by_closing(client, server, waits_for("task-9"))
    assert not await tasks_left(before)


@LOOPS
async def test_every_loop_reports_broken_requests_alike(server: FaultServer) -> None:
    async with client_at(f"{server.url}/fin_before") as client:
        with pytest.raises(VocalSepError) as caught:
            await client.get_task("task-1")
        assert "closed the connection" in str(caught.value)
        assert server.hits == client.stats.requests == 3


async def test_closing_twice_simultaneously_closes_once(server: FaultServer) -> None:
    client = client_at(f"{server.url}/black_hole")
    calls = [asyncio.ensure_future(client.get_task("a")), asyncio.ensure_future(create(client))]
    await anyio.to_thread.run_sync(server.wait_for_hits, 2)
    await asyncio.gather(client.aclose(), client.aclose())
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in ended] == [ClientClosedError, ClientClosedError]


@pytest.mark.parametrize("call", [polls_of("z"), waits_for("z")], ids=["a poll", "a wait"])
async def test_a_session_whose_owner_closes_it_ends_what_waits_for_a_connection(
    server: FaultServer, call: Call
) -> None:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
    url = f"{server.url}/black_hole"
    hog = asyncio.ensure_future(session.get(url))
    await anyio.to_thread.run_sync(server.wait_for_hits, 1)
    client = client_at(url, session=session)
    waiting = asyncio.ensure_future(call(client))
    await anyio.wait_all_tasks_blocked()
    await session.close()
    with anyio.fail_after(SOON), pytest.raises(ClientClosedError):
        await waiting
    hog.cancel()
    await asyncio.wait([hog])
