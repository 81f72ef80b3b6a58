"""Answers of other servers are judged by what sent them, not by their status; in virtual time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from batch.tracking import numbered, tracked
from fakes import Answer, FakeProvider, bare, envelope, finished, make_client, record
from foreign import FOREIGN, MEANINGLESS, PAGE, PASSING
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    DecodeError,
    InsufficientCreditsError,
    Interval,
    NotFoundError,
    PollPending,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    TaskTimeoutError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.providers import KIE

pytestmark = pytest.mark.anyio

TWELVE = numbered(12)
CHECK_BASE_URL = r"[Cc]heck base_url"


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


every_foreign = pytest.mark.parametrize("what", FOREIGN)
every_disturbance = pytest.mark.parametrize("what", [*FOREIGN, *PASSING])
ALL = FOREIGN | PASSING | MEANINGLESS


# A client that heard the API


@every_disturbance
async def test_a_disturbance_of_a_minute_ends_neither_waits_nor_a_batch(
    provider: FakeProvider, what: str
) -> None:
    async with make_client(rate_limit=None) as client, anyio.create_task_group() as group:
        for task_id in (*TWELVE, "single"):
            provider.add(task_id, 30)

        async def wait() -> None:
            assert (await client.wait_for_task("single")).succeeded

        async def track() -> None:
            assert all(outcome.succeeded for outcome in await tracked(client, TWELVE))

        group.start_soon(wait)
        group.start_soon(track)
        await anyio.sleep(1)
        provider.every_answer = lambda _: ALL[what]
        await anyio.sleep(60)
        provider.every_answer = None


@every_foreign
async def test_a_disturbance_lasts_until_the_deadline_and_is_the_last_error(
    provider: FakeProvider, what: str
) -> None:
    provider.script("a", record("a"))
    provider.every_answer = lambda _: FOREIGN[what]
    began = anyio.current_time()
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=100)
    assert anyio.current_time() == pytest.approx(began + 100)
    assert caught.value.last_error is not None
    assert str(caught.value.last_error) in str(caught.value)


@every_foreign
async def test_calls_outside_a_wait_give_up_after_their_attempts(
    provider: FakeProvider, what: str
) -> None:
    credits_path = "/api/v1/generate/credit"
    async with make_client(rate_limit=None) as client:
        await client.get_task("heard")
        for task_id in ("a", credits_path):
            provider.script(task_id, *[FOREIGN[what]] * 3)
        assert (await client.get_task("a")).succeeded
        provider.script(credits_path, envelope(200, data=7))
        assert await client.get_credits() == 7
        provider.script("b", *[FOREIGN[what]] * 9)
        with pytest.raises(VocalSepError):
            await client.get_task("b")
    assert len(provider.times("b")) == 4


@every_foreign
async def test_a_chain_of_polls_that_heard_the_api_waits_out_any_disturbance(
    provider: FakeProvider, what: str
) -> None:
    provider.script("a", record("a"), *[FOREIGN[what]] * 15, finished("a"))
    async with make_client() as client:
        assert (await polled(client)).task.succeeded


async def polled(client: VocalSepClient, state: Any = None) -> Any:
    answer = await client.poll_once("a", state=state, poll=Interval(5))
    while isinstance(answer, PollPending):
        await anyio.sleep(answer.delay)
        state = json.loads(json.dumps(answer.state))
        answer = await client.poll_once("a", state=state, poll=Interval(5))
    return answer


# A refusal of the account


@pytest.mark.parametrize("code", [401, 402, 429])
@pytest.mark.parametrize("spoken", [None, KIE], ids=["sunoapi", "kie"])
async def test_a_refusal_without_an_envelope_ends_nothing(
    provider: FakeProvider, code: int, spoken: Any
) -> None:
    for task_id in TWELVE:
        provider.script(task_id, record(task_id), *[bare(code, PAGE)] * 6, finished(task_id))
    async with make_client(rate_limit=None, provider=spoken) as client:
        assert all(outcome.succeeded for outcome in await tracked(client, TWELVE))


# A code without a meaning


@pytest.mark.parametrize("what", MEANINGLESS)
@pytest.mark.parametrize("before", [[], [record("a")]], ids=["first", "after a record"])
async def test_a_code_without_a_meaning_is_no_last_word(
    provider: FakeProvider, what: str, before: list[Answer]
) -> None:
    answer = MEANINGLESS[what]
    provider.script("a", *before, *[answer] * 4, record("a"), *[answer] * 4, finished("a"))
    async with make_client() as client:
        assert (await client.wait_for_task("a")).succeeded
        provider.script("a", *before, *[answer] * 4, finished("a"))
        assert (await polled(client)).task.succeeded
        provider.script("a", *[answer] * 3, finished("a"))
        assert (await client.get_task("a")).succeeded


@pytest.mark.parametrize("what", MEANINGLESS)
async def test_five_codes_without_a_meaning_in_a_row_end_the_wait_with_the_code(
    provider: FakeProvider, what: str
) -> None:
    provider.script("a", record("a"), *[MEANINGLESS[what]] * 9)
    async with make_client() as client:
        with pytest.raises(APIError, match="code"):
            await client.wait_for_task("a")
    assert len(provider.times("a")) == 6


# A client that never heard the API

Call = Callable[[VocalSepClient], Awaitable[object]]


async def wait(client: VocalSepClient) -> None:
    await client.wait_for_task("a", timeout=None)


async def get(client: VocalSepClient) -> None:
    await client.get_task("a")


CALLS: dict[str, Call] = {"wait": wait, "get": get, "poll_once": polled}


@every_foreign
async def test_a_wrong_address_is_given_up_after_the_attempts_with_the_hint(
    provider: FakeProvider, what: str
) -> None:
    provider.every_answer = lambda _: FOREIGN[what]
    for call, attempts in itertools.product(CALLS.values(), [1, 4, 50]):
        provider.reopen()
        async with make_client(retry=RetryPolicy(attempts=attempts)) as client:
            with pytest.raises(VocalSepError, match=CHECK_BASE_URL):
                await call(client)
            assert client.stats.requests == min(attempts, 12)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_wrong_address_is_given_up_whatever_mixture_answers(
    provider: FakeProvider, call: Call
) -> None:
    for foreign in itertools.combinations(sorted(FOREIGN)[::9], 2):
        provider.reopen()
        provider.script("a", *[FOREIGN[each] for each in foreign] * 2)
        async with make_client() as client:
            with pytest.raises(VocalSepError, match=CHECK_BASE_URL):
                await call(client)
            assert client.stats.requests == 4


@every_foreign
@pytest.mark.parametrize("limit", [{}, {"rate_limit": None}])
async def test_a_batch_sends_twelve_requests_to_a_wrong_address(
    provider: FakeProvider, what: str, limit: dict[str, Any]
) -> None:
    provider.every_answer = lambda _: FOREIGN[what]
    ids = numbered(300)
    async with make_client(**limit) as client:
        outcomes = await tracked(client, ids)
        assert client.stats.in_flight == 0
    assert len(provider.sent) == 12
    assert sorted(outcome.task_id for outcome in outcomes) == sorted(ids)
    assert all("check base_url" in str(outcome.error).lower() for outcome in outcomes)


@pytest.mark.parametrize(
    "what, error",
    [
        ("a page under 404", NotFoundError),
        ("a page under 401", AuthenticationError),
        ("a page under 405", RateLimitedError),
        ("a portal under 200", DecodeError),
    ],
)
async def test_calls_after_twelve_requests_fail_like_the_last_of_them(
    provider: FakeProvider, what: str, error: type[VocalSepError]
) -> None:
    provider.every_answer = lambda _: FOREIGN[what]
    async with make_client() as client:
        calls: list[Call] = [get, wait, polled, lambda each: each.get_credits()]
        for call in calls:
            with pytest.raises(error, match=CHECK_BASE_URL):
                await call(client)
    assert len(provider.sent) == 12


@every_disturbance
async def test_a_first_answer_of_another_server_is_no_last_word(
    provider: FakeProvider, what: str
) -> None:
    for call in (wait, polled):
        provider.reopen()
        provider.script("a", *[ALL[what]] * 3, finished("a"))
        async with make_client() as client:
            await call(client)
            assert len(provider.sent) == 4
        provider.sent.clear()


@pytest.mark.parametrize("call", [wait, polled], ids=["wait", "poll_once"])
@pytest.mark.parametrize("what", PASSING)
async def test_what_passes_by_itself_is_waited_out_before_the_api_was_heard(
    provider: FakeProvider, call: Call, what: str
) -> None:
    provider.script("a", *[PASSING[what]] * 25, finished("a"))
    async with make_client() as client:
        await call(client)


@every_foreign
async def test_a_chain_of_polls_counts_the_attempts_in_its_state(
    provider: FakeProvider, what: str
) -> None:
    provider.script("a", *[FOREIGN[what]] * 9)
    state: Any = None
    for attempt in range(1, 4):
        provider.reopen()
        async with make_client() as client:
            answer = await client.poll_once("a", state=state)
        assert isinstance(answer, PollPending)
        assert answer.state["failures"] == answer.state["same_kind"] == attempt
        assert answer.state["understood"] is False
        state = json.loads(json.dumps(answer.state))
        await anyio.sleep(answer.delay)
    provider.reopen()
    async with make_client() as client:
        with pytest.raises(VocalSepError, match=CHECK_BASE_URL):
            await client.poll_once("a", state=state)


async def test_waits_that_queue_behind_the_first_twelve_requests_go_on_once_one_is_answered(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 10
    ids = numbered(40)
    began = anyio.current_time()
    async with (
        make_client(rate_limit=RateLimit(1000, 1.0)) as client,
        anyio.create_task_group() as group,
    ):
        for task_id in ids:
            group.start_soon(client.wait_for_task, task_id)
        await anyio.sleep(5)
        assert len(provider.sent) == 12
    assert anyio.current_time() == pytest.approx(began + 20, abs=0.2)


async def test_a_chain_that_knows_the_api_lets_the_queue_behind_the_first_requests_go_on(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 10
    ids = numbered(20)
    began = anyio.current_time()
    async with (
        make_client(rate_limit=RateLimit(1000, 1.0)) as client,
        anyio.create_task_group() as group,
    ):
        for task_id in ids:
            group.start_soon(client.wait_for_task, task_id)
        await anyio.sleep(5)
        assert len(provider.sent) == 12
        await client.poll_once("b", state={"understood": True})
    assert anyio.current_time() == pytest.approx(began + 15, abs=0.2)


async def test_closing_a_client_ends_the_calls_that_wait_for_the_first_answers(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 1000
    ended: list[VocalSepError] = []

    async def get_quietly(client: VocalSepClient, task_id: str) -> None:
        try:
            await client.get_task(task_id)
        except VocalSepError as error:
            ended.append(error)

    client = make_client(rate_limit=RateLimit(1000, 1.0))
    async with anyio.create_task_group() as group:
        for task_id in numbered(14):
            group.start_soon(get_quietly, client, task_id)
        await anyio.sleep(5)
        await client.aclose()
        await anyio.sleep(1)
        assert [type(error) for error in ended] == [ClientClosedError] * 2
        assert len(provider.sent) == 12


async def test_a_confirmed_refusal_of_the_api_still_ends_everything(
    provider: FakeProvider,
) -> None:
    for task_id in TWELVE:
        provider.script(task_id, record(task_id), *[envelope(429, "no")] * 9)
    async with make_client(rate_limit=None) as client:
        outcomes = await tracked(client, TWELVE)
    assert all(isinstance(outcome.error, InsufficientCreditsError) for outcome in outcomes)
    assert len(provider.sent) < 40
