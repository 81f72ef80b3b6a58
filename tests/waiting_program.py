"""A program that waits for tasks, for tests that stop a process or set its clock.

    python tests/waiting_program.py '{"url": ..., "limit": [20, 1.0], ...}'

It prints how its waits ended and how far its clocks moved, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vocalsep_async import Adaptive, Interval, RateLimit, TaskRef, TaskTimeoutError, VocalSepClient

TIMEOUT = 1.5


class Clocks:
    """The wall clock, which jumps once, and the monotonic clock, which must not."""

    def __init__(self, jump: str | None) -> None:
        self._jump = jump
        self._wall, self._steady = time.time(), time.monotonic()

    def jump(self, _: object) -> None:
        if self._jump is not None:
            Path(os.environ["FAKETIME_TIMESTAMP_FILE"]).write_text(self._jump, encoding="ascii")
            self._jump = None

    def moved(self) -> dict[str, int]:
        """Whole hours by which they moved."""
        wall, steady = time.time() - self._wall, time.monotonic() - self._steady
        return {"wall": round(wall / 3600), "steady": round(steady / 3600)}


async def end_of(client: VocalSepClient, endless: str, clocks: Clocks) -> str:
    """How the wait for an endless task ends, during which the clock jumps."""
    ref = TaskRef(endless, created_at=datetime.now(UTC))
    try:
        task = await client.wait_for_task(
            ref, timeout=TIMEOUT, poll=Adaptive(), on_update=clocks.jump
        )
    except TaskTimeoutError:
        return "timeout"
    return str(task.status)


async def main(url: str, limit: list[Any], ending: list[str], endless: str, jump: str) -> None:
    clocks = Clocks(jump or None)
    async with VocalSepClient(
        "a-key", base_url=url, rate_limit=RateLimit(*limit), poll=Interval(0.05)
    ) as client:
        outcomes, end = await asyncio.gather(
            client.wait_for_tasks(ending, timeout=600), end_of(client, endless, clocks)
        )
        said = {
            "ended": [str(outcome.status) for outcome in outcomes.values()],
            "endless": end,
            "throttled": client.stats.throttled,
            "moved": clocks.moved(),
        }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
