"""Throttling in every form: in the API's envelope, or without one from a gateway.

A 405 without an envelope is throttling too. Only a client that never understood an answer takes a
few of them for the sign of a wrong address.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.journals import journals_in_virtual_time
from batch.tracking import numbered, tracked
from fakes import Answer, FakeProvider, bare, envelope, finished, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    DecodeError,
    ErrorAction,
    Interval,
    Journal,
    PollDone,
    PollPending,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    TaskTimeoutError,
    TransportError,
    VocalSepClient,
)
from vocalsep_async._transport.api import Reply

pytestmark = pytest.mark.anyio

GENERATE = "/api/v1/vocal-removal/generate"
SONG: dict[str, Any] = {
    "callback_url": "https://hook.example/cb",
    "audio_url": "https://songs.example/a.mp3",
}
HTML = b"<html><h1>405 Not Allowed</h1></html>"
NOT_ALLOWED = bare(405)
CHECK_BASE_URL = "check base_url: the address does not take this method"


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def journal_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    journals_in_virtual_time(monkeypatch)
    return tmp_path / "made.journal"


def with_status(status: int, answer: Reply) -> Reply:
    return answer._replace(status=status)


BARE: dict[str, Callable[[int], Reply]] = {
    "empty": bare,
    "HTML": lambda code: bare(code, HTML),
    "JSON without a code": lambda code: bare(code, b'{"msg": "Method Not Allowed"}'),
    "JSON with a code that is none": lambda code: bare(code, b'{"code": "E405", "msg": "no"}'),
}
IN_ENVELOPE: dict[str, Callable[[int], Reply]] = {
    "an envelope under 200": lambda code: envelope(code, "no"),
    "an envelope under its own status": lambda code: with_status(code, envelope(code, "no")),
    "an envelope under 503": lambda code: with_status(503, envelope(code, "no")),
}
FORMS = BARE | IN_ENVELOPE
NOW = 1_800_000_000
RETRY_AFTER: dict[str, tuple[dict[str, str], float]] = {
    "nothing": ({}, 1.0),
    "seconds": ({"Retry-After": "40"}, 40.0),
    "a date": (
        {
            "Date": formatdate(NOW, usegmt=True),
            "Retry-After": formatdate(NOW + 40, usegmt=True),
        },
        40.0,
    ),
}

every_code = pytest.mark.parametrize("code", [405, 430])
every_retry_after = pytest.mark.parametrize("retry_after", RETRY_AFTER)


async def wait(client: VocalSepClient) -> None:
    assert (await client.wait_for_task("a", poll=Interval(5))).succeeded


async def wait_for_many(client: VocalSepClient) -> None:
    assert (await client.wait_for_tasks(["a"], poll=Interval(5)))["a"].succeeded


async def track(client: VocalSepClient) -> None:
    assert [outcome.succeeded for outcome in await tracked(client, ["a"], poll=Interval(5))] == [
        True
    ]


async def get(client: VocalSepClient) -> None:
    assert (await client.get_task("a")).succeeded


async def poll_once(client: VocalSepClient) -> None:
    assert (await polled(client)).task.succeeded


async def polled(client: VocalSepClient, state: Any = None) -> PollDone:
    answer = await client.poll_once("a", state=state, poll=Interval(5))
    while isinstance(answer, PollPending):
        await anyio.sleep(answer.delay)
        state = json.loads(json.dumps(answer.state))
        answer = await client.poll_once("a", state=state, poll=Interval(5))
    return answer


Call = Callable[[VocalSepClient], Awaitable[None]]
CALLS: dict[str, Call] = {
    "wait_for_task": wait,
    "wait_for_tasks": wait_for_many,
    "track": track,
    "get_task": get,
    "poll_once": poll_once,
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def with_retry_after(answer: Reply, retry_after: str) -> tuple[Reply, float]:
    """The answer with its headers, and the pause that it causes."""
    headers, pause = RETRY_AFTER[retry_after]
    return answer._replace(headers=headers), pause


# Every form of throttling


@every_call
@every_retry_after
@every_code
@pytest.mark.parametrize("form", FORMS)
async def test_throttling_in_every_form_is_waited_out_even_as_the_first_answer(
    provider: FakeProvider, call: Call, form: str, code: int, retry_after: str
) -> None:
    throttled, pause = with_retry_after(FORMS[form](code), retry_after)
    provider.script("a", throttled, finished("a"))
    async with make_client() as client:
        await call(client)
        assert client.stats.throttled == 1
    first, second = provider.times("a")
    assert second - first == pytest.approx(pause + provider.round_trip, abs=0.2)


@every_retry_after
@every_code
@pytest.mark.parametrize("form", IN_ENVELOPE)
async def test_a_creation_is_retried_after_throttling_in_an_envelope(
    provider: FakeProvider, form: str, code: int, retry_after: str
) -> None:
    throttled, pause = with_retry_after(IN_ENVELOPE[form](code), retry_after)
    provider.script(GENERATE, throttled, envelope(200, data={"taskId": "new"}))
    async with make_client() as client:
        assert (await client.create_task(**SONG)).task_id == "new"
    first, second = provider.times(GENERATE)
    assert second - first == pytest.approx(pause + provider.round_trip, abs=0.2)


@every_retry_after
@every_code
@pytest.mark.parametrize("form", BARE)
@pytest.mark.parametrize("before", [[], ["a"]], ids=["never understood", "understood before"])
async def test_a_creation_is_not_retried_after_throttling_without_an_envelope(
    provider: FakeProvider,
    journal_path: Path,
    *,
    form: str,
    code: int,
    retry_after: str,
    before: list[str],
) -> None:
    throttled, pause = with_retry_after(BARE[form](code), retry_after)
    provider.script(GENERATE, throttled)
    async with make_client() as client, Journal(journal_path) as journal:
        for task_id in before:
            await client.get_task(task_id)
        with pytest.raises(RateLimitedError) as caught:
            await client.create_task(journal=journal, **SONG)
        assert client.stats.paused_for == pytest.approx(pause, abs=0.2)
        (intent,) = await journal.intents()
    assert len(provider.posted) == 1
    assert any("may have been created" in note for note in caught.value.__notes__)
    assert intent.error == str(caught.value)


# A client that understood an answer


UNDERSTOOD: dict[str, Answer] = {
    "a record": record("a"),
    "throttling in an envelope": envelope(430, "too often"),
    "maintenance in an envelope": envelope(455, "closed"),
    "a failure in an envelope": envelope(500, "broken"),
    "an unknown task": envelope(200),
    "a record that cannot be read": envelope(200, data="strange"),
    "the record of another task": record("b"),
}


@pytest.mark.parametrize("call", [wait, wait_for_many, track, poll_once], ids=lambda c: c.__name__)
@pytest.mark.parametrize("first", UNDERSTOOD)
async def test_a_client_that_understood_an_answer_waits_out_any_throttling(
    provider: FakeProvider, first: str, call: Call
) -> None:
    provider.script("a", UNDERSTOOD[first], *[NOT_ALLOWED] * 40, finished("a"))
    async with make_client() as client:
        await call(client)
    assert len(provider.times("a")) == 42


async def test_an_answer_to_any_request_makes_a_client_wait_out_throttling(
    provider: FakeProvider,
) -> None:
    provider.script("/api/v1/generate/credit", envelope(200, data=7))
    provider.script("a", *[NOT_ALLOWED] * 20)
    async with make_client() as client:
        await client.get_credits()
        await wait(client)
    assert len(provider.times("a")) == 21


async def test_a_throttled_wait_ends_at_its_deadline(provider: FakeProvider) -> None:
    provider.script("a", record("a"), *[NOT_ALLOWED] * 1000)
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=600)
    assert isinstance(caught.value.last_error, RateLimitedError)


async def test_a_throttled_batch_ends_at_its_deadline(provider: FakeProvider) -> None:
    provider.script("good", finished("good"))
    provider.every_answer = lambda _: NOT_ALLOWED
    async with make_client() as client:
        await client.get_task("good")
        outcomes = await tracked(client, numbered(30), timeout=600)
    assert len(outcomes) == 30
    assert all(isinstance(outcome.error, TaskTimeoutError) for outcome in outcomes)


async def test_a_throttled_get_task_ends_after_its_attempts(provider: FakeProvider) -> None:
    provider.script("a", record("a"), *[NOT_ALLOWED] * 1000)
    async with make_client() as client:
        await client.get_task("a")
        with pytest.raises(RateLimitedError):
            await client.get_task("a")
    assert len(provider.times("a")) == 5


# A client that never understood one


@pytest.mark.parametrize("call", [wait, get, poll_once], ids=lambda call: call.__name__)
@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_a_client_that_never_understood_an_answer_gives_up_after_its_attempts(
    provider: FakeProvider, call: Call, attempts: int
) -> None:
    provider.script("a", *[NOT_ALLOWED] * 100)
    async with make_client(retry=RetryPolicy(attempts=attempts)) as client:
        with pytest.raises(RateLimitedError, match=CHECK_BASE_URL) as caught:
            await call(client)
    assert caught.value.code == 405
    assert len(provider.times("a")) == attempts


@pytest.mark.parametrize("call", [wait, get, poll_once], ids=lambda call: call.__name__)
async def test_no_number_of_attempts_exceeds_twelve_requests(
    provider: FakeProvider, call: Call
) -> None:
    provider.script("a", *[NOT_ALLOWED] * 100)
    async with make_client(retry=RetryPolicy(attempts=50)) as client:
        with pytest.raises(RateLimitedError, match=CHECK_BASE_URL) as caught:
            await call(client)
        assert caught.value.action is ErrorAction.RAISE
        assert client.stats.requests == len(provider.sent) == 12


@pytest.mark.parametrize("options", [{}, {"keep_open": True}, {"max_concurrency": 1}])
@pytest.mark.parametrize("limit", [{}, {"rate_limit": None}])
async def test_a_wrong_address_is_the_outcome_of_every_task_after_twelve_requests(
    provider: FakeProvider, options: dict[str, Any], limit: dict[str, Any]
) -> None:
    provider.every_answer = lambda _: NOT_ALLOWED
    ids = numbered(500)
    async with make_client(**limit) as client:
        outcomes = await tracked(client, ids, **options)
        assert client.stats.requests == len(provider.sent) == 12
        assert client.stats.in_flight == 0
    assert sorted(outcome.task_id for outcome in outcomes) == sorted(ids)
    for outcome in outcomes:
        assert isinstance(outcome.error, RateLimitedError)
        assert CHECK_BASE_URL in str(outcome.error)


async def test_a_client_sends_twelve_requests_to_a_wrong_address(
    provider: FakeProvider, journal_path: Path
) -> None:
    provider.every_answer = lambda _: NOT_ALLOWED
    async with make_client() as client, Journal(journal_path) as journal:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: client.get_task("a"),
            lambda: client.wait_for_task("b", timeout=None),
            client.get_credits,
            lambda: client.poll_once("c"),
            lambda: client.wait_for_task("d", timeout=None),
            lambda: client.create_task(journal=journal, **SONG),
        ]
        for call in calls:
            with pytest.raises(RateLimitedError, match=CHECK_BASE_URL) as caught:
                await call()
        assert not hasattr(caught.value, "__notes__")
        assert await journal.intents() == ()
        outcomes = await client.wait_for_tasks(["e", "f"])
        assert [type(outcome.error) for outcome in outcomes.values()] == [RateLimitedError] * 2
    assert len(provider.sent) == 12
    assert provider.posted == []


async def test_simultaneous_waits_share_the_twelve_requests(provider: FakeProvider) -> None:
    provider.every_answer = lambda _: NOT_ALLOWED
    ended: list[str] = []

    async def ends(call: Awaitable[object]) -> None:
        with pytest.raises(RateLimitedError, match=CHECK_BASE_URL) as caught:
            await call
        ended.append(str(caught.value))

    async with make_client() as client, anyio.create_task_group() as group:
        for task_id in numbered(10):
            group.start_soon(ends, client.wait_for_task(task_id))
            group.start_soon(ends, client.get_task(task_id))
    assert len(ended) == 20
    assert len(provider.sent) == 12


@every_call
@pytest.mark.parametrize("status", [429, 430, 502])
async def test_another_status_without_an_envelope_raises_no_doubt(
    provider: FakeProvider, call: Call, status: int
) -> None:
    provider.script("a", *[bare(status)] * 3, NOT_ALLOWED, *[bare(status)] * 9)
    retry = RetryPolicy(attempts=14 if call is get else 4)
    async with make_client(retry=retry) as client:
        await call(client)
    assert len(provider.times("a")) == 14


@pytest.mark.parametrize("call", [wait, poll_once], ids=lambda call: call.__name__)
@pytest.mark.parametrize("between", [bare(429), bare(502), TransportError("cut")])
async def test_only_attempts_in_a_row_count(
    provider: FakeProvider, call: Call, between: Answer
) -> None:
    provider.script(
        "a", *[NOT_ALLOWED] * 3, between, *[NOT_ALLOWED] * 3, between, *[NOT_ALLOWED] * 9
    )
    async with make_client() as client:
        with pytest.raises(RateLimitedError, match=CHECK_BASE_URL):
            await call(client)
    assert len(provider.times("a")) == 12


@pytest.mark.parametrize("page", [bare(200, HTML), bare(200, b'{"data": 7}')])
async def test_an_answer_without_an_envelope_is_not_understood(
    provider: FakeProvider, page: Reply
) -> None:
    provider.script("a", page, *[NOT_ALLOWED] * 9)
    async with make_client() as client:
        with pytest.raises(RateLimitedError, match=CHECK_BASE_URL):
            await wait(client)
    assert len(provider.times("a")) == 4


async def test_the_last_of_twelve_requests_awaits_one_that_may_prove_the_address(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[NOT_ALLOWED] * 30)
    provider.round_trip = 1000
    retry = RetryPolicy(attempts=50)
    async with make_client(retry=retry) as client, anyio.create_task_group() as group:
        group.start_soon(client.get_task, "slow")
        await anyio.sleep(1)
        provider.round_trip = 0.1
        group.start_soon(wait, client)
        await anyio.sleep(400)
        assert len(provider.times("a")) == 11
        assert isinstance(await client.poll_once("b"), PollPending)
        assert "b" not in provider.sent
    assert len(provider.times("a")) == 31


# One poll at a time, each in a process of its own


async def poll_in_a_process(
    provider: FakeProvider, state: Any, **options: Any
) -> PollDone | PollPending:
    provider._closed = False
    async with make_client(**options) as client:
        answer = await client.poll_once("a", state=state, poll=Interval(5))
    if isinstance(answer, PollPending):
        await anyio.sleep(answer.delay)
        state = json.loads(json.dumps(answer.state))
        return PollPending(delay=answer.delay, state=state, status=answer.status)
    return answer


async def chain(provider: FakeProvider, state: Any = None, **options: Any) -> PollDone:
    answer = await poll_in_a_process(provider, state, **options)
    while isinstance(answer, PollPending):
        answer = await poll_in_a_process(provider, answer.state, **options)
    return answer


@pytest.mark.parametrize("attempts", [1, 3, 20])
async def test_a_chain_that_never_understood_an_answer_gives_up_after_its_attempts(
    provider: FakeProvider, attempts: int
) -> None:
    provider.script("a", *[NOT_ALLOWED] * 100)
    with pytest.raises(RateLimitedError, match=CHECK_BASE_URL):
        await chain(provider, retry=RetryPolicy(attempts=attempts))
    assert len(provider.times("a")) == attempts


@pytest.mark.parametrize("first", UNDERSTOOD)
async def test_a_chain_that_understood_an_answer_waits_out_any_throttling(
    provider: FakeProvider, first: str
) -> None:
    provider.script("a", UNDERSTOOD[first], *[NOT_ALLOWED] * 30, TransportError("cut"))
    provider.script("a", *[NOT_ALLOWED] * 30, finished("a"))
    assert (await chain(provider)).task.succeeded


async def test_the_state_records_an_answer_understood_elsewhere(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[NOT_ALLOWED] * 30)
    async with make_client() as client:
        await client.get_task("other")
        answer = await client.poll_once("a")
    assert isinstance(answer, PollPending)
    await anyio.sleep(answer.delay)
    assert (await chain(provider, answer.state)).task.succeeded


async def test_a_state_that_knows_the_api_restores_a_client_that_gave_up(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a"))
    answer = await poll_in_a_process(provider, None)
    assert isinstance(answer, PollPending)
    provider.script("b", *[NOT_ALLOWED] * 12)
    provider._closed = False
    async with make_client(retry=RetryPolicy(attempts=50)) as client:
        with pytest.raises(RateLimitedError):
            await client.get_task("b")
        done = await polled(client, answer.state)
    assert done.task.succeeded


@pytest.mark.parametrize("wrong", [0, 1, None, "yes"])
async def test_the_state_field_understood_is_true_or_false(
    provider: FakeProvider, wrong: Any
) -> None:
    async with make_client() as client:
        with pytest.raises(ValueError, match="understood"):
            await client.poll_once("a", state={"understood": wrong})
    assert provider.sent == []


async def test_other_failures_end_as_before(provider: FakeProvider) -> None:
    provider.script("a", *[bare(502)] * 9)
    provider.script("b", *[bare(200, HTML)] * 9)
    async with make_client() as client:
        with pytest.raises(ServerError):
            await client.get_task("a")
        with pytest.raises(DecodeError):
            await client.wait_for_task("b")
