"""A dozen tasks on the emulator, over real HTTP: what users would see of the real API."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import fmean

import anyio
from attrs import define, field
from rich.console import Console
from rich.markup import escape

from vocalsep_async import SeparationTask, SeparationType, TaskRef, VocalSepClient
from vocalsep_async.emulator import Emulator

_TASKS = 12
_SPEED = 16.0
"""The emulator's tasks take 20 to 240 s divided by this."""
_SEED = 5
_KINDS = (SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM)
_ROW = "{task:<10} {kind:<15} {status:<22} {took:>8} {delay:>8}   {stems}"


@define
class _Demo:
    """One run: waits for each task, and prints it when it is known."""

    client: VocalSepClient
    console: Console
    delays: list[float] = field(factory=list)

    async def create_and_wait(self, kind: SeparationType) -> None:
        """Create a task of *kind* and wait until it is final."""
        ref = await self.client.create_task(
            audio_url="https://example.com/song.mp3",
            callback_url="https://example.com/never-called",
            type=kind,
        )
        task = await self.client.wait_for_task(ref)
        delay = _seconds_since(task.completed_at)
        self.delays.append(delay)
        self._show(ref, task, delay)

    def _show(self, ref: TaskRef, task: SeparationTask, delay: float) -> None:
        row = _ROW.format(
            task=task.task_id[:8] + "…",
            kind=ref.type or "",
            status=task.status,
            took=f"{task.duration or 0:.1f} s",
            delay=f"{delay:.1f} s",
            stems=_stems(task),
        )
        self.console.print(escape(row.rstrip()), highlight=False, soft_wrap=True)


async def run_demo() -> None:
    """Start the emulator, create the tasks, wait for them, and print what was seen."""
    console = Console()
    async with (
        Emulator(speed=_SPEED, seed=_SEED, failure_rate=0.1) as emulator,
        VocalSepClient("demo-key", base_url=emulator.url) as client,
    ):
        console.print(
            f"An emulator of the API runs at {emulator.url}, {_SPEED:g} times as fast as the real "
            f"one.\nCreating {_TASKS} tasks within 20 requests per 10 s, and waiting for each:\n",
            highlight=False,
            soft_wrap=True,
        )
        titles = _ROW.format(
            task="task", kind="type", status="status", took="took", delay="known +", stems="stems"
        )
        console.print(titles, style="bold", highlight=False, soft_wrap=True)
        run = _Demo(client, console)
        async with anyio.create_task_group() as group:
            for number in range(_TASKS):
                group.start_soon(run.create_and_wait, _KINDS[number % len(_KINDS)])
        stats = client.stats
        console.print(
            f"\n{_TASKS} tasks, {stats.requests} requests, {stats.refused} refused; each was known "
            f"{fmean(run.delays):.1f} s after it was done, on average.",
            highlight=False,
            soft_wrap=True,
        )


def _seconds_since(moment: datetime | None) -> float:
    return 0.0 if moment is None else (datetime.now(UTC) - moment).total_seconds()


def _stems(task: SeparationTask) -> str:
    if not task.succeeded:
        return task.error_message or "none"
    names = [name for name, _ in task.stems]
    return (
        ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"
    )
