"""`BatchRunner.stats`."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from attrs.exceptions import FrozenInstanceError
from batch.tracking import NEVER, add_all, numbered, outcomes_of
from fakes import FakeProvider, envelope, make_client, record

from vocalsep_async import (
    Interval,
    RateLimitedError,
    ServerError,
    TransportError,
    VocalSepError,
)
from vocalsep_async._batch.counters import BatchCounters
from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async.models import BatchStats

pytestmark = pytest.mark.anyio


async def test_stats_count_outcomes_whether_or_not_they_were_fetched(
    provider: FakeProvider,
) -> None:
    ids = ["good", "failed", "bad", *numbered(5)]
    provider.script("failed", record("failed", "GENERATE_AUDIO_FAILED"))
    provider.script("bad", envelope(400, "no"))
    add_all(provider, numbered(5), NEVER)
    async with make_client() as client, client.track(ids) as batch:
        stats = batch.stats
        assert stats == BatchStats(
            pending=8,
            finished=0,
            succeeded=0,
            failed=0,
            polls=0,
            throttled=0,
            retried=0,
            rate=2.0,
            mean_delay=None,
            eta=math.inf,
            last_error=None,
        )
        await anyio.sleep(50)
        stats = batch.stats
    assert (stats.pending, stats.finished, stats.succeeded, stats.failed) == (5, 3, 1, 2)
    assert stats.polls == len(provider.polls)


async def test_stats_are_a_snapshot(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(["a"]) as batch:
        stats = batch.stats
        await outcomes_of(batch)
        assert stats.pending == 1
        with pytest.raises(FrozenInstanceError):
            stats.pending = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    "fault, throttled, retried",
    [
        (envelope(430, "too often"), 2, 0),
        (envelope(405, "too often"), 2, 0),
        (envelope(500, "broken"), 0, 2),
        (envelope(455, "maintenance"), 0, 2),
        (envelope(200, data="strange"), 0, 2),
        (TransportError("cut"), 0, 2),
    ],
)
async def test_stats_count_throttled_and_retried_polls_separately(
    provider: FakeProvider, fault: Any, throttled: int, retried: int
) -> None:
    provider.script("a", record("a"), fault, fault)
    async with make_client() as client, client.track(["a"], poll=Interval(5)) as batch:
        await outcomes_of(batch)
        stats = batch.stats
    assert (stats.polls, stats.throttled, stats.retried) == (4, throttled, retried)


@pytest.mark.parametrize("code, polls", [(400, 2), (404, 2), (401, 3), (429, 3)])
async def test_stats_count_the_poll_that_ended_a_task(
    provider: FakeProvider, code: int, polls: int
) -> None:
    # A refusal of the account is confirmed by a second one.
    provider.script("a", record("a"), *[envelope(code, "no")] * 2)
    async with make_client() as client, client.track(["a"]) as batch:
        outcomes = await outcomes_of(batch)
        assert not outcomes["a"].succeeded
        assert batch.stats.polls == outcomes["a"].polls == polls


async def test_an_error_of_a_policy_does_not_count_as_a_poll(provider: FakeProvider) -> None:
    class Broken:
        def delay(self, context: object) -> float:
            raise LookupError("no idea")

    provider.add("a", NEVER)
    async with make_client() as client, client.track(["a"], poll=Broken()) as batch:
        with pytest.raises(LookupError):
            await anext(batch)
        assert batch.stats.polls == client.stats.requests == 1


async def test_a_shared_poll_counts_for_each_batch(provider: FakeProvider) -> None:
    provider.add("a", 100)
    async with (
        make_client(poll=Interval(10)) as client,
        client.track(["a"]) as first,
        client.track(["a"]) as second,
    ):
        polls = [(await anext(batch)).polls for batch in (first, second)]
        assert polls == [first.stats.polls, second.stats.polls] == [11, 11]


async def test_stats_show_the_current_rate(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(430, "too often")] * 6)
    async with make_client() as client, client.track(["a"]) as batch:
        assert batch.stats.rate == 2.0
        await outcomes_of(batch)
        assert batch.stats.rate < 2.0


async def test_the_rate_is_infinite_while_no_limit_is_known(provider: FakeProvider) -> None:
    async with make_client(rate_limit=None) as client, client.track(["a"]) as batch:
        assert math.isinf(batch.stats.rate)


# Delay


async def test_the_mean_delay_counts_from_the_end_of_a_task(provider: FakeProvider) -> None:
    provider.is_dated = True
    add_all(provider, ["a", "b"], 30)
    async with (
        make_client(rate_limit=None) as client,
        client.track(["a", "b"], poll=Interval(20)) as batch,
    ):
        await outcomes_of(batch)
        # Polls at 0, 20 and 40 s, each answered 0.1 s later; dates have whole seconds.
        assert batch.stats.mean_delay == pytest.approx(10, abs=1.1)


async def test_the_mean_delay_leaves_out_a_task_that_had_ended_before_it_was_added(
    provider: FakeProvider,
) -> None:
    provider.is_dated = True
    provider.add("a", 30)
    async with (
        make_client() as client,
        client.track(keep_open=True, poll=Interval(20)) as batch,
        client.track(["a"], poll=Interval(500)),
    ):
        await anyio.sleep(100)
        batch.add("a")
        await anext(batch)
    assert batch.stats.mean_delay is None


async def test_the_mean_delay_is_none_without_known_times(provider: FakeProvider) -> None:
    add_all(provider, ["a"], 30)
    async with make_client() as client, client.track(["a"]) as batch:
        await outcomes_of(batch)
        assert batch.stats.mean_delay is None


async def test_the_mean_delay_covers_only_tasks_with_known_times() -> None:
    counters = BatchCounters()
    for seconds in (4.0, -1.0, 2.0):
        counters.on_detected(seconds)
    stats = counters.stats(pending=0, rate=2.0, newest=0.0, model=HazardModel())
    assert stats.mean_delay == 2.0


# The last error


async def test_the_last_error_is_that_of_the_last_poll_until_one_succeeds(
    provider: FakeProvider,
) -> None:
    cut = TransportError("cut")
    provider.script("a", record("a"), cut, envelope(500, "broken"), record("a"), record("a"))
    seen: list[VocalSepError | None] = []
    async with make_client() as client, client.track(["a"], poll=Interval(20)) as batch:
        assert batch.stats.last_error is None
        while batch.stats.polls < 4:
            await anyio.sleep(0.05)
            if not seen or repr(batch.stats.last_error) != repr(seen[-1]):
                seen.append(batch.stats.last_error)
    assert [type(error) for error in seen] == [
        type(None),
        TransportError,
        ServerError,
        type(None),
    ]


async def test_throttling_is_a_last_error_too(provider: FakeProvider) -> None:
    provider.script("a", envelope(430, "too often"), record("a"))
    async with make_client() as client, client.track(["a"]) as batch:
        await anyio.sleep(1)
        assert isinstance(batch.stats.last_error, RateLimitedError)


async def test_the_error_that_ended_a_task_is_the_last_error(provider: FakeProvider) -> None:
    provider.script("a", envelope(404, "no such path"))
    async with make_client() as client, client.track(["a"]) as batch:
        outcomes = await outcomes_of(batch)
        assert repr(batch.stats.last_error) == repr(outcomes["a"].error)


async def test_the_last_error_holds_no_traceback(provider: FakeProvider) -> None:
    provider.script("a", TransportError("cut"))
    async with make_client() as client, client.track(["a"]) as batch:
        await anyio.sleep(0.5)
        error = batch.stats.last_error
    assert error is not None
    assert error.__traceback__ is None


# Estimated time


async def test_the_eta_is_infinite_until_a_poll_succeeds(provider: FakeProvider) -> None:
    provider.script("a", TransportError("cut"), record("a"))
    async with make_client() as client, client.track(["a"], poll=Interval(20)) as batch:
        await anyio.sleep(0.5)
        assert batch.stats.polls == 1
        assert math.isinf(batch.stats.eta)
        await anyio.sleep(10)
        assert batch.stats.polls == 2
        assert batch.stats.eta < 300


async def test_the_eta_falls_to_zero(provider: FakeProvider) -> None:
    add_all(provider, ["a", "b"], 40)
    async with make_client() as client, client.track(["a", "b"]) as batch:
        await anyio.sleep(1)
        first = batch.stats.eta
        await anyio.sleep(30)
        assert 0 < batch.stats.eta < first < 300
        await outcomes_of(batch)
        assert batch.stats.eta == 0.0


async def test_the_eta_is_never_shorter_than_the_pause_of_the_client(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a", "PENDING"), envelope(430, "too often", Retry_After="300"))
    async with make_client() as client, client.track(["a"], poll=Interval(5)) as batch:
        await anyio.sleep(15)
        assert client.stats.paused_for > 250
        assert batch.stats.eta >= client.stats.paused_for


async def test_the_eta_of_a_big_batch_is_close_from_the_start(provider: FakeProvider) -> None:
    add_all(provider, numbered(300), 60)
    async with make_client() as client, client.track(numbered(300)) as batch:
        for wait in (1, 60, 60):
            await anyio.sleep(wait)
            began, eta = anyio.current_time(), batch.stats.eta
        await outcomes_of(batch)
        assert 0.5 < eta / (anyio.current_time() - began) < 3


async def test_the_eta_is_at_least_what_the_rate_limit_needs_for_the_pending_tasks(
    provider: FakeProvider,
) -> None:
    async with make_client() as client, client.track(numbered(1000)) as batch:
        await anyio.sleep(100)
        stats = batch.stats
    assert stats.eta >= stats.pending / stats.rate
    assert stats.eta < 1000


async def test_without_a_rate_limit_the_eta_is_the_time_of_the_newest_task(
    provider: FakeProvider,
) -> None:
    provider.add("b", NEVER)
    async with make_client(rate_limit=None) as client, client.track(["a", "b"]) as batch:
        await anext(batch)
        eta = batch.stats.eta
        assert 60 < eta < 1200


async def test_the_eta_does_not_count_down_without_answers(provider: FakeProvider) -> None:
    add_all(provider, ["a"], 400)
    async with make_client() as client, client.track(["a"], poll=Interval(5)) as batch:
        await anyio.sleep(12)
        provider.round_trip = 40.0
        await anyio.sleep(5)
        # The poll that hangs was sent at 15 s.
        first = batch.stats.eta
        await anyio.sleep(6)
        assert batch.stats.eta == pytest.approx(first, abs=0.01)
        await anyio.sleep(4)
        assert math.isinf(batch.stats.eta)
        provider.round_trip = 0.1
        await anyio.sleep(35)
        assert batch.stats.eta < first


async def test_a_poll_that_is_cancelled_is_no_silence(provider: FakeProvider) -> None:
    add_all(provider, ["a", "b"], NEVER)
    async with make_client() as client, client.track(["a"], poll=Interval(60)) as batch:
        await anyio.sleep(1)
        provider.round_trip = 1000.0
        with anyio.move_on_after(3):
            await client.wait_for_task("b")
        provider.round_trip = 0.1
        await anyio.sleep(30)
        assert batch.stats.eta < 1000
