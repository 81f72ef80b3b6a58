"""The rate limit, judged by a server on real sockets that shares no code with the rate limiter.

For some seconds several callers make one client send requests of every kind, cancel many of them
and finally close the client during requests. The server accepts each request immediately and
notes when it arrived, and does with it what the scenario says: it answers, late or in pieces, or
too late, or never, or cuts the connection. Then the judge reads only the server's notes and checks
what README promises: that no window ever holds too many requests,
*wherever between request and answer* they are counted.
"""

from __future__ import annotations

import asyncio
import random
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from types import SimpleNamespace, TracebackType
from typing import NamedTuple, Self, TypeVar

import aiohttp
import pytest
from attrs import define, field, frozen
from fault_server import Seen, answer, envelope, record
from sampling import sampled

from vocalsep_async import (
    ClientStats,
    Interval,
    RateLimit,
    RetryPolicy,
    SeparationTask,
    TaskOutcome,
    TaskRef,
    VocalSepClient,
    VocalSepError,
)

T = TypeVar("T")

SEEDS = (1, 2, 3)
SECONDS = 3.0
"""How long a run lasts at least; it continues until every behaviour occurred."""
MOST, PERIOD = 10, 0.5
"""What the server allows, as the client's `RateLimit` states it."""
REQUEST_TIMEOUT = 0.4
CALLERS = 8
SOON = 60.0
"""Seconds after which a call counts as hanging."""


# The judge


@define
class Arrival:
    """One request at the server.

    Attributes:
        arrived: when its first bytes came.
        latest: the last moment at which a server may count it: just before the end of its answer
            or the cut, or its arrival if the client had given it up by then.
        throttled: whether it came too soon for a server that counts arrivals.
    """

    arrived: float
    latest: float
    throttled: bool = False


def worst_window(arrivals: Iterable[Arrival]) -> int:
    """How many requests one window holds at most, if each is counted where it hurts most."""
    spans = [(each.arrived, each.latest) for each in arrivals]
    return max(
        (sum(first <= end and last > end - PERIOD for first, last in spans) for end, _ in spans),
        default=0,
    )


def test_the_judge_counts_a_request_wherever_it_hurts() -> None:
    early = [Arrival(0.0, 0.0), Arrival(0.1, 0.3), Arrival(0.4, 0.4)]
    assert worst_window(early) == 3
    assert worst_window([*early, Arrival(0.7, 0.9)]) == 3
    assert worst_window([*early, Arrival(0.7, 0.9), Arrival(0.75, 0.75)]) == 4


# Behaviours of the server


class Visit(NamedTuple):
    """One request, and the means to answer it."""

    connection: socket.socket
    arrival: Arrival
    answer: bytes
    pause: Callable[[], object]

    def count_at_the_latest(self) -> None:
        """Note that a server may count the request now, unless the client has given it up.

        A client that gave up has closed the connection; one that waits sends nothing.
        """
        now = time.time()
        if not select.select([self.connection], [], [], 0)[0]:
            self.arrival.latest = now


Behaviour = Callable[[Visit], bool]
"""Handles a request; True if the connection stays open."""


def answers(visit: Visit) -> bool:
    visit.pause()
    visit.count_at_the_latest()
    visit.connection.sendall(visit.answer)
    return True


def answers_in_pieces(visit: Visit) -> bool:
    visit.connection.sendall(visit.answer[:-9])
    visit.pause()
    visit.count_at_the_latest()
    visit.connection.sendall(visit.answer[-9:])
    return True


def hangs_up(visit: Visit) -> bool:
    visit.pause()
    visit.count_at_the_latest()
    return False


def hangs_up_within(visit: Visit) -> bool:
    visit.connection.sendall(visit.answer[:-9])
    return hangs_up(visit)


def resets(visit: Visit) -> bool:
    hangs_up(visit)
    visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def stalls(visit: Visit) -> bool:
    visit.connection.recv(1)
    return False


# The callers

Call = Callable[[VocalSepClient, random.Random], Awaitable[object]]


def _task(draw: random.Random) -> str:
    return f"task-{draw.randrange(12)}"


async def poll(client: VocalSepClient, draw: random.Random) -> object:
    return await client.get_task(_task(draw))


async def wait(client: VocalSepClient, draw: random.Random) -> object:
    poll = Interval(draw.uniform(0.02, 0.3))
    return await client.wait_for_task(_task(draw), timeout=draw.uniform(0.1, 1.5), poll=poll)


async def wait_for_many(client: VocalSepClient, draw: random.Random) -> object:
    tasks = [_task(draw) for _ in range(draw.randrange(1, 9))]
    poll = Interval(draw.uniform(0.02, 0.3))
    return await client.wait_for_tasks(tasks, timeout=draw.uniform(0.1, 1.5), poll=poll)


async def track(client: VocalSepClient, draw: random.Random) -> object:
    """Track some, add one more and leave, perhaps early."""
    tasks = [_task(draw) for _ in range(draw.randrange(1, 9))]
    poll = Interval(draw.uniform(0.02, 0.3))
    limit = draw.randrange(1, 5)
    outcomes: list[TaskOutcome] = []
    async with client.track(
        tasks, timeout=draw.uniform(0.1, 1.5), poll=poll, max_concurrency=limit
    ) as batch:
        batch.add(_task(draw))
        batch.notify(_task(draw))
        async for outcome in batch:
            outcomes.append(outcome)
            if draw.random() < 0.1:
                break
    return outcomes


async def join(client: VocalSepClient, draw: random.Random) -> object:
    """Wait for one task many times; some of the waits are cancelled soon."""
    task = _task(draw)
    waits = [
        asyncio.ensure_future(client.wait_for_task(task, timeout=1.0, poll=Interval(0.05)))
        for _ in range(draw.randrange(5, 15))
    ]
    for each in waits[::3]:
        asyncio.get_running_loop().call_later(draw.uniform(0, 0.1), each.cancel)
    try:
        ends = await asyncio.gather(*waits, return_exceptions=True)
    finally:
        for each in waits:
            each.cancel()
    assert not any(isinstance(end, asyncio.CancelledError) for end in ends[1::3] + ends[2::3])
    return [end for end in ends if not isinstance(end, asyncio.CancelledError)]


async def create(client: VocalSepClient, _draw: random.Random) -> object:
    return await client.create_task(
        callback_url="https://callback.example/", audio_url="https://a.example/a.mp3"
    )


async def ask_for_credits(client: VocalSepClient, _draw: random.Random) -> object:
    return await client.get_credits()


MIXED: Mapping[Call, int] = {
    poll: 6,
    wait: 6,
    wait_for_many: 4,
    track: 4,
    join: 1,
    create: 2,
    ask_for_credits: 2,
}


# Scenarios

IMMEDIATELY, SLOWLY, TOO_LATE = (0.0, 0.03), (0.03, 0.3), (0.45, 0.7)


@frozen
class Scenario:
    """What a server does to a client, and what a client's callers do.

    Attributes:
        name: what to call it.
        behaviours: what happens to requests, after how many seconds, and how often.
        calls: what the callers do, and how often.
        cancelled: the share of calls that are cancelled.
    """

    name: str
    behaviours: Mapping[tuple[Behaviour, tuple[float, float]], int]
    calls: Mapping[Call, int] = field(factory=lambda: MIXED)
    cancelled: float = 0.1


def _dealt(cards: Mapping[T, int], draw: random.Random) -> Iterator[T]:
    """Yield all, each as often as its number says, in random order, again and again."""
    deck = [card for card, number in cards.items() for _ in range(number)]
    while True:
        yield from draw.sample(deck, len(deck))


SCENARIOS = (
    Scenario(
        "late answers",
        {
            (answers, IMMEDIATELY): 3,
            (answers, SLOWLY): 4,
            (answers_in_pieces, SLOWLY): 2,
            (answers, TOO_LATE): 2,
            (answers_in_pieces, TOO_LATE): 1,
            (stalls, IMMEDIATELY): 1,
        },
    ),
    Scenario(
        "cuts",
        {
            (answers, IMMEDIATELY): 4,
            (hangs_up, IMMEDIATELY): 1,
            (hangs_up, SLOWLY): 1,
            (hangs_up_within, SLOWLY): 1,
            (resets, IMMEDIATELY): 1,
            (resets, SLOWLY): 1,
        },
    ),
    Scenario(
        "cancellations",
        {(answers, IMMEDIATELY): 4, (answers, SLOWLY): 8, (stalls, IMMEDIATELY): 1},
        cancelled=0.7,
    ),
    Scenario(
        "bursts of joins",
        {(answers, IMMEDIATELY): 8, (answers, SLOWLY): 4, (hangs_up, IMMEDIATELY): 1},
        calls={join: 4, wait: 2, poll: 1, wait_for_many: 1},
        cancelled=0.3,
    ),
    Scenario(
        "everything",
        {
            (answers, IMMEDIATELY): 8,
            (answers, SLOWLY): 4,
            (answers_in_pieces, SLOWLY): 2,
            (answers, TOO_LATE): 2,
            (hangs_up, IMMEDIATELY): 2,
            (resets, SLOWLY): 2,
            (stalls, IMMEDIATELY): 1,
        },
        cancelled=0.3,
    ),
)


# The server


class Server:
    """Listens on loopback while its ``with`` block is open; each connection has its thread.

    Attributes:
        arrivals: every request that was read.
        met: how often each behaviour took one of them.
        url: where it listens.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.arrivals: list[Arrival] = []
        self.met: Counter[Behaviour] = Counter()
        self._random = random.Random(f"server {scenario.name} {seed}")
        self._behaviours = _dealt(scenario.behaviours, self._random)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        if sys.platform == "linux":
            self._listening.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._handlers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Read the rest from closed clients, and end."""
        self._over.set()
        for thread in (self._accepting, *self._handlers):
            thread.join(SOON)
            assert not thread.is_alive(), "a connection was left open"
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                if self._over.is_set():
                    return
                continue
            handler = threading.Thread(target=self._converse, args=(connection,), daemon=True)
            self._handlers.append(handler)
            handler.start()

    def _converse(self, connection: socket.socket) -> None:
        goes_on = True
        with connection, suppress(OSError):
            while goes_on and (read := _read_request(connection)) is not None:
                goes_on = self._serve(connection, *read)

    def _serve(self, connection: socket.socket, seen: Seen, arrived: float) -> bool:
        with self._lock:
            arrival = Arrival(arrived, latest=arrived, throttled=self._is_too_soon(arrived))
            self.arrivals.append(arrival)
            behaviour, between = next(self._behaviours)
            seconds = self._random.uniform(*between)
            self.met[behaviour] += 1
            reply = _throttling() if arrival.throttled else _answer_to(seen, self._random)
        return behaviour(Visit(connection, arrival, reply, lambda: self._over.wait(seconds)))

    def _is_too_soon(self, now: float) -> bool:
        counted = (each.arrived for each in self.arrivals if not each.throttled)
        return sum(now - PERIOD < each <= now for each in counted) >= MOST


_TIMESTAMPS = 35
"""SO_TIMESTAMPNS: Linux notes when bytes come in, however late they are read."""


def _receive(connection: socket.socket) -> tuple[bytes, float]:
    """What came, and when it came."""
    if sys.platform != "linux":
        return connection.recv(1 << 16), time.time()
    data, notes, _, _ = connection.recvmsg(1 << 16, 128)
    for _, kind, stamp in notes:
        if kind == _TIMESTAMPS:
            seconds, nanoseconds = struct.unpack("@ll", stamp)
            return data, seconds + nanoseconds / 1e9
    return data, time.time()


def _read_request(connection: socket.socket) -> tuple[Seen, float] | None:
    """The next request and when it began to arrive; None if the client has left."""
    data, arrived = _receive(connection)
    while data:
        head, ended, body = data.partition(b"\r\n\r\n")
        seen = Seen("", head, body)
        if ended and len(body) >= int(seen.headers.get("content-length", "0")):
            return seen, arrived
        more, _ = _receive(connection)
        if not more:
            break
        data += more
    return None


def _answer_to(seen: Seen, draw: random.Random) -> bytes:
    if draw.random() < 0.05:
        return answer(envelope(500, "internal error"))
    if seen.method == "POST":
        return answer(envelope(data={"taskId": f"task-{draw.randrange(100)}"}))
    if "credit" in seen.target:
        return answer(envelope(data=12.5))
    status = "SUCCESS" if draw.random() < 0.2 else "PENDING"
    return answer(envelope(data=record(seen.task_id, status)))


def _throttling() -> bytes:
    return answer(envelope(430, "call frequency too high"))


# The load


class Unwritten:
    """Counts the requests of which no byte was passed to the system, so that none can arrive."""

    def __init__(self) -> None:
        self._requests: list[SimpleNamespace] = []
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_start.append(self._started)
        self.trace.on_request_headers_sent.append(self._wrote_headers)
        self.trace.on_request_chunk_sent.append(self._wrote_body)

    @property
    def number(self) -> int:
        return sum(not request.written for request in self._requests)

    async def _started(
        self,
        _session: aiohttp.ClientSession,
        request: SimpleNamespace,
        _params: aiohttp.TraceRequestStartParams,
    ) -> None:
        request.written = False
        self._requests.append(request)

    async def _wrote_headers(
        self,
        _session: aiohttp.ClientSession,
        request: SimpleNamespace,
        params: aiohttp.TraceRequestHeadersSentParams,
    ) -> None:
        """A request with a body is written with it, in one go."""
        request.written |= params.method == "GET"

    async def _wrote_body(
        self,
        _session: aiohttp.ClientSession,
        request: SimpleNamespace,
        _params: aiohttp.TraceRequestChunkSentParams,
    ) -> None:
        request.written = True


class LoadRun:
    """Some seconds of load on one client in one scenario.

    Attributes:
        scenario: the scenario.
        server: the server of the run.
        stats: of the client, at the end.
        unwritten: how many requests were cancelled before they were written.
        ends: results and errors of the calls, except those that the run cancelled.
        cancelled: how many these were.
        loop_errors: reported by the event loop for this run or a simultaneous one.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.server = Server(scenario, seed)
        self.stats: ClientStats
        self.unwritten = 0
        self.ends: list[object] = []
        self.cancelled = 0
        self.loop_errors: Collection[Mapping[str, object]] = ()
        self._random = random.Random(f"client {scenario.name} {seed}")
        self._calls = _dealt(scenario.calls, self._random)
        self._over = False

    async def execute(self) -> None:
        unwritten = Unwritten()
        client = VocalSepClient(
            "any-key",
            base_url=self.server.url,
            rate_limit=RateLimit(MOST, PERIOD),
            request_timeout=REQUEST_TIMEOUT,
            retry=RetryPolicy(attempts=3, initial=0.02, maximum=0.1),
            trace_configs=[unwritten.trace],
        )
        callers = [asyncio.create_task(self._call_on_and_on(client)) for _ in range(CALLERS)]
        await asyncio.sleep(SECONDS)
        for _ in range(round(SOON / PERIOD)):
            if self.is_complete():
                break
            await asyncio.sleep(PERIOD)
        self._over = True
        await client.aclose()
        await asyncio.gather(*callers)
        self.stats, self.unwritten = client.stats, unwritten.number

    def is_complete(self) -> bool:
        """Whether the rate limit was used up, and every behaviour and cancellation occurred."""
        return (
            worst_window(self.server.arrivals) >= MOST - 1
            and set(self.server.met) == {behaviour for behaviour, _ in self.scenario.behaviours}
            and (self.cancelled > 0 or self.scenario.cancelled < 0.5)
        )

    async def _call_on_and_on(self, client: VocalSepClient) -> None:
        while not self._over:
            await self._call(client)
            await asyncio.sleep(self._random.uniform(0, 0.02))

    async def _call(self, client: VocalSepClient) -> None:
        call = asyncio.ensure_future(next(self._calls)(client, self._random))
        to_be_cancelled = self._random.random() < self.scenario.cancelled
        if to_be_cancelled:
            soon = 0.5 * self._random.random() ** 3
            asyncio.get_running_loop().call_later(soon, call.cancel)
        (end,) = await asyncio.gather(call, return_exceptions=True)
        if to_be_cancelled and isinstance(end, asyncio.CancelledError):
            self.cancelled += 1
        else:
            self.ends.append(end)


async def _execute(runs: Collection[LoadRun]) -> None:
    loop_errors: list[Mapping[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(context))
    async with asyncio.timeout(SECONDS + 2 * SOON):
        await asyncio.gather(*(run.execute() for run in runs))
    for run in runs:
        run.loop_errors = loop_errors


@pytest.fixture(scope="module", params=sampled(SEEDS, one_in=len(SEEDS)))
def runs(request: pytest.FixtureRequest) -> Mapping[str, LoadRun]:
    """One finished run of each scenario; they ran simultaneously."""
    with ExitStack() as stack:
        runs = {scenario.name: LoadRun(scenario, request.param) for scenario in SCENARIOS}
        for run in runs.values():
            stack.enter_context(run.server)
        asyncio.run(_execute(runs.values()))
    return runs


@pytest.fixture(params=[scenario.name for scenario in SCENARIOS])
def run(request: pytest.FixtureRequest, runs: Mapping[str, LoadRun]) -> LoadRun:
    return runs[request.param]


# The promises


def test_no_window_holds_too_many_wherever_the_server_counts(run: LoadRun) -> None:
    assert worst_window(run.server.arrivals) <= MOST


def test_a_server_that_counts_arrivals_throttles_nothing(run: LoadRun) -> None:
    assert not any(arrival.throttled for arrival in run.server.arrivals)
    assert run.stats.throttled == 0


def test_every_request_of_the_stats_arrived_once_or_was_never_written(run: LoadRun) -> None:
    # One that was cut while connecting is not counted; one that was about to be written is.
    arrived = len(run.server.arrivals)
    assert arrived <= run.stats.requests <= arrived + run.unwritten
    assert run.stats.in_flight == 0


def test_every_call_ended_with_a_result_or_an_error_of_the_package(run: LoadRun) -> None:
    assert [end for end in run.ends if not is_documented(end)] == []


def is_documented(end: object) -> bool:
    match end:
        case list():
            return all(map(is_documented, end))
        case dict():
            return all(map(is_documented, end.values()))
        case TaskOutcome(error=None):
            return end.task is not None and end.task.is_final
        case TaskOutcome():
            return isinstance(end.error, VocalSepError)
        case _:
            return isinstance(end, SeparationTask | TaskRef | float | VocalSepError)


def test_no_error_is_left_for_the_event_loop_to_report(run: LoadRun) -> None:
    assert list(run.loop_errors) == []


def test_every_behaviour_and_cancellation_occurred(run: LoadRun) -> None:
    assert run.is_complete()
