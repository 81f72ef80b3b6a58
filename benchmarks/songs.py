"""How long a run of many songs takes, against what the rate limit and the tasks allow.

    python benchmarks/songs.py [SONGS] [SPEED]

Songs go through the emulator, whose tasks and rate limit are both SPEED times faster than real
ones. No run can end before one creation and one poll for each song have been sent (the limit), nor
before the last of the tasks has ended, of which the n-th cannot be created before the n-th slot
(the durations). Above a SPEED of 5, the least gaps between polls, which are not scaled, count.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from vocalsep_async import RateLimit
from vocalsep_async.emulator import Emulator

_REQUESTS, _SECONDS = 20, 10.0


async def measure(songs: int, speed: float) -> None:
    """Run *songs* songs at *speed*, and print how long it took, and what was possible."""
    limit = _REQUESTS, _SECONDS / speed
    urls = [f"https://songs.example/{number}.mp3" for number in range(songs)]
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Emulator(speed=speed, rate_limit=limit, credits=1e6) as emulator,
            emulator.client(rate_limit=RateLimit(*limit)) as client,
        ):
            began = time.perf_counter()
            journal = Path(folder, "songs.journal")
            async with client.separate_many(urls, journal=journal) as run:
                succeeded = sum([outcome.succeeded async for outcome in run])
            took = (time.perf_counter() - began) * speed
            stats, sent = run.stats, client.stats
            tasks = [
                task.ends_at - task.created_at
                for task in emulator._backend.tasks.all  # noqa: SLF001 - the durations it drew
            ]
    rate = _REQUESTS / _SECONDS
    by_limit = 2 * songs / rate
    by_durations = max(number / rate + duration * speed for number, duration in enumerate(tasks))
    possible, mean = max(by_limit, by_durations), sum(tasks) / len(tasks)
    print(f"{succeeded} of {songs} songs, {stats.created} created, {sent.requests} requests")
    print(
        f"{sent.throttled} throttled; tasks of {mean * speed:.0f} s on average, and "
        f"{max(tasks) * speed:.0f} s at most"
    )
    print(
        f"{took:.0f} s of real time; the limit allows {by_limit:.0f} s, the durations "
        f"{by_durations:.0f} s: {took / possible:.2f} times as long as possible"
    )


if __name__ == "__main__":
    asyncio.run(
        measure(
            int(sys.argv[1]) if len(sys.argv) > 1 else 200,
            float(sys.argv[2]) if len(sys.argv) > 2 else 4.0,
        )
    )
