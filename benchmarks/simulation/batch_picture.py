"""Draws a batch: when its tasks ran, when they were polled, and when each end was known.

    python -m benchmarks.simulation.batch_picture

Writes docs/explanation/batch.svg; the schedule and the rate limiter are the package's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from benchmarks.simulation.clients.ours import Ours
from benchmarks.simulation.running import Unnoticed, new_world, schedule_tracking
from benchmarks.simulation.server import (
    DOCUMENTED_LIMIT,
    TYPICAL_ROUND_TRIP,
    Answer,
    Server,
    Window,
)
from benchmarks.simulation.tasks import SimulatedTask
from benchmarks.simulation.timeline import Timeline
from benchmarks.simulation.workloads import batch

_PICTURE = Path("docs/explanation/batch.svg")
_TASKS, _SEED = 12, 3
_LEFT, _RIGHT, _TOP, _ROW = 70.0, 20.0, 62.0, 22.0
_WIDTH = 760.0
_STYLE = """
    .paper { fill: #ffffff; stroke: #d5dae1 }
    .text { fill: #2f3f55 }
    .grid { stroke: #e3e8ef }
    .runs { fill: #b9cdea }
    .unknown { fill: #e8912d }
    .poll { fill: #1d3f73; stroke: #ffffff; stroke-width: 0.8 }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #17191d; stroke: #3a4049 }
      .text { fill: #c5d0de }
      .grid { stroke: #2a3038 }
      .runs { fill: #33507a }
      .unknown { fill: #e8912d }
      .poll { fill: #d6e4f8; stroke: #17191d }
    }
"""


class _Recording(Server):
    """Keeps when each task was polled."""

    def __init__(self, timeline: Timeline) -> None:
        rng = random.Random("network")
        super().__init__(timeline, Window(DOCUMENTED_LIMIT), TYPICAL_ROUND_TRIP, rng)
        self.sent: list[tuple[SimulatedTask, float]] = []
        self._clock = timeline

    def poll(self, task: SimulatedTask, on_answer: Callable[[Answer], None]) -> None:
        self.sent.append((task, self._clock.now))
        super().poll(task, on_answer)


def _batch() -> tuple[list[SimulatedTask], list[tuple[SimulatedTask, float]]]:
    """Run a batch of tasks that were created when it began; also returns its polls."""
    world = new_world(types_known=True, seed=_SEED)
    server = _Recording(world.timeline)
    tasks = batch(_TASKS, random.Random(_SEED))
    schedule_tracking(Ours(attrs.evolve(world, server=server)), tasks, world.timeline)
    world.timeline.run(Unnoticed(list(tasks)), 3600.0)
    return sorted(tasks, key=lambda task: task.finished), server.sent


def _drawn(tasks: list[SimulatedTask], polls: list[tuple[SimulatedTask, float]]) -> Iterator[str]:
    start = min(task.created for task in tasks)
    end = max(task.noticed for task in tasks) - start
    scale = (_WIDTH - _LEFT - _RIGHT) / (end * 1.02)
    bottom = _TOP + _ROW * len(tasks)
    height = bottom + 46
    mean = sum(task.delay for task in tasks) / len(tasks)

    def x(moment: float) -> float:
        return _LEFT + (moment - start) * scale

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {height:.0f}"'
    yield '  role="img" aria-labelledby="t d" font-family="system-ui, sans-serif" font-size="12">'
    yield '  <title id="t">The timeline of a batch</title>'
    yield f'  <desc id="d">{len(tasks)} tasks, {len(polls)} polls; an end is known after'
    yield f"  {mean:.1f} s on average.</desc>"
    yield f"  <style>{_STYLE}  </style>"
    yield '  <rect class="paper" x="0.5" y="0.5" rx="6"'
    yield f'    width="{_WIDTH - 1:.0f}" height="{height - 1:.0f}"/>'
    yield from _legend()
    for second in range(0, int(end) + 1, 30):
        at = x(start + second)
        yield f'  <line class="grid" x1="{at:.1f}" y1="{_TOP - 6}" x2="{at:.1f}" y2="{bottom}"/>'
        yield _text(at, bottom + 18, f"{second}", anchor="middle")
    summary = f"{len(polls)} polls, and an end is known after {mean:.1f} s on average"
    yield _text(_WIDTH - _RIGHT, bottom + 36, f"seconds; {summary}", anchor="end")
    for row, task in enumerate(tasks):
        y = _TOP + _ROW * row
        yield _text(_LEFT - 10, y + 12, f"Task {row + 1}", anchor="end")
        yield _bar("runs", x(task.created), x(task.finished), y)
        yield _bar("unknown", x(task.finished), x(task.noticed), y)
        for polled, moment in polls:
            if polled is task:
                yield f'  <circle class="poll" cx="{x(moment):.1f}" cy="{y + 8:.1f}" r="4"/>'
    yield "</svg>"


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'  <text class="text" x="{x:.1f}" y="{y:.0f}" text-anchor="{anchor}">{text}</text>'


def _bar(kind: str, left: float, right: float, y: float) -> str:
    return (
        f'  <rect class="{kind}" x="{left:.1f}" y="{y + 2:.1f}" width="{right - left:.1f}"'
        ' height="12"/>'
    )


def _legend() -> Iterator[str]:
    texts = (("runs", "the task runs"), ("unknown", "it has ended, and that is not known yet"))
    for (kind, text), left in zip(texts, (_LEFT, _LEFT + 140), strict=True):
        yield f'  <rect class="{kind}" x="{left}" y="24" width="22" height="12"/>'
        yield _text(left + 30, 34, text)
    left = _LEFT + 430
    yield f'  <circle class="poll" cx="{left}" cy="30" r="4"/>'
    yield _text(left + 12, 34, "a poll is sent")


def main() -> None:
    """Draw it."""
    _PICTURE.write_text("\n".join(_drawn(*_batch())) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
