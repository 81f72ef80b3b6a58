"""A batch against a simple model, under random actions of users and of the provider.

The model knows which ids are open. Rules add, notify, let time pass, script what the provider
does to a task, and fetch; every outcome must be that of an open task, once. In the end all tasks
end at the provider, and those that are open must get an outcome; or the client was closed, or the
block left. Nothing may be left of either.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio
import pytest
from batch.tracking import NEVER, is_clean
from fakes import Answer, FakeProvider, envelope, make_client, provider_in_place, record
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from test_cancellation import tasks_left
from virtual_time import VirtualTimeLoop

from vocalsep_async import (
    ConfigurationError,
    Interval,
    RateLimit,
    TaskFailedError,
    TaskOutcome,
    TaskTimeoutError,
    TransportError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.batch import BatchRunner
from vocalsep_async.models import BatchStats

T = TypeVar("T")

FAULTS: dict[str, list[Answer]] = {
    "throttled": [envelope(430, "too often")],
    "throttled for long": [envelope(405, "too often", Retry_After="40")],
    "failed": [envelope(500, "broken")],
    "closed": [envelope(455, "maintenance")],
    "cut": [TransportError("cut")],
    "redirected": [TransportError("moved", may_have_arrived=True)],
    "undecodable": [envelope(200, data="strange")],
    "undecodable for long": [envelope(200, data="strange")] * 6,
    "not found": [envelope(404, "no")],
    "unusable": [envelope(422, "no")],
    "unknown": [envelope(200)],
    "unknown for long": [envelope(200)] * 6,
    "pending": [envelope(200, data=None), TransportError("cut")],
    "another's": [record("another", "SUCCESS")],
}
ENDS_ALL = {"rejected key": envelope(401, "no"), "no credits": envelope(429, "no")}
IDS = st.sampled_from([f"t{n}" for n in range(12)])
SECONDS = st.sampled_from([0.0, 0.01, 0.06, 0.5, 3.0, 17.0, 60.0, 400.0])
DURATIONS = st.sampled_from([0.0, 0.2, 5.0, 50.0, 300.0, NEVER])


class BatchMachine(RuleBasedStateMachine):
    """One client and one batch; a single wait or a second batch may subscribe to the same tasks."""

    waits = Bundle("waits")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.patch = pytest.MonkeyPatch()
        self.place = provider_in_place(self.patch)
        self.provider: FakeProvider = self.place.__enter__()
        self.taken: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.others: list[asyncio.Task[object]] = []
        self.is_left = self.is_ended = self.is_closed = False

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize(
        ids=st.lists(IDS, max_size=12),
        durations=st.lists(DURATIONS, min_size=12, max_size=12),
        timeout=st.sampled_from([None, 0, 2.0, 40.0, 100_000.0]),
        limit=st.sampled_from([(2, 10.0), (20, 10.0), None]),
        most=st.integers(1, 4),
        gap=st.sampled_from([1.0, 10.0, 100.0]),
        round_trip=st.sampled_from([0.1, 3.0, 30.0]),
        source=st.sampled_from(["list", "generator", "async generator"]),
        keep_open=st.booleans(),
    )
    def begin(  # noqa: PLR0917 - hypothesis passes them by name
        self,
        ids: list[str],
        durations: list[float],
        timeout: float | None,
        limit: tuple[int, float] | None,
        most: int,
        gap: float,
        round_trip: float,
        source: str,
        *,
        keep_open: bool,
    ) -> None:
        self.most, self.timeout = most, timeout
        self.provider.limit, self.provider.round_trip = limit, round_trip
        self.is_kept_open = keep_open

        async def enter() -> tuple[VocalSepClient, BatchRunner]:
            for number, duration in enumerate(durations):
                self.provider.add(f"t{number}", duration)
            client = make_client(rate_limit=None if limit is None else RateLimit(*limit))
            kinds: dict[str, Any] = {"list": list, "generator": iter, "async generator": _slowly}
            self.before = asyncio.all_tasks() - {asyncio.current_task()}
            batch = client.track(
                kinds[source](ids),
                max_concurrency=most,
                timeout=timeout,
                poll=Interval(gap),
                keep_open=keep_open,
            )
            await batch.__aenter__()
            if source != "list":
                await anyio.sleep(1)  # so that the model knows what was read
            return client, batch

        self.client, self.batch = self.run(enter())
        self.taken.update(set(ids))

    # What users do

    def open_ids(self) -> set[str]:
        return set((self.taken - self.ended).keys())

    @rule(task_id=IDS)
    def adds(self, task_id: str) -> None:
        async def add() -> bool:
            before = self.batch.stats
            self.batch.add(task_id)
            after = self.batch.stats
            return after.pending + after.finished > before.pending + before.finished

        if self.is_closed or self.is_left:
            with pytest.raises(ConfigurationError):
                self.run(add())
            return
        was_open = task_id in self.open_ids()  # or its outcome was not fetched yet
        is_new = self.run(add())
        assert is_new != was_open
        self.taken[task_id] += is_new

    @rule(task_id=IDS)
    def notifies(self, task_id: str) -> None:
        async def notify() -> bool:
            return self.batch.notify(task_id)

        is_tracked = self.run(notify())
        if is_tracked:
            assert task_id in self.open_ids()

    @rule()
    def closes(self) -> None:
        async def close() -> None:
            self.batch.close()

        self.run(close())
        self.is_closed = True

    @rule(seconds=SECONDS)
    def fetches_for(self, seconds: float) -> None:
        """Fetch what comes within some seconds."""

        async def fetch() -> bool:
            with anyio.move_on_after(seconds):
                async for outcome in self.batch:
                    self.check(outcome)
                return True
            return False

        if self.run(fetch()) and not self.is_left:
            # Iteration ended by itself: every task has an outcome.
            assert self.open_ids() == set()
            assert self.is_closed or not self.is_kept_open or self.is_ended

    @rule(seconds=SECONDS)
    def lets_time_pass(self, seconds: float) -> None:
        self.run(_pass(seconds))

    @rule(target=waits, task_id=IDS, timeout=st.sampled_from([None, 0, 5.0, 100.0]))
    def waits_for(self, task_id: str, timeout: float | None) -> Any:
        async def begin() -> asyncio.Task[object]:
            wait = asyncio.create_task(
                _quietly(self.client.wait_for_task(task_id, timeout=timeout))
            )
            await asyncio.sleep(0)
            return wait

        return self.run(begin())

    @rule(wait=consumes(waits))
    def gives_up_waiting(self, wait: asyncio.Task[object]) -> None:
        self.run(_cancelled(wait))

    @rule(target=waits, ids=st.lists(IDS, max_size=12), timeout=st.sampled_from([None, 0, 5.0]))
    def tracks_some_in_another_batch(self, ids: list[str], timeout: float | None) -> Any:
        async def track() -> None:
            async with self.client.track(ids, timeout=timeout) as batch:
                async for _ in batch:
                    pass

        return self.run(self._other(track()))

    async def _other(self, call: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Another task, which runs meanwhile."""
        self.others.append(asyncio.create_task(_quietly(call)))
        await asyncio.sleep(0)
        return self.others[-1]

    # What the provider does

    @rule(task_id=IDS, fault=st.sampled_from(sorted(FAULTS)))
    def meets_a_fault(self, task_id: str, fault: str) -> None:
        self.provider.script(task_id, *FAULTS[fault])

    @rule(task_id=IDS, status=st.sampled_from(["SUCCESS", "CREATE_TASK_FAILED"]))
    def ends(self, task_id: str, status: str) -> None:
        self.provider.script(task_id, record(task_id, status))

    @precondition(lambda self: not self.is_ended)
    @rule(what=st.sampled_from(sorted(ENDS_ALL)), task_id=IDS)
    def loses_the_account(self, what: str, task_id: str) -> None:
        self.provider.script(task_id, ENDS_ALL[what])
        self.is_ended = True  # perhaps; from now on iteration may end though it is kept open

    # The end

    @precondition(lambda self: not self.is_left)
    @rule()
    def closes_the_client(self) -> None:
        self.is_ended = True
        self.run(self.client.aclose())

    @precondition(lambda self: not self.is_left)
    @rule()
    def leaves(self) -> None:
        self.run(self.batch.__aexit__(None, None, None))
        self.is_left = True
        self.is_closed = True

    # The model

    def check(self, outcome: TaskOutcome) -> None:
        assert self.ended[outcome.task_id] < self.taken[outcome.task_id], "not open"
        self.ended[outcome.task_id] += 1
        assert (outcome.task is None) != (outcome.error is None)
        assert outcome.task is None or outcome.task.is_final
        if isinstance(outcome.error, TaskTimeoutError):
            assert self.timeout is not None
            assert self.timeout == 0 or outcome.elapsed >= self.timeout - 0.001
        try:
            assert outcome.result() is outcome.task
        except VocalSepError as error:
            assert isinstance(error, TaskFailedError) or outcome.error is not None  # noqa: PT017
        assert outcome.polls >= 0

    @invariant()
    def the_stats_add_up(self) -> None:
        if not hasattr(self, "batch") or self.is_left:
            return

        async def ask() -> tuple[BatchStats, int]:
            return self.batch.stats, self.client.stats.requests

        stats, requests = self.run(ask())
        assert stats.finished == stats.succeeded + stats.failed
        assert stats.pending + stats.finished == self.taken.total()
        assert stats.finished >= self.ended.total()
        assert stats.throttled + stats.retried <= stats.polls
        assert stats.polls <= requests * max(1, self.taken.total())

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert self.provider.limit is None or self.provider.throttled == 0

    def teardown(self) -> None:
        try:
            if hasattr(self, "batch"):
                self.run(self._end())
        finally:
            self.runner.close()
            self.place.__exit__(None, None, None)

    async def _end(self) -> None:
        self.provider.ends_all()
        if not self.is_left:
            self.batch.close()
            with anyio.move_on_after(600):
                async for outcome in self.batch:
                    self.check(outcome)
            assert self.taken == self.ended, "a task without an outcome"
            await self.batch.__aexit__(None, None, None)
        if self.others:
            _, waiting = await asyncio.wait(self.others, timeout=20_000)
            assert not waiting, "others wait in vain"
        await self.client.aclose()
        here = asyncio.current_task()
        assert here is not None
        left = await tasks_left({*self.before, here})
        assert not left, "tasks are left"
        assert is_clean(self.client, {*self.before, here}), "something is kept"
        assert self.provider.in_flight == 0


class LoneBatchMachine(BatchMachine):
    """Its tasks have no other subscribers, so its limit is that of all requests."""

    waits_for = gives_up_waiting = tracks_some_in_another_batch = None  # type: ignore[assignment]

    @invariant()
    def max_concurrency_limits_the_requests(self) -> None:
        assert self.provider.most_in_flight <= getattr(self, "most", math.inf)


async def _slowly(ids: list[str]) -> Any:
    for task_id in ids:
        await anyio.sleep(0.01)
        yield task_id


async def _pass(seconds: float) -> None:
    await anyio.sleep(seconds)


async def _quietly(call: Coroutine[Any, Any, object]) -> object:
    try:
        return await call
    except VocalSepError as error:
        return error


async def _cancelled(wait: asyncio.Task[object]) -> None:
    wait.cancel()
    await asyncio.wait([wait])


pytestmark = pytest.mark.hypothesis

SETTINGS = settings(stateful_step_count=25)


def test_a_lone_batch_keeps_its_promises() -> None:
    run_state_machine_as_test(LoneBatchMachine, settings=SETTINGS)


def test_a_batch_keeps_its_promises_beside_others() -> None:
    run_state_machine_as_test(BatchMachine, settings=SETTINGS)
