"""What processes learn together about durations, in a real store."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
import redis
from fakes import FakeProvider, make_client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_stores import Network
from shared_starts import close, make_limiter, must
from stores import StoreServer
from virtual_time import VIRTUAL_TIME

from vocalsep_async import SlotResult, _engine
from vocalsep_async._accounts import Accounts
from vocalsep_async._learned import SharedDurations
from vocalsep_async._scheduling.counts import DurationCounts
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.contrib._redis.learning import LEARNED, Learning
from vocalsep_async.contrib.redis import RedisLimiter
from vocalsep_async.models import SeparationType

pytestmark = pytest.mark.anyio

KEY = "{vocalsep:a}:durations-1"
VOCAL, SPLIT = SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Process:
    """What one process knows about durations, and its way to the store."""

    def __init__(self, client: redis.Redis, key: str = KEY, provider: str = "p") -> None:
        self.durations = SharedDurations()
        self.learning = Learning(self.durations, provider)
        self._run = client.register_script(LEARNED)
        self._key = key

    def observe(self, duration: float, type_: SeparationType | None = None) -> None:
        for kind in {type_, None}:
            self.add(kind, duration)

    def add(self, kind: SeparationType | None, duration: float) -> None:
        counts = DurationCounts()
        counts.observe_completion(0.0, duration)
        self.durations._add(kind, counts)

    def call(self, *, is_lost: bool = False) -> bool:
        """Whether the store held only counts."""
        raw = self._run(keys=[self._key], args=self.learning.next_call(0.0))
        return True if is_lost else self.learning.on_reply(raw)

    def counts(self, kind: SeparationType | None = None) -> DurationCounts:
        return self.durations._counts[kind]


def same(one: DurationCounts, other: DurationCounts) -> bool:
    return one.completions == other.completions and all(
        a == pytest.approx(b) for a, b in zip(_all(one), _all(other), strict=True)
    )


def _all(counts: DurationCounts) -> list[float]:
    return counts.completed + counts.exposure


@pytest.fixture
def client(store: StoreServer) -> Any:
    with redis.Redis.from_url(store.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def make(client: redis.Redis) -> Callable[..., Process]:
    def make(**options: Any) -> Process:
        return Process(client, **options)

    return make


# The counts

STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(
            st.tuples(st.floats(1.0, 3000.0), st.sampled_from(HazardTable.KINDS)), max_size=12
        ),
        st.booleans(),
    ),
    max_size=15,
)
"""Which process, what it observes, and whether the answer to its call gets lost."""
_numbers = itertools.count()


class History:
    """Four processes on a store, and one that observes what the store has been sent."""

    def __init__(self, client: redis.Redis) -> None:
        key = f"{{history}}{next(_numbers)}"
        self.processes = [Process(client, key) for _ in range(4)]
        self.alone = {kind: DurationCounts() for kind in HazardTable.KINDS}
        self._unsent: list[list[tuple[float, Any]]] = [[] for _ in self.processes]
        self._in_doubt = [False] * 4

    def observe(self, index: int, observed: list[tuple[float, Any]]) -> None:
        for duration, type_ in observed:
            self.processes[index].observe(duration, type_)
        self._unsent[index] += observed

    def call(self, index: int, *, is_lost: bool = False) -> None:
        # What is in doubt is sent as it was, and the store has it.
        if not self._in_doubt[index]:
            for duration, type_ in self._unsent[index]:
                for kind in {type_, None}:
                    self.alone[kind].observe_completion(0.0, duration)
            self._unsent[index] = []
        self.processes[index].call(is_lost=is_lost)
        self._in_doubt[index] = is_lost


@given(STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_processes_count_together_what_one_would_whatever_answers_get_lost(
    client: redis.Redis, steps: list[tuple[int, list[tuple[float, Any]], bool]]
) -> None:
    history = History(client)
    for index, observed, is_lost in steps:
        history.observe(index, observed)
        history.call(index, is_lost=is_lost)
    # What is in doubt, then what came after it, then what the others had.
    for index in [*range(4)] * 3:
        history.call(index)
    for process, kind in itertools.product(history.processes, HazardTable.KINDS):
        assert same(process.counts(kind), history.alone[kind])


def test_running_times_count_beside_the_completions(make: Callable[..., Process]) -> None:
    one, other = make(), make()
    for each in (one, other):
        each.call()
        counts = DurationCounts()
        counts.observe_running(0.0, 30.0)
        each.durations._add(None, counts)
        each.call()
    assert sum(other.counts().exposure) == pytest.approx(60.0)
    assert other.counts().completions == 0


def test_a_process_that_joins_knows_what_the_others_have_learned(
    make: Callable[..., Process],
) -> None:
    one, other = make(), make()
    one.observe(50.0, VOCAL)
    one.call()
    other.call()
    assert same(other.counts(VOCAL), one.counts(VOCAL))
    assert other.counts(SPLIT).is_empty


def test_an_empty_store_gets_what_a_process_knew_before_and_once(
    client: redis.Redis, make: Callable[..., Process]
) -> None:
    first, second = make(), make()
    for each in (first, second):
        each.durations._counts[None].completions = 200
        each.call()
    assert second.counts().completions == 200
    # After the store was emptied, one of them brings it back; what was not sent is added.
    first.observe(50.0)
    client.delete(KEY)
    second.call()
    first.call()
    second.call()
    assert first.counts().completions == second.counts().completions == 201


def test_a_batch_that_was_in_doubt_when_the_store_was_emptied_counts_once(
    client: redis.Redis, make: Callable[..., Process]
) -> None:
    process = make()
    process.observe(50.0)
    process.call(is_lost=True)
    process.observe(60.0)
    client.delete(KEY)
    process.call()
    assert process.counts().completions == 2
    process.call()
    assert process.counts().completions == 2


def test_providers_do_not_mix(make: Callable[..., Process]) -> None:
    one, other = make(provider="one"), make(provider="other")
    one.observe(50.0, VOCAL)
    one.call()
    other.observe(500.0, VOCAL)
    other.call()
    one.call()
    assert one.counts(VOCAL).completions == other.counts(VOCAL).completions == 1
    assert not same(one.counts(VOCAL), other.counts(VOCAL))


@pytest.mark.parametrize(
    "value",
    [
        "no JSON",
        "[]",
        "1",
        "null",
        "{}",
        '{"completions": 1, "done": [1], "running": [1]}',
        json.dumps(DurationCounts().to_dict() | {"completions": -1}),
        json.dumps(DurationCounts().to_dict() | {"completions": 1.5}),
        json.dumps(DurationCounts().to_dict() | {"completions": True}),
        json.dumps(DurationCounts().to_dict() | {"done": [1e13] * 46}),
        json.dumps(DurationCounts().to_dict() | {"running": [float("nan")] * 46}),
        json.dumps(DurationCounts().to_dict() | {"running": ["1"] * 46}),
    ],
)
def test_a_damaged_value_is_replaced_by_what_the_process_knows(
    value: str, client: redis.Redis, make: Callable[..., Process]
) -> None:
    one, other = make(), make()
    one.observe(50.0)
    assert one.call()
    client.hset(KEY, "p/unknown", value)
    assert not one.call()
    assert one.call()
    assert other.call()
    assert one.counts().completions == other.counts().completions == 1


@pytest.mark.parametrize("version", ["", "no number", "-1", "1e300", "nan"])
def test_a_damaged_version_begins_anew(
    version: str, client: redis.Redis, make: Callable[..., Process]
) -> None:
    process = make()
    process.call()
    client.hset(KEY, "version", version)
    process.observe(50.0)
    process.call()
    assert process.counts().completions == 1
    assert client.hget(KEY, "version") == str(process.learning.store_version)


def test_the_store_remembers_a_bounded_number_of_processes(
    client: redis.Redis, make: Callable[..., Process]
) -> None:
    for _ in range(500):
        process = make()
        process.observe(50.0)
        process.call()
        assert client.hlen(KEY) <= 401
    assert process.counts().completions == 500
    # The latest are known: a batch of theirs counts once.
    process.observe(50.0)
    process.call(is_lost=True)
    process.call()
    assert process.counts().completions == 501


def test_the_store_holds_counts_by_provider_and_type_and_random_names(
    client: redis.Redis, make: Callable[..., Process]
) -> None:
    process = make()
    process.observe(50.0, VOCAL)
    process.call()
    held: dict[str, str] = client.hgetall(KEY)  # type: ignore[assignment]
    name = next(each for each in held if each.startswith("by "))
    assert set(held) == {"version", "p/unknown", "p/separate_vocal", name}
    assert len(name) == 3 + 16
    assert held[name].split() == ["1", held["version"]]
    assert set(json.loads(held["p/unknown"])) == {"completions", "done", "running"}
    assert 29 * 86400 < client.ttl(KEY) <= 30 * 86400


def test_a_forked_process_leaves_the_batch_in_doubt_to_its_parent(
    make: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make()
    process.observe(50.0)
    before = process.learning.next_call(0.0)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    after = process.learning.next_call(0.0)
    assert after[0] != before[0]
    assert json.loads(str(after[3]))[-1]["completions"] == 0


# Limiters


def sharing() -> tuple[RedisLimiter, SharedDurations]:
    limiter, durations = make_limiter(), SharedDurations()
    limiter._share_durations(durations, "p")
    return limiter, durations


def observe(durations: SharedDurations, *seconds: float) -> None:
    for each in seconds:
        counts = DurationCounts()
        counts.observe_completion(0.0, each)
        durations._add(None, counts)


async def send(*limiters: RedisLimiter) -> None:
    for limiter in limiters:
        (await limiter.acquire(must)).release(SlotResult.ANSWERED)


async def test_a_process_knows_within_two_beats_what_another_has_learned(
    network: Network,
) -> None:
    (one, first), (other, second) = sharing(), sharing()
    await send(one, other)
    await asyncio.sleep(10)
    calls = network.learned
    observe(first, 50.0, 60.0)
    await asyncio.sleep(7)
    assert second.completions == 2
    assert network.learned == calls + 2
    # One command a beat, and none without news.
    await asyncio.sleep(60)
    assert network.learned == calls + 2
    await close(one, other)


async def test_a_process_that_sends_all_the_time_calls_once_a_beat_at_most(
    network: Network,
) -> None:
    limiter, durations = sharing()
    await send(limiter)
    before = network.learned
    for _ in range(60):
        observe(durations, 50.0)
        await send(limiter)
        await asyncio.sleep(0.5)
    assert 5 <= network.learned - before <= 12
    await close(limiter)


async def test_a_client_knows_what_those_of_other_processes_have_seen(
    network: Network, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.add("a", 70)
    provider.add("pending", 1000)
    # Another process does not share the accounts of this one.
    async with make_client(limiter=make_limiter()) as one:
        await one.wait_for_task("a")
        monkeypatch.setattr(_engine, "ACCOUNTS", Accounts())
        async with make_client(limiter=make_limiter()) as other:
            await other.get_task("pending")
            await asyncio.sleep(7)
            assert other.durations.view().completions == 1


async def test_what_was_learned_is_sent_when_a_client_closes(network: Network) -> None:
    one, first = sharing()
    await send(one)
    observe(first, 50.0)
    await close(one)
    other, second = sharing()
    await send(other)
    await asyncio.sleep(0.1)
    assert second.completions == 1
    await close(other)


async def test_the_loss_of_the_store_changes_nothing(network: Network) -> None:
    (one, first), (other, second) = sharing(), sharing()
    await send(one, other)
    await asyncio.sleep(1)
    observe(first, 50.0)
    network.lose_learned = 2
    await asyncio.sleep(4)
    network.is_up = False
    observe(first, 60.0)
    await asyncio.sleep(30)
    assert first.completions == 2
    network.is_up = True
    await asyncio.sleep(15)
    assert first.completions == second.completions == 2
    network.is_up = False
    observe(first, 70.0)
    await asyncio.sleep(5)
    await close(one)
    network.is_up = True
    # The limiter serves another event loop, or client.
    one._share_durations(first, "p")
    await send(one)
    await asyncio.sleep(10)
    assert second.completions == 3
    await close(one, other)


async def test_an_emptied_store_gets_everything_back_once(network: Network) -> None:
    (one, first), (other, second) = sharing(), sharing()
    await send(one, other)
    observe(first, *[50.0] * 30)
    await asyncio.sleep(10)
    network.empty()
    await asyncio.sleep(10)
    third, durations = sharing()
    await send(third)
    await asyncio.sleep(10)
    assert first.completions == second.completions == durations.completions == 30
    await close(one, other, third)


async def test_a_damaged_value_is_told_once_and_no_error_of_a_request(
    network: Network, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    limiter, durations = sharing()
    await send(limiter)
    for _ in range(3):
        await asyncio.sleep(5)
        client.hset(KEY, "p/unknown", "no JSON")
        observe(durations, 50.0)
        await send(limiter)
    await asyncio.sleep(5)
    assert durations.completions == 3
    assert caplog.text.count("something else than counts") == 1
    await close(limiter)


@pytest.mark.parametrize("is_there_first", [True, False])
async def test_a_foreign_value_is_left_alone_and_told_once(
    *,
    is_there_first: bool,
    network: Network,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiter, durations = sharing()
    if not is_there_first:
        await send(limiter)
        await asyncio.sleep(5)
        client.delete(KEY)
    client.set(KEY, "of somebody else")
    for _ in range(3):
        observe(durations, 50.0)
        await send(limiter)
        await asyncio.sleep(5)
    assert client.get(KEY) == "of somebody else"
    assert durations.completions == 3
    assert limiter.snapshot().mode == "shared"
    assert caplog.text.count("This process learns alone") == 1
    await close(limiter)
    gc.collect()
