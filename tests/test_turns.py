"""Whose turn it is to ask the limiter, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async._turns import Overload, Turns

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Line:
    """Requests that wait for a turn, and the order in which they got it."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.turns.is_taken = True
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def queue(self, *names: str) -> None:
        """Let requests queue; those named "p" are polls of the poll loop, "s" songs to create."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._take(name))
            await checkpoint()

    async def _take(self, name: str) -> None:
        if name.startswith("p"):
            await self.turns.wait_as_polls()
        elif name.startswith("s"):
            await self.turns.wait_as_creation()
        else:
            await self.turns.wait_as_call()
        self.served.append(name)

    async def hand_over(self, times: int) -> list[str]:
        """End *times* turns, and return which requests got the next ones."""
        before = len(self.served)
        for _ in range(times):
            self.turns.release()
            await checkpoint()
        return self.served[before:]

    def give_up(self, calls: int) -> None:
        """Have so many calls been given up."""
        for _ in range(calls):
            self.turns.overload.on_given_up(anyio.current_time())


def names(first: int, last: int) -> list[str]:
    return [f"c{number}" for number in range(first, last + 1)]


async def test_turns_go_first_come_first_served() -> None:
    line = Line()
    await line.queue(*names(1, 40))
    assert await line.hand_over(40) == names(1, 40)
    assert line.turns.waiting == 0


async def test_a_turn_that_no_request_waits_for_becomes_free() -> None:
    line = Line()
    await line.queue("c1")
    await line.hand_over(1)
    assert line.turns.is_taken
    await line.hand_over(1)
    assert not line.turns.is_taken


async def test_polls_and_calls_alternate_while_both_wait() -> None:
    line = Line()
    await line.queue("c1", "c2", "c3", "p1", "p2", "p3", "p4", "p5")
    assert await line.hand_over(8) == ["c1", "p1", "c2", "p2", "c3", "p3", "p4", "p5"]


async def test_creations_of_songs_come_first_but_for_each_eighth_turn() -> None:
    line = Line()
    songs = [f"s{number}" for number in range(1, 17)]
    await line.queue("c1", "p1", "c2", *songs)
    served = await line.hand_over(19)
    assert served == [*songs[:7], "c1", *songs[7:14], "p1", *songs[14:], "c2"]


async def test_creations_of_songs_get_every_turn_that_no_other_request_wants() -> None:
    line = Line()
    songs = [f"s{number}" for number in range(1, 21)]
    await line.queue(*songs)
    assert await line.hand_over(20) == songs
    assert line.turns.waiting == 0


async def test_polls_and_calls_alternate_in_overload_too() -> None:
    line = Line()
    line.give_up(2)
    await line.queue("c1", "c2", "c3", "p1", "p2")
    assert await line.hand_over(5) == ["c3", "p1", "c2", "p2", "c1"]


async def test_in_overload_the_newest_call_comes_first_and_at_each_eighth_turn_the_oldest() -> None:
    line = Line()
    line.give_up(2)
    await line.queue(*names(1, 20))
    newest = [f"c{number}" for number in range(20, 0, -1)]
    assert await line.hand_over(9) == [*newest[:7], "c1", newest[7]]


async def test_a_call_that_waits_through_an_overload_is_served_all_the_same() -> None:
    line = Line()
    line.give_up(2)
    await line.queue("c patient")
    for turn in range(8):
        await line.queue(f"c{turn}", f"c{turn} too")
        line.give_up(1)
        await line.hand_over(1)
    assert line.served[-1] == "c patient"


async def test_a_single_call_that_was_given_up_changes_no_order() -> None:
    line = Line()
    line.give_up(1)
    await line.queue(*names(1, 5))
    assert await line.hand_over(5) == names(1, 5)


async def test_an_overload_lasts_until_32_calls_in_a_row_got_their_turn() -> None:
    line = Line()
    line.give_up(2)
    await line.queue(*names(1, 40))
    served = await line.hand_over(40)
    # Of the first 32 turns, four went to the oldest calls and the others to the newest ones.
    assert served[30:32] == ["c13", "c4"]
    assert served[32:] == names(5, 12)


async def test_an_overload_is_forgotten_after_a_minute() -> None:
    line = Line()
    line.give_up(2)
    await anyio.sleep(61)
    await line.queue(*names(1, 3))
    assert await line.hand_over(3) == names(1, 3)


async def test_a_request_that_is_cancelled_gets_no_turn() -> None:
    line = Line()
    await line.queue(*names(1, 3), "p1")
    line.tasks["c1"].cancel()
    line.tasks["p1"].cancel()
    # Their tasks have not run yet.
    assert await line.hand_over(1) == ["c2"]
    assert line.turns.waiting == 1
    assert await line.hand_over(2) == ["c3"]
    assert not line.turns.is_taken


async def test_a_request_that_is_cancelled_when_it_gets_its_turn_hands_it_on() -> None:
    line = Line()
    await line.queue("c1", "c2")
    line.turns.release()
    line.tasks["c1"].cancel()
    await checkpoint()
    await checkpoint()
    assert line.served == ["c2"]


async def test_an_abandoned_request_leaves_the_queue() -> None:
    turns = Turns()
    waits = turns.wait_as_call()
    waits.send(None)
    assert turns.waiting == 1
    waits.close()
    assert turns.waiting == 0


class Users:
    """Requests that take a turn, keep it for one iteration of the event loop, and hand it on."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.served = 0
        self.tasks: list[asyncio.Task[None]] = []
        self._has_turn = False

    async def _use(self, waits: Callable[[], Awaitable[None]]) -> None:
        if self.turns.is_taken:
            await waits()
        self.turns.is_taken = True
        assert not self._has_turn
        self._has_turn = True
        try:
            await asyncio.sleep(0)
        finally:
            self._has_turn = False
            self.turns.release()
        self.served += 1

    async def step(self, name: str, which: int) -> None:
        match name:
            case "call":
                self.tasks.append(asyncio.create_task(self._use(self.turns.wait_as_call)))
            case "polls":
                self.tasks.append(asyncio.create_task(self._use(self.turns.wait_as_polls)))
            case "cancel":
                for task in self.tasks[which : which + 1]:
                    task.cancel()
            case "give up":
                self.turns.overload.on_given_up(asyncio.get_running_loop().time())
            case _:
                await asyncio.sleep(0)


steps = st.tuples(
    st.sampled_from(["call", "call", "polls", "cancel", "cancel", "give up", "run"]),
    st.integers(0, 20),
)


@given(st.lists(steps, max_size=60))
def test_each_request_gets_one_turn_unless_it_is_cancelled(chosen: list[tuple[str, int]]) -> None:
    async def play() -> None:
        users = Users()
        for name, which in chosen:
            await users.step(name, which)
        await asyncio.gather(*users.tasks, return_exceptions=True)
        cancelled = sum(task.cancelled() for task in users.tasks)
        assert users.served + cancelled == len(users.tasks)
        assert users.turns.waiting == 0
        assert not users.turns.is_taken

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play())


def test_overload_needs_two_calls_of_the_last_32_that_were_given_up() -> None:
    overload = Overload()
    overload.on_given_up(0.0)
    for _ in range(31):
        overload.on_turn()
    assert not overload.lasts(1.0)
    overload.on_given_up(1.0)
    assert not overload.lasts(1.0)  # the first one was too long ago
    overload.on_given_up(1.0)
    assert overload.lasts(1.0)
