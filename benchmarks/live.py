"""Delay until a finished task is detected, over real sockets: this client and competitors.

    python benchmarks/live.py [--speed 10] [--tasks 200] [--seed 7] [--most-seconds 36] [--only ...]

The emulator runs in a separate process, with a limit of 20 requests in 10 s. Time is scaled: at
speed 10 tasks take a tenth of their time, and the limit is 20 requests in 1 s. All tasks are
created before the first request, half of each type, and are the same for every side. The sides run
one after another, each with its own emulator, and are stopped after ``--most-seconds``.

Constants of this client in seconds are not scaled: the minimum of 1 s between polls of a task, its
initial durations, and the 60 s after which a waiting task takes precedence. Neither is the Date
header, which gives the age of a bare id in whole seconds. ``--speed 1 --most-seconds 450`` avoids
these disadvantages and takes seven minutes for each side.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from statistics import fmean

import aiohttp
import aiometer
from aiolimiter import AsyncLimiter
from attrs import field, frozen

from vocalsep_async import RateLimit, SeparationType, TaskRef, VocalSepClient
from vocalsep_async.emulator import Emulator

REQUESTS, PERIOD = 20, 10.0
GAP = 5.0
LATENCY = 0.1
MAX_CONCURRENT = 10
TYPES = (SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM)
PATH = "/api/v1/vocal-removal/record-info"


@frozen
class Account:
    """The emulator of one side, and the delays of its tasks.

    Attributes:
        url: the address of the emulator.
        speed: the factor by which time is accelerated.
        refs: the tasks, as `create_task` would return them.
        delays: seconds from the end of each task, by its record, until it was detected.
    """

    url: str
    speed: float
    refs: Sequence[TaskRef]
    delays: dict[str, float] = field(factory=dict)
    # The emulator also derives the times in its records from a monotonic clock and an offset.
    _offset: float = field(factory=lambda: time.time() - time.monotonic(), init=False)

    def detected(self, task_id: str, completed_at: float) -> None:
        """Record that the end of a task is detected now."""
        self.delays.setdefault(task_id, time.monotonic() + self._offset - completed_at)

    def scaled(self, seconds: float) -> float:
        """The accelerated length of *seconds*."""
        return seconds / self.speed


Side = Callable[[Account], Awaitable[None]]


# This client


async def ours(account: Account, *, refs: Callable[[Account], list[TaskRef]]) -> None:
    """Track all tasks."""
    limit = RateLimit(REQUESTS, account.scaled(PERIOD))
    async with (
        VocalSepClient("a-key", base_url=account.url, rate_limit=limit) as client,
        client.track(refs(account)) as batch,
    ):
        async for outcome in batch:
            completed_at = outcome.result().completed_at
            if completed_at is None:
                raise RuntimeError("a finished task without the time of its end")
            account.detected(outcome.task_id, completed_at.timestamp())


def types_known(account: Account) -> list[TaskRef]:
    """References as `create_task` returned them."""
    return list(account.refs)


def types_unknown(account: Account) -> list[TaskRef]:
    """References with the time of creation only."""
    return [TaskRef(ref.task_id, created_at=ref.created_at) for ref in account.refs]


def bare_ids(account: Account) -> list[TaskRef]:
    """References with the id only."""
    return [TaskRef(ref.task_id) for ref in account.refs]


# Hand-written competitors


async def is_done(session: aiohttp.ClientSession, account: Account, task_id: str) -> bool:
    """Poll once; an error counts as not done."""
    async with session.get(
        account.url + PATH,
        params={"taskId": task_id},
        headers={"Authorization": "Bearer a-key"},
    ) as response:
        payload = await response.json()
    if payload["code"] != 200 or payload["data"]["successFlag"] == "PENDING":
        return False
    account.detected(task_id, payload["data"]["completeTime"] / 1000)
    return True


async def loops(account: Account, *, with_limiter: bool) -> None:
    """Poll each task at a fixed interval in its own coroutine."""
    semaphore = asyncio.Semaphore(MAX_CONCURRENT)
    limiter: AbstractAsyncContextManager[None]
    limiter = AsyncLimiter(REQUESTS, account.scaled(PERIOD)) if with_limiter else Unlimited()

    async def loop(session: aiohttp.ClientSession, task_id: str) -> None:
        while True:
            async with semaphore, limiter:
                done = await is_done(session, account, task_id)
            if done:
                return
            await asyncio.sleep(account.scaled(GAP))

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for ref in account.refs:
            group.create_task(loop(session, ref.task_id))


class Unlimited(AbstractAsyncContextManager[None]):
    """A limiter that grants every request immediately."""

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""


async def rounds(account: Account) -> None:
    """Poll all unfinished tasks in rounds limited by aiometer, at most one round every 5 s."""
    still_open = [ref.task_id for ref in account.refs]
    async with aiohttp.ClientSession() as session:
        while still_open:
            earliest = time.monotonic() + account.scaled(GAP)
            done = await aiometer.run_all(
                [partial(is_done, session, account, task_id) for task_id in still_open],
                max_at_once=MAX_CONCURRENT,
                max_per_second=REQUESTS / account.scaled(PERIOD),
            )
            polled = zip(still_open, done, strict=True)
            still_open = [task_id for task_id, is_over in polled if not is_over]
            await asyncio.sleep(earliest - time.monotonic())


SIDES: dict[str, Side] = {
    "ours, types known": partial(ours, refs=types_known),
    "ours, types unknown": partial(ours, refs=types_unknown),
    "ours, bare ids": partial(ours, refs=bare_ids),
    "loops, 5 s": partial(loops, with_limiter=False),
    "loops, 5 s, aiolimiter": partial(loops, with_limiter=True),
    "rounds, 5 s, aiometer": rounds,
}


# The emulator


def serve(pipe: Connection, tasks: int, speed: float, seed: int) -> None:
    """Add tasks on the first message; send the request counts and end on the second."""

    async def run() -> None:
        async with Emulator(
            speed=speed, seed=seed, rate_limit=(REQUESTS, PERIOD / speed), latency=LATENCY / speed
        ) as emulator:
            pipe.send(emulator.url)
            await asyncio.to_thread(pipe.recv)
            kinds = [TYPES[number % len(TYPES)] for number in range(tasks)]
            pipe.send([(emulator.add_task(type=kind), kind) for kind in kinds])
            await asyncio.to_thread(pipe.recv)
            throttled = sum(request.throttled for request in emulator.requests)
            pipe.send((len(emulator.requests), throttled))

    asyncio.run(run())


@contextmanager
def emulator(tasks: int, speed: float, seed: int) -> Iterator[tuple[str, Connection]]:
    """Run an emulator in a separate process; yield its address and the pipe that controls it."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs, tasks, speed, seed), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
        process.join(5.0)
    finally:
        process.terminate()
        process.join()


# Results


def run_side(title: str, chosen: argparse.Namespace) -> list[str]:
    """Run one side, and return its row of the table."""
    with emulator(chosen.tasks, chosen.speed, chosen.seed) as (url, pipe):
        pipe.send("begin")
        created_at = datetime.now(UTC)
        refs = [TaskRef(task_id, type=kind, created_at=created_at) for task_id, kind in pipe.recv()]
        account = Account(url, chosen.speed, refs)
        began = time.monotonic()
        asyncio.run(bounded(SIDES[title](account), chosen.most_seconds))
        wall = time.monotonic() - began
        pipe.send("end")
        requests, throttled = pipe.recv()
    return row(title, account, wall, requests, throttled)


async def bounded(run: Awaitable[None], seconds: float) -> None:
    """Run a side for at most *seconds*."""
    with suppress(TimeoutError):
        await asyncio.wait_for(run, seconds)


def row(title: str, account: Account, wall: float, requests: int, throttled: int) -> list[str]:
    """The row of one side; delays in seconds at speed 1."""
    delays = sorted(delay * account.speed for delay in account.delays.values())
    p95 = delays[min(len(delays) - 1, int(0.95 * len(delays)))] if delays else math.nan
    return [
        title,
        f"{fmean(delays):.1f}" if delays else "-",
        f"{p95:.1f}",
        f"{requests}",
        f"{throttled}",
        f"{wall:.1f}",
        f"{len(account.refs) - len(delays)}",
    ]


TITLES = ["", "mean delay", "p95", "requests", "throttled", "wall", "unfinished"]
WIDTHS = [24, 10, 6, 8, 8, 6, 10]


def print_row(cells: Sequence[str]) -> None:
    """Print one row of the table."""
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    print(f"| {' | '.join(padded)} |", flush=True)


def main() -> None:
    """Run every side and print the results."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--speed", type=float, default=10.0)
    options.add_argument("--tasks", type=int, default=200)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--most-seconds", type=float, default=36.0, help="for each side")
    options.add_argument("--only", nargs="+", choices=SIDES, default=[*SIDES], metavar="SIDE")
    chosen = options.parse_args()
    print(
        f"{chosen.tasks} tasks at {chosen.speed:g} times real time; delays in seconds at "
        "speed 1, wall time in real seconds"
    )
    print_row(TITLES)
    print_row(["-" * width for width in WIDTHS])
    for title in chosen.only:
        print_row(run_side(title, chosen))


if __name__ == "__main__":
    main()
