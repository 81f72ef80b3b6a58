"""What the clients of one account learn about durations together."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, dated, make_client, record
from hypothesis import given
from hypothesis import strategies as st
from limiters import WrappedLimiter
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import Durations, VocalSepClient
from vocalsep_async._learned import Learner, SharedDurations
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.models import SeparationType

pytestmark = pytest.mark.anyio

VOCAL, SPLIT = SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def ignored() -> None:
    """What is called after a change, where it does not matter."""


def learned(table: HazardTable) -> dict[SeparationType | None, int]:
    return {kind: table.model(kind).completions for kind in HazardTable.KINDS}


def member_of(shared: SharedDurations) -> tuple[HazardTable, Learner]:
    table = HazardTable()
    return table, Learner(shared, table, ignored)


async def told() -> None:
    """Let the calls from one table to the others come through."""
    await asyncio.sleep(0)


# Tables


async def test_what_one_table_learns_is_known_to_the_others() -> None:
    shared = SharedDurations()
    (one, _), (other, _) = member_of(shared), member_of(shared)
    one.observe_completion(50.0, type_=VOCAL)
    await told()
    assert learned(other) == learned(one)
    other.observe_completion(90.0, type_=SPLIT)
    await told()
    assert learned(one)[None] == 2
    assert one.to_dict() == other.to_dict()
    third, _ = member_of(shared)
    assert third.to_dict() == one.to_dict()


Observed = tuple[bool, bool, float]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(1, 600)), max_size=30))
def test_tables_that_share_know_what_one_table_would_know(observed: list[Observed]) -> None:
    async def share() -> None:
        shared, alone = SharedDurations(), HazardTable()
        members = [member_of(shared) for _ in range(2)]
        for is_second, has_ended, seconds in observed:
            for table in (members[is_second][0], alone):
                if has_ended:
                    table.observe_completion(seconds, type_=VOCAL)
                else:
                    table.model(VOCAL).observe_running(0.0, seconds)
            # In one table, what runs counts before the task that ends next.
            for _, learner in members:
                learner.exchange()
        for _, learner in members:
            learner.exchange()
        for table, _ in members:
            counts, expected = table.counts(), alone.counts()
            for kind, each in expected.items():
                assert counts[kind].completions == each.completions
                assert counts[kind].completed == pytest.approx(each.completed)
                assert counts[kind].exposure == pytest.approx(each.exposure)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(share())


async def test_the_running_time_of_tasks_is_shared_with_the_next_end() -> None:
    shared = SharedDurations()
    (one, _), (other, _) = member_of(shared), member_of(shared)
    one.model(VOCAL).observe_running(0.0, 40.0)
    await told()
    assert sum(other.counts()[VOCAL].exposure) == 0
    one.observe_completion(10.0, type_=SPLIT)
    await told()
    assert sum(other.counts()[VOCAL].exposure) == pytest.approx(40.0)


async def test_a_table_that_has_loaded_more_replaces_what_is_shared() -> None:
    shared = SharedDurations()
    (one, learner) = member_of(shared)
    one.observe_completion(50.0, type_=VOCAL)
    loaded = HazardTable()
    for _ in range(3):
        loaded.observe_completion(80.0, type_=VOCAL)
    Learner(shared, loaded, ignored)
    await told()
    assert learned(one) == {**learned(one), VOCAL: 3, None: 3}
    # One that has loaded less gets what is shared.
    late = HazardTable()
    late.observe_completion(20.0, type_=VOCAL)
    Learner(shared, late, ignored)
    assert late.to_dict() == one.to_dict()
    learner.leave()


async def test_what_is_loaded_later_replaces_what_all_have_learned() -> None:
    shared = SharedDurations()
    (one, _), (other, _) = member_of(shared), member_of(shared)
    for _ in range(5):
        one.observe_completion(50.0, type_=VOCAL)
    fresh = HazardTable()
    fresh.observe_completion(30.0, type_=SPLIT)
    other.update_from(fresh.to_dict())
    await told()
    assert one.to_dict() == other.to_dict() == fresh.to_dict()
    one.observe_completion(50.0, type_=SPLIT)
    await told()
    assert learned(other)[SPLIT] == 2


async def test_a_table_that_has_left_learns_alone() -> None:
    shared = SharedDurations()
    (one, learner), (other, _) = member_of(shared), member_of(shared)
    one.model(VOCAL).observe_running(0.0, 40.0)
    learner.leave()
    learner.leave()
    one.observe_completion(50.0, type_=VOCAL)
    await told()
    assert (learned(one)[None], learned(other)[None]) == (1, 0)
    # It has left nothing behind that is not shared.
    other.observe_completion(50.0, type_=SPLIT)
    assert sum(shared.take_outgoing()[VOCAL].exposure) == pytest.approx(40.0)


async def test_a_table_is_told_of_many_ends_at_once() -> None:
    shared = SharedDurations()
    changes: list[int] = []
    table = HazardTable()
    one, _ = member_of(shared)
    learner = Learner(shared, table, lambda: changes.append(learned(table)[None]))
    for _ in range(3):
        one.observe_completion(50.0, type_=VOCAL)
    await told()
    assert changes == [3]
    # Later, only where the tasks are enough for another estimate.
    for _ in range(200):
        one.observe_completion(50.0, type_=VOCAL)
        await told()
    assert len(changes) < 60
    assert changes[-1] > 180
    learner.leave()


@pytest.mark.parametrize("is_kept", [True, False], ids=["is there", "is gone"])
def test_the_table_of_an_event_loop_that_was_closed_is_left_alone(*, is_kept: bool) -> None:
    shared = SharedDurations()

    async def join() -> tuple[HazardTable, Learner]:
        return member_of(shared)

    async def learn() -> None:
        one, _ = member_of(shared)
        for _ in range(2):
            one.observe_completion(50.0, type_=VOCAL)

    loops = [asyncio.SelectorEventLoop()]
    table, learner = loops[0].run_until_complete(join())
    loops[0].close()
    if not is_kept:
        loops.clear()
        gc.collect()
    asyncio.run(learn())
    assert learned(table)[None] == 0
    # A client that goes on in another event loop leaves there, and joins again.
    learner.leave()
    assert learned(table)[None] == 2


# Stores, which count what several processes observe


async def test_a_store_takes_what_was_observed_here_once() -> None:
    shared = SharedDurations()
    one, _ = member_of(shared)
    one.observe_completion(50.0, type_=VOCAL)
    assert shared.take_outgoing()[VOCAL].completions == 1
    assert shared.take_outgoing()[VOCAL].completions == 0
    one.observe_completion(50.0, type_=VOCAL)
    assert shared.take_outgoing()[VOCAL].completions == 1


async def test_what_a_store_knows_replaces_what_was_observed_here() -> None:
    shared, others = SharedDurations(), HazardTable()
    one, _ = member_of(shared)
    one.observe_completion(50.0, type_=VOCAL)
    shared.take_outgoing()
    # It comes while the answer of the store is on its way.
    one.observe_completion(60.0, type_=VOCAL)
    for _ in range(9):
        others.observe_completion(70.0, type_=VOCAL)
    shared.replace(others.counts())
    await told()
    assert learned(one)[VOCAL] == learned(one)[None] == 10


async def test_a_process_that_was_forked_tells_no_client_of_its_parent() -> None:
    shared = SharedDurations()
    (one, learner), (other, _) = member_of(shared), member_of(shared)
    shared.restart()
    one.observe_completion(50.0, type_=VOCAL)
    await told()
    assert learned(other)[None] == 0
    learner.leave()


# Clients


def ended(provider: FakeProvider, task_id: str, seconds: float) -> None:
    """Have a task be found finished, whose record tells how long it took."""
    times = {"createTime": 1_700_000_000_000, "completeTime": 1_700_000_000_000 + seconds * 1000}
    links = {"vocalUrl": "https://cdn.example/v.mp3"}
    answer = record(task_id, "SUCCESS", response=links, **times)
    provider.script(task_id, dated(answer, 1_700_000_000.0 + seconds))


async def test_clients_of_one_account_learn_together(provider: FakeProvider) -> None:
    for number in range(3):
        ended(provider, f"t{number}", 70)
    provider.add("pending", 1000)
    async with make_client() as one, make_client() as other:
        await other.get_task("t0")
        await one.get_task("t1")
        await told()
        assert one.durations.view().completions == other.durations.view().completions == 2
        async with VocalSepClient("another-key-for-tests") as stranger:
            await stranger.get_task("pending")
            assert stranger.durations.view().completions == 0
        provider.reopen()
    provider.reopen()
    # What was learned outlives the clients, and is kept by those that were closed.
    async with make_client() as third:
        await third.get_task("t2")
        assert third.durations.view().completions == 3
    assert one.durations.view().completions == 2


def durations_of(*seconds: float) -> Durations:
    durations = Durations()
    for each in seconds:
        durations._hazards.observe_completion(each, type_=VOCAL)
    return durations


async def test_what_a_client_has_loaded_is_known_to_the_others(provider: FakeProvider) -> None:
    provider.add("pending", 1000)
    saved = durations_of(*[40.0] * 30).to_dict()
    one, other = make_client(), make_client()
    one.durations.update_from(saved)
    async with one, other:
        await one.get_task("pending")
        await other.get_task("pending")
        assert other.durations.to_dict() == one.durations.to_dict() == saved


async def test_a_limiter_with_a_store_gets_and_gives_what_was_learned(
    provider: FakeProvider,
) -> None:
    class Storing(WrappedLimiter):
        def _share_durations(self, durations: SharedDurations, provider: str) -> None:
            assert provider == "sunoapi"
            self.durations = durations

    ended(provider, "a", 70)
    provider.add("pending", 1000)
    limiter = Storing()
    async with make_client(limiter=limiter) as client:
        await client.get_task("a")
        assert limiter.durations.take_outgoing()[None].completions == 1
        limiter.durations.replace(durations_of(*[40.0] * 30)._hazards.counts())
        await told()
        assert client.durations.view().completions == 30
        # Clients with other limiters learn together with it, in this process.
        provider.reopen()
        async with make_client() as other:
            await other.get_task("pending")
            assert other.durations.view().completions == 30


async def test_what_others_learn_wakes_the_schedule(provider: FakeProvider) -> None:
    provider.is_dated = True
    provider.add("slow", 500)
    one, other = (make_client(rate_limit=None) for _ in range(2))
    one.durations.update_from(durations_of(*[600.0] * 30).to_dict())
    async with one, other:
        wait = asyncio.ensure_future(one.wait_for_task("slow"))
        await anyio.sleep(160)
        last = provider.times("slow")[-1]
        for number in range(60):
            ended(provider, f"t{number}", 165)
            await other.get_task(f"t{number}")
        learned_at = anyio.current_time()
        await anyio.sleep(3)
        # By what was known before, the next poll was due 39 s after the last one.
        assert last < provider.times("slow")[-1] < learned_at + 3 < last + 20
        provider.ends_all()
        await wait


async def test_what_others_learn_begins_nothing_in_an_idle_client(provider: FakeProvider) -> None:
    ended(provider, "a", 70)
    provider.add("pending", 1000)
    async with make_client() as idle, make_client() as other:
        await idle.get_task("pending")
        tasks = asyncio.all_tasks()
        await other.get_task("a")
        await told()
        assert idle.durations.view().completions == 1
        assert asyncio.all_tasks() == tasks


def test_a_client_that_moves_takes_along_what_it_has_learned(provider: FakeProvider) -> None:
    client = make_client()
    for number in range(2):
        ended(provider, f"t{number}", 70)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(client.get_task(f"t{number}"))
    assert client.durations.view().completions == 2
