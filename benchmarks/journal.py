"""What a journal costs: CPU for each look, delay of each outcome, opening it, and its size.

    python benchmarks/journal.py [--rounds 20] [--tasks 50] [--wander]

The emulator runs in a process of its own. Batches with and without a journal follow the same kind
of tasks in pairs, every other task with twelve stems in place of two, with five or six looks at
each, on a budget of 200 looks a second, which is a hundred times what an account may do. The
median of the pairs counts, and half of them lie in the range beside it: a machine that grows
quicker or slower does so for both of a pair, and now the one goes first, now the other. Client and
emulator keep to a core each where that can be asked for, unless they are to ``--wander``.
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
_NOBODY = "http://127.0.0.1:9"


def serve(pipe: Connection) -> None:
    """Run an emulator; make tasks for whoever asks, until the process is ended."""

    async def run() -> None:
        async with Emulator(rate_limit=None) as emulator:
            pipe.send(emulator.url)
            loop = asyncio.get_running_loop()
            while True:
                lengths: Sequence[float] = await loop.run_in_executor(None, pipe.recv)
                kinds = cycle((SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM))
                pipe.send([emulator.add_task(duration=each, type=next(kinds)) for each in lengths])

    asyncio.run(run())


def keep_to_a_core_each(server: int) -> None:
    """Have this process and *server* keep out of each other's way, as far as the system lets."""
    if sys.platform == "linux":
        first, *_, last = sorted(os.sched_getaffinity(0)) * 2
        os.sched_setaffinity(server, {first})
        os.sched_setaffinity(0, {last})


class Cost(NamedTuple):
    """Seconds of CPU for each look and each task, and of the median delay until handing out."""

    poll: float
    task: float
    delay: float


async def follow(url: str, ids: list[str], journal: Path | None) -> Cost:
    """Follow tasks to their ends."""
    async with VocalSepClient("no-key-needed", base_url=url, rate_limit=LIMIT) as client:
        await client.get_task(ids[0])
        async with client.track(ids, poll=Interval(GAP), journal=journal) as batch:
            used = time.process_time()
            loop = asyncio.get_running_loop()
            entered = loop.time()
            delays = [loop.time() - entered - outcome.elapsed async for outcome in batch]
            used = time.process_time() - used
            return Cost(used / batch.stats.polls, used / len(ids), median(delays))


def fill(path: Path) -> float:
    """Make a journal of many tasks, half of them ended; bytes for each."""
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
    store.apply([("INSERT INTO meta VALUES ('base_url', ?)", (_NOBODY,))])
    store.close()
    return path.stat().st_size / MANY


async def opened(path: Path) -> float:
    """Seconds until a batch has taken up a journal."""
    async with VocalSepClient("no-key-needed", base_url=f"{_NOBODY}/") as client:
        began = time.perf_counter()
        async with client.track((), journal=path):
            return time.perf_counter() - began


async def added(path: Path) -> float:
    """Seconds until as many ids are written down."""
    async with Journal(path) as journal:
        began = time.perf_counter()
        journal.add(TaskRef(f"{number:032x}") for number in range(MANY))
        await journal.flush()
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
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
        keep_to_a_core_each(server.pid)
    lengths = [0.5 + 2.5 * number / options.tasks for number in range(options.tasks)]

    def one(url: str, journal: Path | None) -> Cost:
        here.send(lengths)
        return asyncio.run(follow(url, here.recv(), journal))

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
    print(f"a look costs {1e6 * poll:.0f} us of CPU, {more:+.1f} % (aim {CPU});", end=" ")
    print(f"half of {len(pairs)} pairs: {low:+.1f} to {high:+.1f} %")
    print(f"that is {1e6 * once:.0f} us for each task, once: {CPU} % of", end=" ")
    print(f"{100 * once / poll / CPU:.1f} looks")
    print(f"an outcome is handed out {1e3 * delay:.2f} ms later (aim {DELAY:g})")
    print(f"{MANY:,} tasks are taken up in {seconds:.2f} s (aim {OPEN:g}), added in {adding:.2f} s")
    print(f"{size:.0f} bytes for each task, half of them ended (aim {SIZE})")


if __name__ == "__main__":
    main()
