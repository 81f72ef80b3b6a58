"""The cost of a big batch: CPU to read the ids and of a poll, memory, and loop iterations.

    python benchmarks/batch_cost.py [--ids 100000] [--polled 10000] [--held 10000 ...] [--polls N]

A poll is compared with a `get_task`, both with requests to a local server. For the rest no server
or network is used: a fake transport answers in virtual time, in which the clock jumps
to the next timer whenever no callback is ready. Memory is measured with `tracemalloc`, without the
ids, which are the caller's. A hold-up is the processor time of one iteration of the event
loop, between two calls of its selector, garbage collection included. Wall time would depend on
other programs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import random
import selectors
import sys
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from attrs import frozen

sys.path.insert(0, str(Path(__file__).parent))

from get_task_cpu import KEY, TASK_ID, cpu_of, server, spread

from vocalsep_async import BatchRunner, RateLimit, SeparationType, TaskRef, VocalSepClient
from vocalsep_async._scheduling.heaps import PriceHeap
from vocalsep_async._transport.api import Reply, Request

ROUND_TRIP = 0.1
ACCEPT_SECONDS = 2.0
NEVER_POLLED_BYTES = 200
POLLED_BYTES = 600
HOLD_UP_MS = 10
POLL_RATIO = 1.8
POLLED_EACH = 3
TRACKED_LIMIT = RateLimit(1_000, 1.0)
CALLS = 500
TYPES = (SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM)
SHORTEST, LONGEST = 40, 400
CREATED_MS = 1_753_782_854_000


# Virtual time


@frozen(order=True)
class Iteration:
    """Milliseconds of one iteration of the loop, in total and in garbage collection."""

    length: float = 0.0
    collecting: float = 0.0

    def __str__(self) -> str:
        return f"{self.length:.1f} ms ({self.collecting:.1f} ms of it garbage collection)"


class Iterations(selectors.DefaultSelector):
    """A selector that advances the clock instead of waiting, and times what runs in between."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self._longest = Iteration()
        self._began = time.process_time()
        self._collection_began = self._collecting = 0.0
        gc.callbacks.append(self._on_collection)

    def close(self) -> None:
        gc.callbacks.remove(self._on_collection)
        super().close()

    def _on_collection(self, phase: str, _info: object) -> None:
        if phase == "start":
            self._collection_began = time.process_time()
        else:
            self._collecting += time.process_time() - self._collection_began

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        length = time.process_time() - self._began
        self._longest = max(self._longest, Iteration(length * 1e3, self._collecting * 1e3))
        if timeout is None:
            raise RuntimeError("no callback is ready, and no timer is set")
        self.now += max(timeout, 0.0)
        ready = super().select(0)
        self._collecting = 0.0
        self._began = time.process_time()
        return ready

    def lap(self) -> Iteration:
        """The longest iteration since the last call."""
        longest, self._longest = self._longest, Iteration()
        return longest


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with the clock of its `Iterations`."""

    def __init__(self) -> None:
        self.iterations = Iterations()
        super().__init__(self.iterations)

    def time(self) -> float:
        return self.iterations.now


def iterations() -> Iterations:
    """The selector of the running loop."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualTimeLoop):
        raise TypeError("the running loop has no virtual time")
    return loop.iterations


def in_virtual_time(measured: Coroutine[Any, Any, None]) -> None:
    """Run *measured* in a loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(measured)


# A provider


class Provider:
    """Stands in for the transport.

    Args:
        ids: the ids of its tasks, which are created now.
        all_pending: whether every task stays pending; if false, every second task ends.
        enough_polls: the number of polls after which `enough` is set; None for never.

    Attributes:
        polls: the number of answered polls.
        enough: set after *enough_polls* polls.
        all_polled: set when each task was polled once.
    """

    host = "provider.example"
    needs_closing = False
    loop = None

    def __init__(
        self, ids: Sequence[str], *, all_pending: bool, enough_polls: int | None = None
    ) -> None:
        self.polls = 0
        self.enough = asyncio.Event()
        self.all_polled = asyncio.Event()
        self._never_polled = set(ids)
        self._all_pending = all_pending
        self._enough_polls = enough_polls
        self._began = asyncio.get_running_loop().time()

    def bind(self) -> None:
        """Accept any event loop."""

    async def aclose(self) -> None:
        """Close nothing."""

    async def exchange(self, request: Request) -> Reply:
        """Answer a poll."""
        await asyncio.sleep(ROUND_TRIP)
        task_id = request.query["taskId"]
        self.polls += 1
        self._never_polled.discard(task_id)
        if not self._never_polled:
            self.all_polled.set()
        if self.polls == self._enough_polls:
            self.enough.set()
        seconds = self._duration(task_id)
        age = asyncio.get_running_loop().time() - self._began
        record = {
            "taskId": task_id,
            "successFlag": "SUCCESS" if age >= seconds else "PENDING",
            "createTime": CREATED_MS,
            "completeTime": CREATED_MS + int(seconds * 1000) if age >= seconds else None,
            "response": {"vocalUrl": "https://cdn.example/v.mp3"} if age >= seconds else None,
        }
        body = json.dumps({"code": 200, "msg": "success", "data": record})
        return Reply(200, {"Date": "Tue, 29 Jul 2025 09:54:44 GMT"}, body.encode())

    def _duration(self, task_id: str) -> float:
        number = int(task_id, 16)
        if self._all_pending or number % 2:
            return math.inf
        return SHORTEST + number % (LONGEST - SHORTEST)


def client_of(provider: Provider) -> VocalSepClient:
    """A client that talks to *provider*."""
    with patch("vocalsep_async._engine.Transport", lambda *_, **__: provider):
        return VocalSepClient("a-key")


def ids_of(count: int) -> list[str]:
    """Random ids in the format of the API."""
    chance = random.Random(count)
    return [f"{chance.getrandbits(128):032x}" for _ in range(count)]


# Measurements


async def accept(count: int) -> None:
    """Print the CPU that accepting ids takes."""
    ids = ids_of(count)
    async with client_of(Provider(ids, all_pending=True)) as client:
        began = time.process_time()
        async with client.track(ids):
            took = time.process_time() - began
    print(f"accept   {count:,} ids: {took:.2f} s of CPU (aim below {ACCEPT_SECONDS:g} s)")


async def poll_cost(url: str, tracked: int, rounds: int) -> None:
    """Print the CPU of a poll in a batch, and its ratio to that of a `get_task`.

    Calls one after the other find processor and caches warm, so the ratio that counts is that to
    calls as far apart as the polls.
    """
    measured = []
    for _ in range(rounds):
        poll, gap = await cpu_of_poll(url, tracked)
        measured.append((poll, await cpu_of_get_task(url, gap), await cpu_of_get_task(url, 0.0)))
    polls, apart, in_a_row = (median(side) * 1e6 for side in zip(*measured, strict=True))
    print(
        f"poll     {polls:.0f} us in a batch of {tracked:,}; get_task {apart:.0f} us at the same "
        f"pace, {in_a_row:.0f} us without a pause"
    )
    ratio = spread([poll / apart for poll, apart, _ in measured])
    print(f"poll     ratio at the same pace {ratio}, aim at most {POLL_RATIO}")
    ratio = spread([poll / in_a_row for poll, _, in_a_row in measured])
    print(f"poll     ratio to get_task without a pause {ratio}")


async def cpu_of_poll(url: str, tracked: int) -> tuple[float, float]:
    """Seconds of CPU of each poll in a batch whose tasks compete for slots, and from one to one."""
    refs = [TaskRef(each, type=TYPES[i % 2]) for i, each in enumerate(ids_of(tracked))]
    async with (
        VocalSepClient(KEY, base_url=url, rate_limit=TRACKED_LIMIT) as client,
        client.track(refs) as batch,
    ):
        await polled(batch, tracked)
        before, cpu, clock = batch.stats.polls, time.process_time(), time.perf_counter()
        await polled(batch, POLLED_EACH * tracked)
        polls = batch.stats.polls - before
        return (time.process_time() - cpu) / polls, (time.perf_counter() - clock) / polls


async def polled(batch: BatchRunner, polls: int) -> None:
    """Wait until *batch* has made so many polls."""
    while batch.stats.polls < polls:  # noqa: ASYNC110 - a batch has no event for it
        await asyncio.sleep(0.05)


async def cpu_of_get_task(url: str, gap: float) -> float:
    """Seconds of CPU of each `get_task`, in calls that begin *gap* seconds apart."""
    clock = asyncio.get_running_loop().time
    begin = clock()

    async def call() -> None:
        nonlocal begin
        begin = max(begin + gap, clock())
        if gap:
            await asyncio.sleep(begin - clock())
        await client.get_task(TASK_ID)

    ample = RateLimit(1_000_000, 1.0)
    async with VocalSepClient(KEY, base_url=url, rate_limit=ample) as client:
        await client.get_task(TASK_ID)
        return await cpu_of(call, CALLS)


async def memory_never_polled(count: int) -> None:
    """Print the memory of an id that was never polled."""
    ids = ids_of(count)
    async with client_of(Provider(ids, all_pending=True)) as client:
        before = traced()
        async with client.track(ids):
            each = (traced() - before) / count
    print(f"memory   {each:.0f} bytes for each id never polled (aim below {NEVER_POLLED_BYTES})")


async def memory_polled(count: int) -> None:
    """Print the memory of a task that was polled and is pending."""
    ids = ids_of(count)
    provider = Provider(ids, all_pending=True)
    async with client_of(provider) as client:
        before = traced()
        async with client.track(ids):
            await provider.all_polled.wait()
            each = (traced() - before) / count
    print(f"memory   {each:.0f} bytes for each task polled and pending (aim below {POLLED_BYTES})")


def traced() -> int:
    """Bytes in use after a garbage collection."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def hold_ups(count: int, polls: int) -> None:
    """Print the longest iterations of the loop while prices change and durations are learned.

    The age of every task is known, so that each has a key in the price heap from the start.
    """
    ids, created_at = ids_of(count), datetime.now(UTC)
    refs = [
        TaskRef(each, type=TYPES[place % 2], created_at=created_at)
        for place, each in enumerate(ids)
    ]
    provider = Provider(ids, all_pending=False, enough_polls=polls)
    keys = Counter()
    laps = iterations()
    with patch.object(PriceHeap, "reprice_slice", keys.counting(PriceHeap.reprice_slice)):
        async with client_of(provider) as client:
            await asyncio.sleep(0)
            laps.lap()
            async with client.track(refs) as batch:
                opening = laps.lap()
                consumer = asyncio.create_task(consume(batch))
                await provider.enough.wait()
                tracking = laps.lap()
                consumer.cancel()
                await asyncio.wait([consumer])
                laps.lap()
            await asyncio.sleep(0)
            closing = laps.lap()
    print(
        f"hold-up  at most {tracking} while {count:,} tasks are tracked, with {provider.polls:,} "
        f"polls and {keys.calls:,} slices of keys (aim below {HOLD_UP_MS} ms)"
    )
    print(f"hold-up  at most {opening} while {count:,} tasks are added")
    print(f"hold-up  at most {closing} while a batch of {count:,} tasks is closed")


async def consume(batch: BatchRunner) -> None:
    """Receive the outcomes."""
    async for _ in batch:
        pass


class Counter:
    """Counts the calls of a function."""

    def __init__(self) -> None:
        self.calls = 0

    def counting(self, function: Callable[[Any], None]) -> Callable[[Any], None]:
        """Wrap *function* so that its calls are counted."""

        def counted(heap: Any) -> None:
            self.calls += 1
            function(heap)

        return counted


def main() -> None:
    """Run the measurements and print the results."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ids", type=int, default=100_000)
    options.add_argument("--polled", type=int, default=10_000)
    options.add_argument("--held", type=int, nargs="+", default=[10_000, 100_000])
    options.add_argument("--polls", type=int, default=12_000)
    options.add_argument("--tracked", type=int, default=1_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    with server() as url:
        asyncio.run(poll_cost(url, chosen.tracked, chosen.rounds))
    in_virtual_time(accept(chosen.ids))
    for count in chosen.held:
        in_virtual_time(hold_ups(count, chosen.polls))
    tracemalloc.start()
    in_virtual_time(memory_never_polled(chosen.ids))
    in_virtual_time(memory_polled(chosen.polled))


if __name__ == "__main__":
    main()
