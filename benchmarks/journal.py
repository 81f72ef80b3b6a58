"""The cost of a journal: CPU for each poll, delay of each outcome, time to open, and size.

    python benchmarks/journal.py [--rounds 20] [--tasks 50] [--wander]

The emulator runs in a process of its own. Batches with and without a journal track tasks of the
same kind in pairs: every other task has twelve stems instead of two, each takes five or six polls,
and the rate limit is 200 polls per second, a hundred times that of an account. The result is the
median of the pairs, with the range of half of them: a machine that becomes faster or slower
affects both batches of a pair, and their order alternates. Client and emulator are pinned to a
core each where the system supports it, unless ``--wander`` is given.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from vocalsep_async import Interval, RateLimit, SeparationType, TaskRef, VocalSepClient
from vocalsep_async._journal.codec import packed
from vocalsep_async._journal.store import Store
from vocalsep_async.emulator import Emulator
from vocalsep_async.journal import Journal

GAP = 0.4
LIMIT = RateLimit(2000, 10.0)
MANY = 100_000
CPU, DELAY, OPEN, SIZE = 10, 1.0, 3.0, 1024
_NO_SERVER = "http://127.0.0.1:9"


def serve(pipe: Connection) -> None:
    """Run an emulator that adds tasks on request, until the process is killed."""

    async def run() -> None:
        async with Emulator(rate_limit=None) as emulator:
            pipe.send(emulator.url)
            loop = asyncio.get_running_loop()
            while True:
                lengths: Sequence[float] = await loop.run_in_executor(None, pipe.recv)
                kinds = cycle((SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM))
                pipe.send([emulator.add_task(duration=each, type=next(kinds)) for each in lengths])

    asyncio.run(run())


def pin_to_cores(server: int) -> None:
    """Pin this process and *server* to different cores where the system supports it."""
    if sys.platform == "linux":
        first, *_, last = sorted(os.sched_getaffinity(0)) * 2
        os.sched_setaffinity(server, {first})
        os.sched_setaffinity(0, {last})


class Cost(NamedTuple):
    """Seconds of CPU for each poll and each task, and the median delay of an outcome."""

    poll: float
    task: float
    delay: float


async def track(url: str, ids: list[str], journal: Path | None) -> Cost:
    """Track tasks until they end, with *journal* or, if None, without one."""
    async with VocalSepClient("no-key-needed", base_url=url, rate_limit=LIMIT) as client:
        await client.get_task(ids[0])
        async with client.track(ids, poll=Interval(GAP), journal=journal) as batch:
            used = time.process_time()
            loop = asyncio.get_running_loop()
            began = loop.time()
            delays = [loop.time() - began - outcome.elapsed async for outcome in batch]
            used = time.process_time() - used
            return Cost(used / batch.stats.polls, used / len(ids), median(delays))


def fill(path: Path) -> float:
    """Fill a journal with many tasks, half of them finished; return the bytes for each task."""
    record = {
        "taskId": "0" * 32,
        "successFlag": "SUCCESS",
        "response": {
            f"{name}Url": f"https://files.example.com/{os.urandom(16).hex()}_{name}.mp3"
            for name in ("vocal", "drums", "bass", "guitar", "piano", "strings", "synth", "fx")
        },
    }
    add = "INSERT INTO added (number, task_id, added_at, status) VALUES (?, ?, ?, 'PENDING')"
    end = "INSERT INTO ended (number, status, polls, record) VALUES (?, 'SUCCESS', 3, ?)"
    store = Store.open(path)
    for first in range(0, MANY, 1000):
        numbers = range(first, first + 1000)
        store.apply((add, (number, f"{number:032x}", time.time())) for number in numbers)
        contents = (
            packed({**record, "taskId": os.urandom(16).hex()}, keep_links=False)
            for _ in numbers[1::2]
        )
        store.apply((end, each) for each in zip(numbers[1::2], contents, strict=True))
    store.apply([("INSERT INTO meta VALUES ('base_url', ?)", (_NO_SERVER,))])
    store.close()
    return path.stat().st_size / MANY


async def opened(path: Path) -> float:
    """Seconds until a batch has loaded a journal."""
    async with VocalSepClient("no-key-needed", base_url=f"{_NO_SERVER}/") as client:
        began = time.perf_counter()
        async with client.track((), journal=path):
            return time.perf_counter() - began


async def added(path: Path) -> float:
    """Seconds until the journal has written the same number of ids."""
    async with Journal(path) as journal:
        began = time.perf_counter()
        file = journal._file  # noqa: SLF001
        file.add(TaskRef(f"{number:032x}") for number in range(MANY))
        await file.flush()
        return time.perf_counter() - began


def main() -> None:
    """Run the measurements and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--wander", action="store_true", help="let processes change cores")
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    if not options.wander:
        assert server.pid is not None
        pin_to_cores(server.pid)
    lengths = [0.5 + 2.5 * number / options.tasks for number in range(options.tasks)]

    def one(url: str, journal: Path | None) -> Cost:
        here.send(lengths)
        return asyncio.run(track(url, here.recv(), journal))

    def pair(url: str, journal: Path, number: int) -> tuple[Cost, Cost]:
        if number % 2:
            kept = one(url, journal)
            return kept, one(url, None)
        plain = one(url, None)
        return one(url, journal), plain

    with tempfile.TemporaryDirectory(prefix="vocalsep-benchmark-") as folder:
        try:
            url = here.recv()
            pairs = [pair(url, Path(folder) / f"{each}", each) for each in range(options.rounds)]
        finally:
            server.kill()
        size = fill(Path(folder) / "many")
        seconds = min(asyncio.run(opened(Path(folder) / "many")) for _ in range(3))
        adding = asyncio.run(added(Path(folder) / "new"))
    poll = median(plain.poll for _, plain in pairs)
    low, more, high = quantiles([100 * (kept.poll / plain.poll - 1) for kept, plain in pairs], n=4)
    once = median(kept.task - plain.task for kept, plain in pairs)
    delay = median(kept.delay - plain.delay for kept, plain in pairs)
    print(f"a poll takes {1e6 * poll:.0f} us of CPU, {more:+.1f} % (aim {CPU});", end=" ")
    print(f"half of {len(pairs)} pairs: {low:+.1f} to {high:+.1f} %")
    print(f"that is {1e6 * once:.0f} us once for each task: {CPU} % of", end=" ")
    print(f"{100 * once / poll / CPU:.1f} polls")
    print(f"an outcome is delivered {1e3 * delay:.2f} ms later (aim {DELAY:g})")
    print(f"{MANY:,} tasks are loaded in {seconds:.2f} s (aim {OPEN:g}), added in {adding:.2f} s")
    print(f"{size:.0f} bytes for each task, half of them finished (aim {SIZE})")


if __name__ == "__main__":
    main()
