"""The handler of the page about Lambda answers every invocation, and never too late."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fakes import FakeProvider, envelope, finished, record
from fault_server import FaultServer
from pages import module_of
from virtual_time import VirtualTimeLoop

from vocalsep_async.emulator import Emulator

PAGE = "docs/how-to/lambda.md"
QUARTER = 900.0
"""Seconds between two invocations, for which no peer keeps a connection."""
SONG = {"audio_url": "https://example.com/song.mp3"}


class Context:
    """What Lambda passes to a handler, by the clock of the event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None

    def get_remaining_time_in_millis(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        return (self._began + self._seconds - now) * 1000


class Invocations:
    """Invocations in virtual time, each in a loop of its own, as `asyncio.run` makes it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.took = 0.0

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        loop = VirtualTimeLoop()
        loop.jump(self.now - loop.time())
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                return runner.run(main)
            finally:
                self.took = loop.time() - self.now
                self.now = loop.time()


def module_with(run: Callable[[Coroutine[Any, Any, Any]], Any]) -> ModuleType:
    """The page's module, with *run* in place of `asyncio.run`."""
    module = module_of(PAGE, "handler.py")
    vars(module)["asyncio"] = SimpleNamespace(run=run)
    return module


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", "a-key")


@pytest.fixture
def invocations() -> Invocations:
    return Invocations()


@pytest.fixture
def function(provider: FakeProvider, invocations: Invocations) -> ModuleType:
    """The page's module in front of a provider in virtual time."""
    return module_with(invocations.run)


def test_an_invocation_whose_time_ends_hands_the_id_to_the_next_one(
    function: ModuleType, invocations: Invocations, provider: FakeProvider
) -> None:
    provider.every_answer = record
    answer = function.handler({"task_id": "task-1"}, Context(3.0))
    assert answer == {"task_id": "task-1", "status": "PENDING"}
    assert invocations.took <= 2.0
    provider.ends_all()
    invocations.now += QUARTER
    answer = function.handler(answer, Context(60.0))
    assert answer["status"] == "SUCCESS"
    assert answer["stems"].keys() == {"vocal", "instrumental"}


def test_an_invocation_ends_in_time_where_no_answer_comes(
    function: ModuleType, invocations: Invocations, provider: FakeProvider
) -> None:
    provider.round_trip = 1000.0
    answer = function.handler({"task_id": "task-1"}, Context(3.0))
    assert answer == {"task_id": "task-1", "status": "PENDING"}
    assert invocations.took <= 2.0


def test_an_invocation_ends_in_time_where_the_client_is_paused(
    function: ModuleType, invocations: Invocations, provider: FakeProvider
) -> None:
    provider.every_answer = lambda _: envelope(430, "too many requests", Retry_After="200")
    for _ in range(2):
        answer = function.handler({"task_id": "task-1"}, Context(3.0))
        assert answer == {"task_id": "task-1", "status": "PENDING"}
        assert invocations.took <= 2.0
    assert len(provider.polls) == 1


def test_an_invocation_with_less_than_its_margin_left_sends_nothing(
    function: ModuleType, invocations: Invocations, provider: FakeProvider
) -> None:
    answer = function.handler({"task_id": "task-1"}, Context(0.5))
    assert answer == {"task_id": "task-1", "status": "PENDING"}
    assert not provider.sent


class LastMoment:
    """The time that is left runs out while the handler looks at it."""

    def __init__(self) -> None:
        self._left = [1001.0, 999.0]

    def get_remaining_time_in_millis(self) -> float:
        return self._left.pop(0)


def test_an_invocation_looks_once_at_the_time_that_its_wait_has(
    function: ModuleType, invocations: Invocations, provider: FakeProvider
) -> None:
    provider.every_answer = record
    answer = function.handler({"task_id": "task-1"}, LastMoment())
    assert answer == {"task_id": "task-1", "status": "PENDING"}


def test_an_invocation_begins_no_creation_that_its_end_could_cut(
    function: ModuleType, invocations: Invocations, provider: FakeProvider
) -> None:
    with pytest.raises(RuntimeError, match="nothing was paid"):
        function.handler(SONG, Context(30.0))
    assert not provider.sent


def test_an_invocation_creates_a_task_and_waits_for_it(
    function: ModuleType, invocations: Invocations, provider: FakeProvider
) -> None:
    provider.every_answer = lambda path: (
        finished(path) if path == "task-1" else envelope(200, data={"taskId": "task-1"})
    )
    answer = function.handler(SONG, Context(60.0))
    assert answer["task_id"] == "task-1"
    assert answer["status"] == "SUCCESS"
    assert len(provider.posted) == 1


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clocks of the process, as they are after it was frozen."""
    monotonic, wall, passed = time.monotonic, time.time, 0.0

    def move(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed)
    monkeypatch.setattr(time, "time", lambda: wall() + passed)
    return move


def is_quiet(log: pytest.LogCaptureFixture) -> bool:
    """Whether the log shows no failure."""
    return not [each for each in log.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize("idle", [1.0, QUARTER])
def test_invocations_use_no_connection_that_the_peer_closed_meanwhile(
    idle: float,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "vocalsep_async")
    with FaultServer() as server:
        monkeypatch.setenv("VOCALSEP_BASE_URL", f"{server.url}/close_when_idle")
        function = module_of(PAGE, "handler.py")
        answers = []
        for number in range(3):
            answers.append(function.handler({"task_id": f"task-{number}"}, Context(60.0)))
            pass_time(idle)
        assert server.hits == 3
    assert [answer["status"] for answer in answers] == ["SUCCESS"] * 3
    assert is_quiet(caplog)
    asyncio.run(function.client.aclose())


def test_an_invocation_goes_on_a_quarter_of_an_hour_after_another_one_ran_out_of_time(
    vocalsep_emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "vocalsep_async")
    monkeypatch.setenv("VOCALSEP_BASE_URL", vocalsep_emulator.url)
    function = module_of(PAGE, "handler.py")
    task_id = vocalsep_emulator.add_task(duration=math.inf)
    answer = function.handler({"task_id": task_id}, Context(1.5))
    assert answer == {"task_id": task_id, "status": "PENDING"}
    pass_time(QUARTER)
    vocalsep_emulator.finish(task_id)
    assert function.handler(answer, Context(60.0))["status"] == "SUCCESS"
    assert is_quiet(caplog)
    asyncio.run(function.client.aclose())
