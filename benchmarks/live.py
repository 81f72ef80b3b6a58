"""How long finished tasks stay unnoticed, over real sockets: our runner against rivals.

    python benchmarks/live.py [--speed 10] [--tasks 200] [--seed 7] [--most-seconds 36] [--only ...]

The emulator runs in a process of its own, with the limit of 20 requests in 10 s. Time is scaled:
at speed 10 tasks take a tenth of their time, and the limit is 20 in 1 s. All tasks are there before
the first request, half of either type, and every side has the same ones. The sides take turns,
each with an emulator of its own, and are cut after so many seconds.

What our client keeps in seconds is not scaled: that looks at one task are 1 s apart, what it
guesses of durations before it learns, the patience of 60 s; nor is the Date header in whole
seconds, which tells the age of a bare id. ``--speed 1 --most-seconds 450`` has none of that
against ours, and takes seven minutes a side.
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
AT_ONCE = 10
TYPES = (SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM)
PATH = "/api/v1/vocal-removal/record-info"


@frozen
class Account:
    """One side's emulator, and what happened to its tasks.

    Attributes:
        url: where it is.
        speed: how many times faster than life it goes.
        refs: its tasks, as `create_task` would return them.
        delays: seconds from the end of each task, by the emulator's record, until it was known.
    """

    url: str
    speed: float
    refs: Sequence[TaskRef]
    delays: dict[str, float] = field(factory=dict)
    # The emulator's printed times are monotonic ones moved by an offset, too.
    _offset: float = field(factory=lambda: time.time() - time.monotonic(), init=False)

    def known(self, task_id: str, completed_at: float) -> None:
        """A side knows now that a task is done."""
        self.delays.setdefault(task_id, time.monotonic() + self._offset - completed_at)

    def scaled(self, seconds: float) -> float:
        """What *seconds* of life are here."""
        return seconds / self.speed


Side = Callable[[Account], Awaitable[None]]


# Our side


async def ours(account: Account, *, refs: Callable[[Account], list[TaskRef]]) -> None:
    """Track all of them."""
    limit = RateLimit(REQUESTS, account.scaled(PERIOD))
    async with (
        VocalSepClient("a-key", base_url=account.url, rate_limit=limit) as client,
        client.track(refs(account)) as batch,
    ):
        async for outcome in batch:
            completed_at = outcome.result().completed_at
            if completed_at is None:
                raise RuntimeError("a finished task without the time of its end")
            account.known(outcome.task_id, completed_at.timestamp())


def types_known(account: Account) -> list[TaskRef]:
    """As `create_task` returned them."""
    return list(account.refs)


def types_unknown(account: Account) -> list[TaskRef]:
    """Somebody remembered when they were created, and nothing else."""
    return [TaskRef(ref.task_id, created_at=ref.created_at) for ref in account.refs]


def bare_ids(account: Account) -> list[TaskRef]:
    """Nobody remembered anything."""
    return [TaskRef(ref.task_id) for ref in account.refs]


# What people write by hand


async def is_done(session: aiohttp.ClientSession, account: Account, task_id: str) -> bool:
    """Ask once; a refusal counts as "not done"."""
    async with session.get(
        account.url + PATH,
        params={"taskId": task_id},
        headers={"Authorization": "Bearer a-key"},
    ) as response:
        payload = await response.json()
    if payload["code"] != 200 or payload["data"]["successFlag"] == "PENDING":
        return False
    account.known(task_id, payload["data"]["completeTime"] / 1000)
    return True


async def loops(account: Account, *, with_limiter: bool) -> None:
    """A coroutine for each task: ask, sleep, ask again; so many requests at once."""
    semaphore = asyncio.Semaphore(AT_ONCE)
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
    """Lets everybody in."""

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""


async def rounds(account: Account) -> None:
    """Ask for all that are open, as fast as aiometer lets them, at the earliest every 5 s."""
    still_open = [ref.task_id for ref in account.refs]
    async with aiohttp.ClientSession() as session:
        while still_open:
            earliest = time.monotonic() + account.scaled(GAP)
            done = await aiometer.run_all(
                [partial(is_done, session, account, task_id) for task_id in still_open],
                max_at_once=AT_ONCE,
                max_per_second=REQUESTS / account.scaled(PERIOD),
            )
            both = zip(still_open, done, strict=True)
            still_open = [task_id for task_id, is_over in both if not is_over]
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
    """Add tasks when told to; when told again, say what was asked and refused, and end."""

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
    """Have one in a process of its own; yields where it listens, and the way to command it."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs, tasks, speed, seed), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
        process.join(5.0)
    finally:
        process.terminate()
        process.join()


# The table


def compete(title: str, chosen: argparse.Namespace) -> list[str]:
    """Run one side, and return its line."""
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
    return line(title, account, wall, requests, throttled)


async def bounded(run: Awaitable[None], seconds: float) -> None:
    """Wait for a side, but no longer than that."""
    with suppress(TimeoutError):
        await asyncio.wait_for(run, seconds)


def line(title: str, account: Account, wall: float, requests: int, throttled: int) -> list[str]:
    """What one side brought; its times in seconds of life."""
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


def show(cells: Sequence[str]) -> None:
    """Print one line of the table."""
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    print(f"| {' | '.join(padded)} |", flush=True)


def main() -> None:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--speed", type=float, default=10.0)
    options.add_argument("--tasks", type=int, default=200)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--most-seconds", type=float, default=36.0, help="for each side")
    options.add_argument("--only", nargs="+", choices=SIDES, default=[*SIDES], metavar="SIDE")
    chosen = options.parse_args()
    print(
        f"{chosen.tasks} tasks at {chosen.speed:g} times the speed of life; delays in seconds of "
        "life, wall time in true ones"
    )
    show(TITLES)
    show(["-" * width for width in WIDTHS])
    for title in chosen.only:
        show(compete(title, chosen))


if __name__ == "__main__":
    main()
