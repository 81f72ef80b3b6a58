"""Tasks on several routes of one host: each is polled on its own, by one client and limiter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
from attrs import evolve
from batch.tracking import outcomes_of
from fakes import FakeProvider, envelope, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    KIE,
    SUNOAPI,
    Event,
    Interval,
    InvalidArgumentError,
    PollDone,
    PollPending,
    Provider,
    TaskRef,
    TaskStatus,
    VocalSepClient,
)
from vocalsep_async.instrumentation import TaskFinished
from vocalsep_async.providers import COMMON_CODES
from vocalsep_async.providers._routes import Routes

pytestmark = pytest.mark.anyio

# Another provider at the host of kie.ai.
MINE = Provider(
    name="mine",
    codes=COMMON_CODES,
    credits_path="/",
    hosts=KIE.hosts,
    poll_path="/mine",
    creation_path="/mine",
    statuses={"running": TaskStatus.PENDING, "done": TaskStatus.SUCCESS},
)
STEMS = {"vocalUrl": "https://cdn.example/v.mp3"}
OTHER = TaskRef("a", route="kie")


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def at_kie() -> VocalSepClient:
    return make_client(base_url="https://api.kie.ai", provider=MINE)


def polls(fake: FakeProvider, path: str) -> int:
    return fake.paths.count(path)


async def tracked(client: VocalSepClient, *tasks: Any) -> Any:
    async with client.track(tasks, timeout=900.0) as batch:
        return await outcomes_of(batch)


CALLS: list[Callable[[VocalSepClient, Any], Awaitable[Any]]] = [
    lambda client, task: client.get_task(task),
    lambda client, task: client.wait_for_task(task),
    lambda client, task: client.poll_once(task),
    lambda client, task: client.wait_for_tasks([task]),
    tracked,
]


@pytest.mark.parametrize("call", CALLS)
async def test_a_task_on_another_route_of_the_host_is_polled_there(
    provider: FakeProvider, call: Callable[[VocalSepClient, Any], Awaitable[Any]]
) -> None:
    provider.script("a", record("a", "SUCCESS", response=STEMS))
    async with at_kie() as client:
        await call(client, OTHER)
        assert client.stats.requests == 1
    assert provider.paths == [KIE.poll_path]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("route", ["sunoapi", "nowhere", "Kie"])
async def test_a_task_on_a_route_that_the_client_cannot_poll_is_refused_before_any_request(
    provider: FakeProvider, call: Callable[[VocalSepClient, Any], Awaitable[Any]], route: str
) -> None:
    async with at_kie() as client:
        with pytest.raises(InvalidArgumentError, match=f"route '{route}'.* mine at api.kie.ai"):
            await call(client, TaskRef("a", route=route))
    assert provider.sent == []


async def test_a_download_of_a_task_on_an_unknown_route_is_refused_before_any_request(
    provider: FakeProvider,
) -> None:
    async with at_kie() as client:
        with pytest.raises(InvalidArgumentError):
            await client.download_stems(TaskRef("a", route="nowhere"), "stems")
        with pytest.raises(InvalidArgumentError):
            async with client.open_stem(TaskRef("a", route="nowhere"), "vocal"):
                pytest.fail("it was opened")
    assert provider.sent == []


async def test_an_open_batch_refuses_a_task_on_an_unknown_route_and_goes_on(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a", "done", response=STEMS))
    async with at_kie() as client, client.track(["a"]) as batch:
        with pytest.raises(InvalidArgumentError):
            batch.add(TaskRef("b", route="nowhere"))
        assert set(await outcomes_of(batch)) == {"a"}


async def test_an_iterator_that_yields_an_unknown_route_ends_the_batch_with_that_error(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a", "done", response=STEMS))
    tasks: list[str | TaskRef] = ["a", TaskRef("b", route="nowhere")]
    async with at_kie() as client, client.track(iter(tasks)) as batch:
        with pytest.raises(InvalidArgumentError):
            await outcomes_of(batch)
    assert "b" not in provider.sent


async def test_the_same_id_on_two_routes_is_two_tasks(provider: FakeProvider) -> None:
    answers = {"/mine": record("a", "done", response=STEMS), KIE.poll_path: record("a")}
    provider.every_answer = lambda _: answers[provider.paths[-1]]
    async with at_kie() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, OTHER)
        await anyio.sleep(1.0)
        mine = await client.wait_for_task("a")
        assert client._engine.poller.polls_of(OTHER) == 1
        assert client._engine.poller.polls_of(TaskRef("a")) == 0
        group.cancel_scope.cancel()
    assert mine.status is TaskStatus.SUCCESS
    assert (polls(provider, "/mine"), polls(provider, KIE.poll_path)) == (1, 1)


async def test_a_ref_that_names_the_route_of_the_client_shares_its_polls(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a", "running"), record("a", "done", response=STEMS))
    async with at_kie() as client, anyio.create_task_group() as group:
        for task in ("a", TaskRef("a", route="mine")):
            group.start_soon(client.wait_for_task, task)
    assert provider.paths == ["/mine"] * 2


@pytest.mark.parametrize("task, woken", [("a", 2), (OTHER, 1), (TaskRef("a", route="mine"), 1)])
async def test_a_notification_without_a_route_wakes_the_waits_on_every_route(
    provider: FakeProvider, task: str | TaskRef, woken: int
) -> None:
    answers = {"/mine": record("a", "running"), KIE.poll_path: record("a")}
    provider.every_answer = lambda _: answers[provider.paths[-1]]
    async with at_kie() as client, anyio.create_task_group() as group:
        for each in ("a", OTHER):
            group.start_soon(partial(client.wait_for_task, each, poll=Interval(500)))
        await anyio.sleep(10.0)
        assert client.notify(task)
        with pytest.raises(InvalidArgumentError):
            client.notify(TaskRef("a", route="nowhere"))
        await anyio.sleep(10.0)
        assert len(provider.sent) == 2 + woken
        group.cancel_scope.cancel()


async def test_a_final_record_ends_the_waits_on_its_own_route_alone(
    provider: FakeProvider,
) -> None:
    answers = {"/mine": record("a", "running"), KIE.poll_path: record("a")}
    provider.every_answer = lambda _: answers[provider.paths[-1]]
    ended: list[str | None] = []

    async def wait(client: VocalSepClient, task: str | TaskRef) -> None:
        ended.append((await client.wait_for_task(task, poll=Interval(500))).route)

    async with at_kie() as client, anyio.create_task_group() as group:
        for each in ("a", OTHER):
            group.start_soon(wait, client, each)
        await anyio.sleep(10.0)
        answers[KIE.poll_path] = record("a", "SUCCESS", response=STEMS)
        await client.get_task(OTHER)
        await anyio.sleep(1.0)
        assert ended == ["kie"]
        group.cancel_scope.cancel()


async def test_poll_once_keeps_its_state_on_another_route(provider: FakeProvider) -> None:
    provider.script("a", record("a"), record("a", "SUCCESS", response=STEMS))
    async with at_kie() as client:
        first = await client.poll_once(OTHER)
        assert isinstance(first, PollPending)
        second = await client.poll_once(OTHER, state=first.state)
    assert isinstance(second, PollDone)
    assert provider.paths == [KIE.poll_path] * 2


async def test_a_batch_polls_each_task_on_its_route(provider: FakeProvider) -> None:
    done = {"/mine": "done", KIE.poll_path: "SUCCESS"}
    provider.every_answer = lambda task_id: record(
        task_id, done[provider.paths[-1]], response=STEMS
    )
    tasks = ["a", TaskRef("b", route="kie"), TaskRef("c", type="split_stem", route="kie"), "d"]
    async with at_kie() as client:
        outcomes = await tracked(client, *tasks)
    assert {task_id: each.task.route for task_id, each in outcomes.items()} == {
        "a": "mine",
        "b": "kie",
        "c": "kie",
        "d": "mine",
    }
    assert all(each.succeeded for each in outcomes.values())
    assert (polls(provider, "/mine"), polls(provider, KIE.poll_path)) == (2, 2)


async def test_a_batch_learns_the_route_of_an_id_that_was_added_without_one(
    provider: FakeProvider,
) -> None:
    provider.every_answer = lambda task_id: record(task_id, "SUCCESS", response=STEMS)
    async with at_kie() as client, client.track(["a"], max_concurrency=1) as batch:
        batch.add(TaskRef("a", route="kie"))
        outcomes = await outcomes_of(batch)
    assert outcomes["a"].succeeded
    assert provider.paths == [KIE.poll_path]


@pytest.mark.parametrize(
    "created_by, base_url, route",
    [
        (MINE, "https://api.kie.ai", "mine"),
        (MINE, "http://127.0.0.1:1", "mine"),
        (evolve(MINE, hosts=frozenset()), "https://api.kie.ai", None),
        (SUNOAPI, "https://api.sunoapi.org", None),
    ],
)
async def test_a_created_task_has_a_route_where_its_provider_shares_a_host(
    provider: FakeProvider, created_by: Provider, base_url: str, route: str | None
) -> None:
    provider.script(created_by.creation_path, envelope(200, data={"taskId": "new"}))
    async with make_client(base_url=base_url, provider=created_by) as client:
        ref = await client.create_task(
            callback_url="https://hook.example", audio_url="https://songs.example/a.mp3"
        )
    assert ref.route == route


@pytest.mark.parametrize(
    "provider_, host, route, is_served",
    [
        (MINE, "api.kie.ai", "kie", True),
        (MINE, "API.KIE.AI", "kie", True),
        (MINE, "127.0.0.1", "kie", True),
        (MINE, "127.0.0.1", "sunoapi", False),
        (MINE, "api.apikley.ru", "kie", False),
        (MINE, "api.apikley.ru", "apikley", True),
        (evolve(MINE, hosts=frozenset()), "api.kie.ai", "kie", True),
        (evolve(MINE, hosts=frozenset()), "127.0.0.1", "kie", False),
        (SUNOAPI, "api.sunoapi.org", "kie", False),
        (SUNOAPI, "api.sunoapi.org", "sunoapi", True),
    ],
)
def test_a_client_polls_on_the_routes_of_its_host(
    provider_: Provider, host: str, route: str, *, is_served: bool
) -> None:
    routes = Routes(provider_, host)
    ref = TaskRef("a", type="split_stem", route=route)
    if not is_served:
        with pytest.raises(InvalidArgumentError, match="base_url"):
            routes.ref(ref)
    elif route == provider_.name:
        assert routes.ref(ref) == TaskRef("a", type="split_stem")
    else:
        assert routes.ref(ref) is ref
        assert routes.decoder(route).provider.name == route


async def test_the_end_of_a_task_on_each_route_is_an_event(provider: FakeProvider) -> None:
    events: list[Event] = []
    client = make_client(base_url="https://api.kie.ai", provider=MINE, on_event=events.append)
    provider.script(
        "a", record("a", "done", response=STEMS), record("a", "SUCCESS", response=STEMS)
    )
    async with client:
        await client.get_task("a")
        await client.get_task(OTHER)
    assert len([each for each in events if isinstance(each, TaskFinished)]) == 2
