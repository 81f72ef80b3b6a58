"""Answers of a client that more is asked of than its rate limit allows, over real sockets.

    python benchmarks/overload.py [--seconds 60] [--wanted 2.9] [--patience 5] [--latency 0.6]

Handlers of a web service poll one task each, and give up after some seconds. The emulator, in this
process, answers late and has a limit of 20 requests in 10 s. Goodput is the answers that came in
time, as a share of what the limit allows. The two ways to give up run at the same time, each with
an emulator of its own: the ``timeout`` of `get_task`, and ``asyncio.timeout``, which the client
cannot see.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from statistics import median

from vocalsep_async import VocalSepClient
from vocalsep_async.emulator import Emulator

REQUESTS, PERIOD = 20, 10.0
HANDLERS = 20
LIMIT = 0.8

Call = Callable[[VocalSepClient, str, float], Awaitable[object]]


async def with_timeout(client: VocalSepClient, task_id: str, patience: float) -> None:
    """Poll with the timeout of `get_task`."""
    await client.get_task(task_id, timeout=patience)


async def within_timeout(client: VocalSepClient, task_id: str, patience: float) -> None:
    """Poll within a block that cancels it."""
    async with asyncio.timeout(patience):
        await client.get_task(task_id)


CALLS: dict[str, Call] = {
    "get_task(timeout=...)": with_timeout,
    "asyncio.timeout(...)": within_timeout,
}


async def handle(
    client: VocalSepClient, call: Call, task_id: str, first: float, options: argparse.Namespace
) -> list[float]:
    """Poll again and again until time is up; return the seconds after which answers came."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers: list[float] = []
    for number in count():
        # Sent at the times that were planned, however long the last one took.
        at = began + first + number * HANDLERS / options.wanted
        if at >= began + options.seconds:
            return answers
        await asyncio.sleep(at - loop.time())
        asked = loop.time()
        with suppress(TimeoutError):
            await call(client, task_id, options.patience)
            answers.append(loop.time() - asked)
    raise AssertionError("count() has no end")


async def measure(name: str, call: Call, options: argparse.Namespace) -> None:
    """Run all handlers of one side, and print what came of it."""
    async with (
        Emulator(rate_limit=(REQUESTS, PERIOD), latency=options.latency) as emulator,
        VocalSepClient("any-key", base_url=emulator.url) as client,
    ):
        runs = [
            handle(client, call, emulator.add_task(duration=1e6), number / options.wanted, options)
            for number in range(HANDLERS)
        ]
        answers = [seconds for run in await asyncio.gather(*runs) for seconds in run]
        throttled = sum(request.throttled for request in emulator.requests)
        sent = client.stats.requests
    goodput = len(answers) / (options.seconds * REQUESTS / PERIOD)
    print(
        f"{name:22} goodput {goodput:4.0%} (aim at least {LIMIT:.0%}), {len(answers)} answers of "
        f"{sent} requests, median {median(answers or [0.0]):.1f} s, {throttled} throttled"
    )


async def run(options: argparse.Namespace) -> None:
    """Run both sides at the same time."""
    await asyncio.gather(*(measure(name, call, options) for name, call in CALLS.items()))


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--wanted", type=float, default=2.9, help="polls per second")
    parser.add_argument("--patience", type=float, default=5.0)
    parser.add_argument("--latency", type=float, default=0.6)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
