"""Batches over one journal, each cut off at any moment, against a simple model.

The model knows which ids were added and which ended. Each run hands out at most one outcome for
each id, and one more when it is added again after an error was fetched; an id whose final record
was handed out is never polled again, and is handed out again by every complete run. A last run must
have an outcome for every id.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal, NamedTuple

import anyio
import pytest
from batch.journals import journals_in_virtual_time, known_in, process
from batch.tracking import NEVER
from fakes import Answer, FakeProvider, envelope, provider_in_place, record
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from virtual_time import VirtualTimeLoop

from vocalsep_async import Interval, TaskOutcome, TransportError
from vocalsep_async.batch import BatchRunner

FAULTS: dict[str, list[Answer]] = {
    "throttled": [envelope(430, "too often")],
    "failed": [envelope(500, "broken")],
    "cut": [TransportError("cut")],
    "undecodable for long": [envelope(200, data="strange")] * 6,
    "not found": [envelope(404, "no")],
    "unknown for long": [envelope(200)] * 6,
    "rejected key": [envelope(401, "no")],
    "no credits": [envelope(429, "no")],
}
IDS = st.sampled_from([f"t{n}" for n in range(10)])
DURATIONS = [0.0, 0.2, 5.0, 5.0, 50.0, 50.0, 300.0, 300.0, NEVER, NEVER]


class Cut(NamedTuple):
    """How and when a run ends: after some seconds and some iterations of the event loop."""

    how: Literal["left", "cancelled", "scope cancelled", "never"]
    seconds: float
    rounds: int


CUTS = st.builds(
    Cut,
    st.sampled_from(["left", "cancelled", "scope cancelled", "never"]),
    st.sampled_from([0.0, 0.0, 0.05, 0.1, 1.0, 7.0, 60.0, 400.0]),
    st.integers(0, 25),
)


class JournalMachine(RuleBasedStateMachine):
    """One provider and one journal; each rule is a run of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.patch = pytest.MonkeyPatch()
        self.place = provider_in_place(self.patch)
        self.provider: FakeProvider = self.place.__enter__()
        self.wall = journals_in_virtual_time(self.patch)
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "batch.journal"
        self.taken: set[str] = set()
        self.ended: dict[str, TaskOutcome] = {}
        self.written: set[str] = set()
        self.run(self.begin())

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.runner.run(coroutine)

    async def begin(self) -> None:
        for number, duration in enumerate(DURATIONS):
            self.provider.add(f"t{number}", duration)

    @rule(task_id=IDS, fault=st.sampled_from(sorted(FAULTS)))
    def meets_a_fault(self, task_id: str, fault: str) -> None:
        self.provider.script(task_id, *FAULTS[fault])

    @rule(task_id=IDS)
    def ends_badly(self, task_id: str) -> None:
        self.provider.script(task_id, record(task_id, "GENERATE_AUDIO_FAILED"))

    @rule(seconds=st.sampled_from([-1e8, -10.0, 10.0, 1e4, 1e8]))
    def the_clock_is_set(self, seconds: float) -> None:
        self.wall.ahead += seconds

    @rule(
        given=st.lists(IDS, max_size=6),
        later=st.lists(IDS, max_size=4),
        source=st.sampled_from(["list", "generator"]),
        timeout=st.sampled_from([None, 0, 10.0, 500.0]),
        gap=st.sampled_from([0.0, 0.0, 4.0, 30.0]),
        cut=CUTS,
    )
    def tracks(  # noqa: PLR0917 - hypothesis passes them by name
        self,
        given: list[str],
        later: list[str],
        source: str,
        timeout: float | None,
        gap: float,
        cut: Cut,
    ) -> None:
        tasks = given if source == "list" else iter(given)
        if cut.how == "never":
            timeout = 500.0
        self.run(self._track(tasks, later, timeout, gap, cut))

    async def _track(
        self,
        tasks: Any,
        later: list[str],
        timeout: float | None,  # noqa: ASYNC109 - it is passed on
        gap: float,
        cut: Cut,
    ) -> None:
        self.provider.sent.clear()
        before = dict(self.ended)
        outcomes: dict[str, TaskOutcome] = {}
        scope = anyio.CancelScope()
        call = asyncio.create_task(self._consumed(tasks, later, timeout, gap, scope, outcomes))
        if cut.how != "never":
            await asyncio.wait([call], timeout=cut.seconds)
            for _ in range(cut.rounds):
                await asyncio.sleep(0)
        if cut.how == "cancelled":
            call.cancel()
        elif cut.how == "scope cancelled":
            scope.cancel()
        elif cut.how == "left":
            self.leave.set()
        await asyncio.wait([call])
        was_cut = call.cancelled()
        if not was_cut:
            call.result()
        self.check(before, outcomes, is_whole=cut.how == "never" and not was_cut)
        await self.check_what_is_kept()

    async def _consumed(  # noqa: PLR0917
        self,
        tasks: Any,
        later: list[str],
        timeout: float | None,  # noqa: ASYNC109 - it is passed on
        gap: float,
        scope: anyio.CancelScope,
        outcomes: dict[str, TaskOutcome],
    ) -> None:
        self.leave = asyncio.Event()
        with scope:
            async with (
                process(self.provider) as client,
                client.track(
                    tasks, journal=self.path, timeout=timeout, poll=Interval(10), keep_open=True
                ) as batch,
            ):
                self.taken.update(batch.pending_ids())
                consumer = asyncio.create_task(_fetch(batch, outcomes, gap))
                for task_id in later:
                    await asyncio.wait([consumer], timeout=3)
                    if consumer.done():
                        break  # a rejected key or no credits ended the batch
                    if task_id in outcomes and outcomes[task_id].task is None:
                        del outcomes[task_id]  # it waits again
                    batch.add(task_id)
                    self.taken.add(task_id)
                batch.close()
                leave = asyncio.create_task(self.leave.wait())
                try:
                    await asyncio.wait([consumer, leave], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self.taken.update(batch.pending_ids())
                    leave.cancel()
                    consumer.cancel()
                    await asyncio.wait([consumer])
                if not consumer.cancelled():
                    consumer.result()

    def check(
        self, before: dict[str, TaskOutcome], outcomes: dict[str, TaskOutcome], *, is_whole: bool
    ) -> None:
        asked_again = set(self.provider.sent) & self.written
        assert not asked_again, "an ended task was asked for again"
        for task_id, outcome in outcomes.items():
            if task_id in before:
                assert outcome == before[task_id], "not the same outcome"
            elif outcome.task is not None:
                self.ended[task_id] = outcome
        self.taken.update(outcomes)
        if is_whole:
            assert set(outcomes) == self.taken, "lost, or made up"

    async def check_what_is_kept(self) -> None:
        known = await known_in(self.path)
        assert set(known) >= self.taken, "lost"
        self.taken.update(known)
        self.written = {task_id for task_id, each in known.items() if each.has_ended}
        assert self.written >= set(self.ended)

    def teardown(self) -> None:
        try:
            self.provider.ends_all()
            self.run(self._track([], [], None, 0.0, Cut("never", 0.0, 0)))
            assert set(self.ended) == self.taken
        finally:
            self.runner.close()
            self.place.__exit__(None, None, None)
            self.patch.undo()
            shutil.rmtree(self.folder)


async def _fetch(batch: BatchRunner, outcomes: dict[str, TaskOutcome], gap: float) -> None:
    async for outcome in batch:
        assert outcome.task_id not in outcomes, "two outcomes for one task"
        outcomes[outcome.task_id] = outcome
        await asyncio.sleep(gap)


pytestmark = pytest.mark.hypothesis


def test_runs_over_one_journal_lose_nothing_and_poll_no_finished_task_again() -> None:
    run_state_machine_as_test(
        JournalMachine,
        settings=settings(max_examples=settings().max_examples // 4, stateful_step_count=10),
    )
