"""One client in several event loops, one after the other: each `asyncio.run` has a loop of its own.

A client may outlive its loop, as one at module level does. What belongs to the loop ends with it;
what was learned and the budget of the rate limit stay.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from fakes import FakeProvider, bare, envelope, finished, make_client, record
from fault_server import FaultServer
from limiters import WrappedLimiter
from listening import Recorder
from virtual_time import VirtualTimeLoop

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    Durations,
    Interval,
    Journal,
    JournalError,
    PollContext,
    RateLimit,
    RateLimitedError,
    RateLimiter,
    RequestTimeoutError,
    TaskOutcome,
    TaskTimeoutError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.instrumentation import Paused, PollStarted, Resumed, WaitFinished
from vocalsep_async.limiter import SlotResult

Call = Callable[[], Awaitable[Any]]
NEVER = 10_000.0


def run(call: Call, *, at: float = 1000.0) -> Any:
    """What *call* returns in a loop of its own, whose clock begins at that moment."""
    with asyncio.Runner(loop_factory=lambda: loop_at(at)) as runner:
        return runner.run(_awaited(call))


def loop_at(moment: float) -> VirtualTimeLoop:
    loop = VirtualTimeLoop()
    loop.jump(moment - loop.time())
    return loop


async def _awaited(call: Call) -> Any:
    return await call()


def without_a_loop(call: Awaitable[object]) -> None:
    """Drive *call* by hand up to its first suspension, as a foreign library would."""
    steps = call.__await__()
    try:
        next(steps)
    finally:
        if isinstance(steps, Generator):
            steps.close()


def run_and_leave(call: Call) -> None:
    """Run *call* in a loop that is then closed with all that still runs in it."""
    loop = loop_at(1000.0)
    # Python reports the tasks that such a loop leaves behind.
    loop.set_exception_handler(lambda _loop, _context: None)
    loop.run_until_complete(_awaited(call))
    loop.close()


# Binding


def test_a_client_binds_to_the_next_loop_once_its_own_was_closed(provider: FakeProvider) -> None:
    client = make_client()
    for task_id in ("a", "b", "c"):
        assert run(partial(client.wait_for_task, task_id)).succeeded
    assert provider.sent == ["a", "b", "c"]
    assert run(lambda: stats_of(client)).requests == 3


async def stats_of(client: VocalSepClient) -> Any:
    return client.stats


def test_a_client_serves_one_loop_for_each_test_as_pytest_makes_them(
    provider: FakeProvider,
) -> None:
    client = make_client(rate_limit=None)

    async def test() -> None:
        provider.add("a", 30)
        async with client.track(["a", "b"]) as batch:
            assert [outcome.task_id async for outcome in batch] == ["b", "a"]
        assert not client.notify("a")

    for _ in range(5):
        run(test)


def test_a_loop_that_is_stopped_but_not_closed_keeps_its_client(provider: FakeProvider) -> None:
    client = make_client()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as first:
        first.run(client.get_task("a"))
        with pytest.raises(ConfigurationError, match="not closed"):
            run(lambda: client.get_task("b"))
        first.run(client.get_task("c"))
    run(lambda: client.get_task("d"))
    assert provider.sent == ["a", "c", "d"]


def test_a_batch_that_is_made_between_two_loops_works_in_the_next(provider: FakeProvider) -> None:
    client = make_client()
    run(lambda: client.get_task("a"))
    batch = client.track(["b"])

    async def use() -> None:
        async with batch:
            assert (await anext(batch)).succeeded

    run(use)


def test_a_second_thread_is_refused_until_the_loop_of_the_first_was_closed(
    provider: FakeProvider,
) -> None:
    client = make_client()
    is_used, may_end = threading.Event(), threading.Event()

    async def use() -> None:
        await client.get_task("a")
        is_used.set()
        may_end.wait(60)

    first = threading.Thread(target=run, args=[use])
    first.start()
    assert is_used.wait(60)
    with pytest.raises(ConfigurationError, match="runs in another thread"):
        run(lambda: client.get_task("b"))
    may_end.set()
    first.join()
    run(lambda: client.get_task("c"))
    assert provider.sent == ["a", "c"]


def test_one_of_many_threads_gets_a_client_that_is_free(provider: FakeProvider) -> None:
    client = make_client(rate_limit=None)
    run(lambda: client.get_task("a"))
    together, finish = threading.Barrier(8), threading.Barrier(8)
    refused: list[Exception] = []

    async def use() -> None:
        together.wait(60)
        try:
            await client.get_task("b")
        except ConfigurationError as error:
            refused.append(error)
        finish.wait(60)

    threads = [threading.Thread(target=run, args=[use]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), len(provider.sent)) == (7, 2)


@pytest.mark.parametrize("call", ["get_task", "aclose"])
def test_a_closed_client_stays_closed_in_every_loop(provider: FakeProvider, call: str) -> None:
    client = make_client()
    run(lambda: client.get_task("a"))
    run(client.aclose)
    for _ in range(2):
        if call == "aclose":
            run(client.aclose)
        with pytest.raises(ClientClosedError):
            run(lambda: client.get_task("a"))
        with pytest.raises(ClientClosedError):
            run(client.__aenter__)
        assert run(lambda: stats_of(client)).requests == 1
    assert provider.sent == ["a"]


def test_closing_in_the_next_loop_closes_the_limiter_once(provider: FakeProvider) -> None:
    limiter = WrappedLimiter()
    client = make_client(limiter=limiter)
    run(lambda: client.get_task("a"))
    run(client.aclose)
    assert limiter.on_pause is None
    again = make_client(limiter=limiter)
    run(client.aclose)
    assert (limiter.closed, limiter.on_pause is None) == (1, False)
    provider.reopen()
    run(lambda: again.get_task("b"))


@pytest.mark.own_limiter
def test_a_limiter_serves_another_client_in_another_loop(provider: FakeProvider) -> None:
    limiter = RateLimiter(RateLimit(1, 10.0))

    async def send() -> None:
        provider.reopen()
        async with make_client(limiter=limiter) as client:
            await client.get_task("a")
            # The wait for a slot is given up, so that nothing ends it.
            with pytest.raises(RequestTimeoutError):
                await client.get_task("b", timeout=1)

    for moment in (1000.0, 1005.0):
        run(send, at=moment)
    assert provider.sent == ["a", "a"]


def test_a_client_cannot_be_closed_beside_its_loop(provider: FakeProvider) -> None:
    client = make_client()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as first:
        first.run(client.get_task("a"))
        with pytest.raises(ConfigurationError):
            run(client.aclose)
        first.run(client.get_task("b"))
        first.run(client.aclose())


def test_a_borrowed_session_keeps_its_client_in_its_loop() -> None:
    async def make() -> VocalSepClient:
        session = aiohttp.ClientSession()
        client = VocalSepClient("a-key-for-tests", session=session)
        await client.__aenter__()
        await session.close()
        return client

    client = asyncio.run(make())
    with pytest.raises(ConfigurationError, match="borrowed session was made"):
        asyncio.run(_awaited(lambda: client.get_task("a")))


# What stays


def test_what_was_learned_about_durations_stays(provider: FakeProvider) -> None:
    client = make_client()
    kept: Durations = client.durations
    for count in (1, 2):
        provider.script(str(count), finished(str(count)))
        run(partial(client.get_task, str(count)))
        assert f"{count} completions" in repr(client.durations)
    assert client.durations is kept
    # The record of a task that another loop has seen is learned from once.
    provider.script("1", finished("1"))
    run(lambda: client.get_task("1"))
    assert "2 completions" in repr(kept)


@pytest.mark.own_limiter
@pytest.mark.parametrize("at", [1.0, 1000.0, 50_000.0], ids=["behind", "equal", "ahead"])
@pytest.mark.parametrize("between", [0.0, 4.0, 60.0])
def test_requests_of_the_loop_before_count_against_the_rate_limit(
    provider: FakeProvider, at: float, between: float
) -> None:
    client = make_client(rate_limit=RateLimit(5, 10.0))

    async def send(count: int) -> list[float]:
        before = anyio.current_time()
        for _ in range(count):
            await client.get_task("a")
        return [moment - before for moment, _ in provider.polls[-count:]]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        runner.run(_awaited(lambda: send(5)))
    assert isinstance(loop, VirtualTimeLoop)
    last = loop.time()
    loop.jump(between)
    sent = run(lambda: send(5), at=at)
    # The slots of five requests become free one period after their answers.
    freed = [moment + 10.06 - last - between for moment, _ in provider.polls[:5]]
    for moment, earliest in zip(sent, freed, strict=True):
        assert moment >= earliest - 1e-6
        assert moment <= max(earliest, 12.0) + 1


@pytest.mark.own_limiter
def test_a_request_that_a_closed_loop_left_in_flight_counts_as_sent(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 5.0
    client = make_client(rate_limit=RateLimit(1, 10.0))
    left: list[object] = []

    async def leave() -> None:
        left.append(asyncio.ensure_future(client.get_task("a")))
        await anyio.sleep(1)
        assert client.stats.in_flight == 1

    run_and_leave(leave)

    async def use() -> float:
        assert (client.stats.in_flight, client.stats.requests) == (0, 1)
        left.clear()
        gc.collect()  # what closing the coroutine of the loop before reports is too late
        await client.get_task("b")
        assert (client.stats.in_flight, client.stats.requests) == (0, 2)
        return anyio.current_time()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        now = run(use)
    assert now == pytest.approx(1000.0 + 10.01 + provider.round_trip)


@pytest.mark.parametrize("round_trip", [0.05, 5.0], ids=["before it is sent", "under way"])
def test_a_slot_of_a_closed_loop_is_not_released_in_the_next(
    provider: FakeProvider, round_trip: float
) -> None:
    provider.round_trip = round_trip
    limiter = WrappedLimiter()
    client = make_client(limiter=limiter)
    left: list[object] = []

    async def leave() -> None:
        left.append(asyncio.ensure_future(client.wait_for_task("a")))
        left.append(asyncio.ensure_future(client.get_task("b")))
        await anyio.sleep(round_trip / 5 if round_trip > 1 else 0)

    run_and_leave(leave)

    async def use() -> None:
        assert client.stats.in_flight == 0
        left.clear()
        gc.collect()
        assert limiter.results == []
        await client.get_task("c")
        assert limiter.results == [SlotResult.ANSWERED]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(use)


@pytest.mark.parametrize("at", [1.0, 1000.0, 50_000.0], ids=["behind", "equal", "ahead"])
def test_an_end_stays_in_doubt_for_a_minute_in_whichever_loops(
    provider: FakeProvider, at: float
) -> None:
    client = make_client()
    provider.script("a", *[record("a", "SUCCESS", response=None)] * 60)

    async def wait(seconds: float | None = None) -> float:
        began = anyio.current_time()
        assert not (await client.wait_for_task("a", timeout=seconds)).succeeded
        return anyio.current_time() - began

    assert run(lambda: wait(20)) == pytest.approx(20)
    assert run(wait, at=at) == pytest.approx(40, abs=1)


def test_a_refusal_after_polls_of_another_loop_needs_a_second_one(provider: FakeProvider) -> None:
    client = make_client()
    run(lambda: client.get_task("a"))
    provider.script("b", envelope(401), finished("b"))
    assert run(lambda: client.wait_for_task("b")).succeeded


@pytest.mark.parametrize("at", [1.0, 1000.0, 50_000.0], ids=["behind", "equal", "ahead"])
def test_a_refusal_is_confirmed_in_the_next_loop(provider: FakeProvider, at: float) -> None:
    client = make_client()
    run(lambda: client.get_task("a"))
    provider.script("b", *[envelope(401)] * 2)

    async def give_up() -> None:
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task("b", timeout=0.5)

    run(give_up)

    async def wait() -> None:
        with pytest.raises(AuthenticationError):
            await client.wait_for_task("b")

    run(wait, at=at)
    assert provider.sent == ["a", "b", "b"]


@pytest.mark.parametrize("at", [1.0, 1000.0, 50_000.0], ids=["behind", "equal", "ahead"])
def test_ages_without_dates_go_on_by_the_clock_of_the_next_loop(
    provider: FakeProvider, at: float
) -> None:
    client = make_client()
    pending = record("a", createTime=1_700_000_000_000)
    ages: list[float] = []

    class Noting:
        def delay(self, context: PollContext) -> float:
            ages.append(context.age)
            return 1000.0

    async def wait() -> None:
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task("a", timeout=10, poll=Noting())

    first = []
    for moment in (1000.0, at):
        provider.script("a", *[pending] * 9)
        run(wait, at=moment)
        first.append(ages[0])
        ages.clear()
    assert first == pytest.approx([0, 10], abs=1)


def test_a_timed_call_of_the_next_loop_knows_how_long_answers_take(provider: FakeProvider) -> None:
    provider.round_trip = 1.0
    limiter = WrappedLimiter()
    client = make_client(limiter=limiter)
    for _ in range(2):
        run(lambda: client.get_task("a", timeout=10))
    assert [bid.deadline for bid in limiter.bids] == [1010.0, 1009.0]


@pytest.mark.own_limiter
def test_a_pause_goes_on_in_the_next_loop(provider: FakeProvider) -> None:
    events = Recorder(Paused, Resumed)
    client = make_client(on_event=events)
    provider.script("a", envelope(430, "slow down", Retry_After="30"))

    async def wait() -> Any:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=10)
        return caught.value.last_error

    for _ in range(2):
        assert isinstance(run(wait), RateLimitedError)

    async def use() -> float:
        assert client.stats.paused_for == pytest.approx(30.0 - 20.0, abs=1)
        await client.wait_for_task("a")
        return anyio.current_time()

    assert run(use) == pytest.approx(1010.0, abs=2)
    assert [event.name for event in events] == ["paused", "paused", "paused", "resumed"]
    durations = [event.duration for event in events.of(Paused)]
    assert durations == pytest.approx([30.0, 20.0, 10.0], abs=1)


def test_an_answer_of_this_api_is_remembered(provider: FakeProvider) -> None:
    client = make_client(rate_limit=None)
    run(lambda: client.get_task("a"))
    provider.script("b", *[bare(405)] * 15)
    # A client that had no answer yet takes so many for a wrong address.
    assert run(lambda: client.wait_for_task("b", timeout=None)).succeeded


def test_a_limiter_of_the_user_is_told_of_the_new_loop(provider: FakeProvider) -> None:
    class Moving(WrappedLimiter):
        def __init__(self) -> None:
            super().__init__()
            self.moves: list[tuple[float, float]] = []

        def move(self, shift: float) -> None:
            self.moves.append((shift, asyncio.get_running_loop().time()))
            self.inner.move(shift)

    limiter = Moving()
    client = make_client(limiter=limiter)
    run(lambda: client.get_task("a"))
    assert limiter.moves == []
    run(lambda: client.get_task("b"), at=5000.0)
    ((shift, moment),) = limiter.moves
    assert shift == pytest.approx(4000.0 - 0.1)
    assert moment == 5000.0
    run(client.aclose)
    assert len(limiter.moves) == 2


def test_a_limiter_that_cannot_move_refuses_the_loop_at_each_call(provider: FakeProvider) -> None:
    class Fixed(WrappedLimiter):
        def move(self, shift: float) -> None:
            raise LookupError

    client = make_client(limiter=Fixed())
    run(lambda: client.get_task("a"))
    for _ in range(2):
        with pytest.raises(LookupError):
            run(lambda: client.get_task("b"))
    assert provider.sent == ["a"]


async def _slot_of(limiter: RateLimiter) -> Any:
    return await limiter.acquire(lambda: None)  # type: ignore[arg-type, return-value]


def test_a_slot_of_the_loop_before_is_not_released_twice() -> None:
    limiter = RateLimiter(RateLimit(2, 10.0))
    slot = run(lambda: _slot_of(limiter))

    async def release() -> Any:
        limiter.move(0.0)
        slot.release(SlotResult.ANSWERED)
        return limiter.snapshot()

    snapshot = run(release)
    assert (snapshot.in_flight, snapshot.sent) == (0, 1)


# What ends


def test_waits_of_the_loop_before_end_with_it(provider: FakeProvider) -> None:
    events = Recorder(PollStarted, WaitFinished)
    client = make_client(on_event=events)
    left: list[object] = []

    async def leave() -> None:
        provider.add("a", NEVER)
        left.append(asyncio.ensure_future(client.wait_for_task("a")))
        await anyio.sleep(1)

    run_and_leave(leave)

    async def use() -> None:
        await client.wait_for_task("b")
        assert client.notify("a") is False
        await anyio.sleep(1000)

    run(use)
    assert provider.sent == ["a", "b"]
    assert [event.task_id for event in events.of(WaitFinished)] == ["b"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left.clear()
        gc.collect()


def test_a_batch_of_the_loop_before_says_that_its_loop_was_closed(provider: FakeProvider) -> None:
    client = make_client()
    batches = [client.track(["a", "b"])]

    async def enter() -> None:
        async with batches[0] as batch:
            await anext(batch)
            await anext(batch)
        batches.append(client.track(["c"]))

    run(enter)

    async def misuse() -> None:
        old, unentered = batches
        for call in (lambda: anext(old), unentered.__aenter__):
            with pytest.raises(ConfigurationError, match="closed; make another"):
                await call()
        for read in (lambda: old.stats, lambda: old.add("c"), lambda: old.notify("c")):
            with pytest.raises(ConfigurationError, match="closed; make another"):
                read()
        # Nothing of it runs any more.
        assert old.pending_ids() == ()
        old.close()

    run(misuse)


def test_a_stream_of_the_loop_before_says_that_its_loop_was_closed(provider: FakeProvider) -> None:
    client = make_client()
    run(lambda: client.get_task("a"))

    async def make() -> Any:
        await client.get_task("a")
        return client.open_stem("a", "vocal")

    stream = run(make)
    for call in (stream.__aenter__, lambda: stream.__aexit__(None, None, None), stream.__anext__):
        with pytest.raises(ConfigurationError, match="closed; make another"):
            run(call)


def test_a_journal_of_another_loop_says_so(provider: FakeProvider, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    client = make_client()

    async def use() -> None:
        async with client.track(["a"], journal=journal):
            """Not reached."""

    with asyncio.Runner() as runner:
        runner.run(_awaited(journal.__aenter__))
        with pytest.raises(JournalError, match="another event loop"):
            asyncio.run(use())
        with pytest.raises(JournalError, match="another event loop"):
            without_a_loop(journal.intents())
        runner.run(journal.aclose())


# Sockets


def test_a_loop_in_which_nothing_was_sent_leaves_nothing_to_close(
    loud: Callable[[], list[str]], tmp_path: Path
) -> None:
    def use_twice(client: VocalSepClient) -> None:
        error = VocalSepError("it was not found")
        failed = TaskOutcome(task_id="a", status=None, task=None, error=error, polls=1, elapsed=1.0)
        for _ in range(2):
            with pytest.raises(VocalSepError, match="not found"):
                asyncio.run(_awaited(lambda: client.download_stems(failed, tmp_path)))

    use_twice(client_at("http://127.0.0.1:9"))
    assert loud() == []


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if find_spec("uvloop") is not None:
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
"""The loops that are installed."""


@pytest.fixture
def loud(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Everything that was warned of or logged as an error so far."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def texts() -> list[str]:
            gc.collect()
            errors = [each for each in caplog.records if each.levelno >= logging.WARNING]
            return [str(each.message) for each in caught] + [each.message for each in errors]

        yield texts


def client_at(url: str) -> VocalSepClient:
    return VocalSepClient(
        "a-key-for-tests",
        base_url=url,
        rate_limit=None,
        poll=Interval(0.001),
        allow_private_hosts=True,
    )


def wait_until_hung_up(server: FaultServer) -> None:
    """Wait until the server has seen the ends of all its connections."""
    give_up = time.monotonic() + 60
    while any(each.fileno() >= 0 for each in server.transports.values()):
        assert time.monotonic() < give_up, "a connection is still open"
        time.sleep(0.001)


@pytest.mark.parametrize("first", LOOPS)
@pytest.mark.parametrize("second", LOOPS)
def test_each_loop_closes_its_connections_and_nothing_is_warned_of(
    server: FaultServer, loud: Callable[[], list[str]], first: str, second: str
) -> None:
    def use_thrice(client: VocalSepClient) -> None:
        for number, name in enumerate([first, second, first], start=1):
            with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
                assert runner.run(_awaited(lambda: client.wait_for_task("task-1"))).succeeded
            assert server.connections == number
            wait_until_hung_up(server)

    use_thrice(client_at(f"{server.url}/pending_twice"))
    assert loud() == []


async def use_all_sessions(client: VocalSepClient) -> None:
    await client.get_task("task-1")
    async with client._engine.files.get(f"{client.base_url}/file", {}) as reply:
        assert reply.status == 200


def test_connections_to_file_hosts_end_with_their_loop(
    server: FaultServer, loud: Callable[[], list[str]]
) -> None:
    def use_twice(client: VocalSepClient) -> None:
        for _ in range(2):
            asyncio.run(use_all_sessions(client))
            wait_until_hung_up(server)

    use_twice(client_at(f"{server.url}/healthy"))
    assert loud() == []


def test_a_client_goes_on_after_its_loop_has_shut_down_generators(server: FaultServer) -> None:
    async def use() -> None:
        async with client_at(f"{server.url}/healthy") as client:
            await use_all_sessions(client)
            await asyncio.get_running_loop().shutdown_asyncgens()
            await use_all_sessions(client)

    with warnings.catch_warnings():
        # asyncio warns of generators that begin after the shutdown.
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(use())
    assert server.connections == 4


OF_PYTHON = ("unclosed transport", "unclosed resource", "unclosed <socket")
"""How Python reports connections that a loop leaves open."""


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_is_closed_without_its_generators_leaves_no_session_open(
    server: FaultServer, loud: Callable[[], list[str]], name: str
) -> None:
    def use_twice(client: VocalSepClient) -> None:
        for _ in range(2):
            loop = LOOPS[name]()
            loop.run_until_complete(use_all_sessions(client))
            loop.close()

    use_twice(client_at(f"{server.url}/healthy"))
    assert [text for text in loud() if not text.startswith(OF_PYTHON)] == []
    wait_until_hung_up(server)


def test_a_client_whose_loop_lives_is_still_warned_about(
    server: FaultServer, loud: Callable[[], list[str]]
) -> None:
    async def use() -> None:
        await use_all_sessions(client_at(f"{server.url}/healthy"))
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(use())
    (text,) = loud()
    assert text.startswith("unclosed <VocalSepClient")
    wait_until_hung_up(server)


# Processes


FORKING = """
import asyncio, os, sys
from vocalsep_async import RetryPolicy, VocalSepClient, VocalSepError

options = {"base_url": "http://127.0.0.1:9", "retry": RetryPolicy(attempts=1)}
client = VocalSepClient("a-key-for-tests", **options)

async def use():
    try:
        await client.get_credits()
    except VocalSepError as error:
        print(type(error).__name__, error, flush=True)

def fork():
    child = os.fork()
    if child == 0:
        asyncio.run(use())
        os._exit(0)
    os.waitpid(child, 0)

async def use_and_fork():
    await use()
    fork()

if sys.argv[1] == "running":
    asyncio.run(use_and_fork())
else:
    asyncio.run(use())
    fork()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.parametrize("state", ["running", "closed"])
def test_a_forked_process_is_refused_the_loop_of_its_parent(state: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, state], capture_output=True, text=True, check=True
    )
    of_parent, of_child = done.stdout.splitlines()
    assert of_parent.startswith("TransportError")
    if state == "running":
        assert of_child.startswith("ConfigurationError")
        assert "make one client in each process" in of_child
    else:
        assert of_child.startswith("TransportError")


def test_a_loop_of_the_parent_process_is_named_as_such(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In one process, because what a forked one runs is not measured.
    client = make_client()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as first:
        first.run(client.get_task("a"))
        with monkeypatch.context() as patch:
            patch.setattr("os.getpid", lambda: -1)
            with pytest.raises(ConfigurationError, match="process that this one was forked from"):
                run(lambda: client.get_task("b"))
        first.run(client.get_task("c"))
