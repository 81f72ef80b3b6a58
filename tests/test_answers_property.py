"""Whatever answers come in whatever order, waits and batches end only on what was seen."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fakes import Answer, FakeProvider, envelope, finished, make_client, provider_in_place, record
from foreign import FOREIGN, MEANINGLESS, PASSING
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import VirtualTimeLoop

from vocalsep_async import (
    AuthenticationError,
    InsufficientCreditsError,
    Interval,
    InvalidParametersError,
    NotFoundError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
    VocalSepError,
)
from vocalsep_async._transport.api import Reply

IDS = ["a", "b", "c"]
ATTEMPTS, UNREADABLE, MOST_DOUBTS = 4, 5, 12


def _throttled(code: int, retry_after: str) -> Reply:
    return envelope(code, "too often", Retry_After=retry_after)


RECORDS: dict[str, Callable[[str], Answer]] = {
    "pending": record,
    "without a status": lambda task_id: envelope(200, data={"taskId": task_id}),
}
FINAL: dict[str, Callable[[str], Answer]] = {
    "success": finished,
    "failure": lambda task_id: record(task_id, "GENERATE_AUDIO_FAILED", errorMessage="no"),
}
OWN: dict[str, Answer] = {
    "failed": envelope(500, "broken"),
    "closed": envelope(455, "maintenance"),
    "unknown": envelope(200),
    "not found": envelope(404, "Task not found"),
    "unreadable": envelope(200, data="strange"),
    "another's": finished("another"),
    "throttled": envelope(430, "too often"),
}
THROTTLED: dict[str, Answer] = {
    f"throttled until {until!r}": _throttled(405, until)
    for until in ("0", "7", "2.5", "-3", "9999999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT")
}
LAST: dict[str, tuple[Answer, type[VocalSepError]]] = {
    "wrong": (envelope(400, "no"), InvalidParametersError),
    "wrong address": (envelope(404, "no"), NotFoundError),
}
REFUSED: dict[str, tuple[Answer, type[VocalSepError]]] = {
    "wrong key": (envelope(401, "no"), AuthenticationError),
    "no credits": (envelope(429, "no"), InsufficientCreditsError),
}
ERRORS: dict[str, Answer] = {
    **FOREIGN,
    **PASSING,
    **MEANINGLESS,
    **OWN,
    **THROTTLED,
    **{name: answer for name, (answer, _) in (LAST | REFUSED).items()},
}
NAMES = st.one_of(
    st.sampled_from(sorted(RECORDS)),
    st.sampled_from(sorted(FOREIGN)),
    st.sampled_from(sorted(PASSING | MEANINGLESS | OWN | THROTTLED)),
    st.sampled_from([*FINAL, *LAST, *REFUSED]),
)
# Runs of one answer, because most rules count what comes in a row.
SCRIPTS = st.lists(st.tuples(NAMES, st.sampled_from([1, 1, 2, 5, 13])), max_size=8).map(
    lambda runs: [name for name, times in runs for _ in range(times)]
)


class World:
    """A provider with scripts, and the names of the answers that arrived."""

    def __init__(self, provider: FakeProvider, scripts: dict[str, list[str]]) -> None:
        self.provider = provider
        self.received: dict[str, list[str]] = {task_id: [] for task_id in scripts}
        self.all: list[str] = []
        self.last: dict[str, int] = {}
        """The place in *all* of the last answer about each task."""
        provider.limit = (20, 10.0)
        for task_id, names in scripts.items():
            provider.script(task_id, *(self.arriving(task_id, name) for name in names))
        provider.every_answer = lambda task_id: self.arriving(task_id, "success")

    def arriving(self, task_id: str, name: str) -> Callable[[], Reply]:
        made = {**RECORDS, **FINAL}.get(name)
        answer = ERRORS[name] if made is None else made(task_id)

        def arrive() -> Reply:
            self.received[task_id].append(name)
            self.last[task_id] = len(self.all)
            self.all.append(name)
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Reply)
            return answer

        return arrive

    def check(self, task_id: str, error: BaseException | None, timeout: float | None) -> None:
        """Whether a wait ended as it had to; *error* is None where a final record came out."""
        names = self.received[task_id]
        finals = [name for name in names if name in FINAL]
        # A final record that arrived comes out, and nothing is asked after it.
        assert bool(finals) == (error is None or isinstance(error, TaskFailedError))
        if finals:
            assert names[-1:] == finals
            assert isinstance(error, TaskFailedError) == (finals == ["failure"])
        elif isinstance(error, TaskTimeoutError):
            assert timeout is not None
            assert not names or (error.last_error is None) == (names[-1] in RECORDS) or self.pauses
        else:
            assert isinstance(error, VocalSepError)
            assert self.is_justified(task_id, error)
        assert self.provider.throttled == 0

    @property
    def pauses(self) -> bool:
        """Whether another task's poll may have begun a pause, which is a cause too."""
        return len(self.received) > 1

    def is_justified(self, task_id: str, error: VocalSepError) -> bool:
        """Whether what arrived is reason enough to give up before any deadline."""
        names = self.received[task_id]
        before = self.all[: self.last.get(task_id, len(self.all)) + 1]
        refusals = [place for place, name in enumerate(self.all) if name in REFUSED]
        if refusals and type(error) in {kind for _, kind in REFUSED.values()}:
            had_succeeded = bool(set(self.all[: refusals[-1]]) & {*RECORDS, *FINAL})
            return not had_succeeded or len(refusals) > 1
        if not _holds_the_api(before):
            return sum(name in FOREIGN for name in before) >= ATTEMPTS
        last = names[-1]
        if last in LAST:
            return type(error) is LAST[last][1]
        if isinstance(error, TaskNotFoundError):
            return set(names[-ATTEMPTS:]) <= {"unknown", "not found"} and len(names) >= ATTEMPTS
        unclear = {*MEANINGLESS, "unreadable", "another's"}
        return set(names[-UNREADABLE:]) <= unclear and len(names) >= UNREADABLE

    @property
    def is_heard(self) -> bool:
        """Whether any answer of the API arrived."""
        return _holds_the_api(self.all)


def _holds_the_api(names: list[str]) -> bool:
    return any(name not in FOREIGN and name not in PASSING for name in names)


def in_virtual_time(scripts: dict[str, list[str]], act: Callable[[World], Any]) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        provider_in_place(patch) as provider,
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
    ):
        runner.run(act(World(provider, scripts)))


TIMEOUTS = st.sampled_from([None, 5.0, 60.0, 1000.0])


@settings(max_examples=settings().max_examples // 2)
@given(script=SCRIPTS, timeout=TIMEOUTS, gap=st.sampled_from([0.5, 5.0]))
def test_a_wait_ends_only_on_what_was_seen(
    script: list[str], timeout: float | None, gap: float
) -> None:
    async def act(world: World) -> None:
        began = anyio.current_time()
        error: BaseException | None = None
        async with make_client() as client:
            try:
                task = await client.wait_for_task("a", timeout=timeout, poll=Interval(gap))
                if not task.succeeded:
                    error = TaskFailedError("ended", task)
            except VocalSepError as raised:
                error = raised
            elapsed = anyio.current_time() - began
            await anyio.sleep(100)  # in which a poll after the end would arrive
        assert timeout is None or elapsed <= timeout + 0.001
        if isinstance(error, TaskTimeoutError):
            assert elapsed == pytest.approx(timeout)
        world.check("a", error, timeout)
        if not world.is_heard:
            assert sum(name in FOREIGN for name in world.all) <= ATTEMPTS

    in_virtual_time({"a": script}, act)


@settings(max_examples=settings().max_examples // 2)
@given(
    scripts=st.fixed_dictionaries(dict.fromkeys(IDS, SCRIPTS)),
    timeout=TIMEOUTS,
    gap=st.sampled_from([0.5, 5.0]),
)
def test_a_batch_ends_each_task_once_and_only_on_what_was_seen(
    scripts: dict[str, list[str]], timeout: float | None, gap: float
) -> None:
    async def act(world: World) -> None:
        outcomes = []
        async with (
            make_client() as client,
            client.track(IDS, timeout=timeout, poll=Interval(gap)) as batch,
        ):
            async for outcome in batch:
                assert timeout is None or outcome.elapsed <= timeout + 0.001
                outcomes.append(outcome)
            await anyio.sleep(100)
        assert Counter(outcome.task_id for outcome in outcomes) == Counter(IDS)
        for outcome in outcomes:
            has_failed = outcome.task is not None and not outcome.succeeded
            error = TaskFailedError("ended", outcome.task) if has_failed else outcome.error  # type: ignore[arg-type]
            world.check(outcome.task_id, error, timeout)
        if not world.is_heard:
            assert sum(name in FOREIGN for name in world.all) <= MOST_DOUBTS

    in_virtual_time(scripts, act)
