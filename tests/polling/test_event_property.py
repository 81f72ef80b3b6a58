"""Events are well-formed whatever users and the provider do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from batch.test_batch_machine import ENDS_ALL, FAULTS
from batch.tracking import NEVER, tracked
from fakes import Answer, FakeProvider, make_client, provider_in_place
from hypothesis import given
from hypothesis import strategies as st
from listening import Recorder, check
from posted_records import success
from virtual_time import VirtualTimeLoop

from vocalsep_async import Adaptive, Interval, PollPolicy, SeparationTask, TaskRef, VocalSepClient
from vocalsep_async.instrumentation import TaskFinished

IDS = st.sampled_from(["a", "b", "c"])
TIMEOUTS = st.sampled_from([None, 0, 2.0, 30.0, 1000.0])
SECONDS = st.sampled_from([0.0, 0.01, 0.06, 0.5, 3.0, 17.0, 60.0])
ANSWERS: dict[str, list[Answer]] = {
    **FAULTS,
    **{name: [answer] for name, answer in ENDS_ALL.items()},
}


class World:
    """One client and what users began with it."""

    def __init__(self, provider: FakeProvider, client: VocalSepClient) -> None:
        self.provider = provider
        self.client = client
        self.calls: list[asyncio.Task[Any]] = []

    def begin(self, call: Coroutine[Any, Any, object]) -> None:
        self.calls.append(asyncio.create_task(call))

    def cancel(self, number: int) -> None:
        if self.calls:
            self.calls[number % len(self.calls)].cancel()


Action = Callable[[World], object]


def ref(task_id: str, *, expects: bool) -> TaskRef:
    """A ref as `create_task` returns it."""
    return TaskRef(task_id, created_at=datetime.now(UTC), expects_callback=expects)


def waits(task_id: str, timeout: float | None, seconds: float | None, *, expects: bool) -> Action:
    async def slow(_task: SeparationTask) -> None:
        await anyio.sleep(seconds or 0)

    on_update = None if seconds is None else slow
    return lambda world: world.begin(
        world.client.wait_for_task(
            ref(task_id, expects=expects), timeout=timeout, on_update=on_update
        )
    )


def tracks(task_ids: list[str], timeout: float | None, *, expects: bool) -> Action:
    refs = [ref(each, expects=True) if expects else each for each in task_ids]
    return lambda world: world.begin(tracked(world.client, refs, timeout=timeout))


def gets(task_id: str) -> Action:
    return lambda world: world.begin(world.client.get_task(task_id))


def polls_once(task_id: str) -> Action:
    return lambda world: world.begin(world.client.poll_once(task_id))


def notifies(task_id: str, *, has_record: bool) -> Action:
    record = success(task_id) if has_record else None
    return lambda world: world.client.notify(task_id, record=record)


def answers(task_id: str, name: str) -> Action:
    scripted = ANSWERS[name]
    return lambda world: world.provider.script(task_id, *scripted)


def cancels(number: int) -> Action:
    return lambda world: world.cancel(number)


def passes(seconds: float) -> Action:
    return lambda _world: seconds


ACTIONS = st.one_of(
    st.builds(waits, IDS, TIMEOUTS, st.none() | SECONDS, expects=st.booleans()),
    st.builds(tracks, st.lists(IDS, max_size=3), TIMEOUTS, expects=st.booleans()),
    st.builds(gets, IDS),
    st.builds(polls_once, IDS),
    st.builds(notifies, IDS, has_record=st.booleans()),
    st.builds(answers, IDS, st.sampled_from(sorted(ANSWERS))),
    st.builds(cancels, st.integers(0, 5)),
    st.builds(passes, SECONDS),
    st.builds(passes, SECONDS),
)


async def act(
    provider: FakeProvider,
    actions: list[Action],
    durations: list[float],
    rest: float,
    poll: PollPolicy,
) -> Recorder:
    """What a client emits while *actions* happen and *rest* seconds later, when it is closed."""
    for task_id, duration in zip("abc", durations, strict=True):
        provider.add(task_id, duration)
    events = Recorder()
    world = World(provider, make_client(on_event=events, poll=poll))
    for action in actions:
        seconds = action(world)
        # None for an action that takes no time: the next one comes in the same iteration.
        if isinstance(seconds, float):
            await anyio.sleep(seconds)
    await anyio.sleep(rest)
    await world.client.aclose()
    await asyncio.gather(*world.calls, return_exceptions=True)
    return events


# The fake provider answers after the client was closed, when its limiter is closed, too.
@pytest.mark.own_limiter
@given(
    actions=st.lists(ACTIONS, min_size=8, max_size=25),
    durations=st.lists(st.sampled_from([0.0, 5.0, 30.0, NEVER]), min_size=3, max_size=3),
    round_trip=st.sampled_from([0.0, 0.1, 4.0]),
    rest=SECONDS,
    poll=st.sampled_from([Interval(5), Adaptive()]),
)
def test_events_are_well_formed_whatever_happens(
    actions: list[Action],
    durations: list[float],
    round_trip: float,
    rest: float,
    poll: PollPolicy,
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        provider_in_place(patch) as provider,
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
    ):
        provider.round_trip = round_trip
        events = runner.run(act(provider, actions, durations, rest, poll))
    check(events)
    finished = [event.task_id for event in events.of(TaskFinished)]
    assert len(finished) == len(set(finished))
