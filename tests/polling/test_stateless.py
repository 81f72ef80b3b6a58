"""Stateless polls with `VocalSepClient.poll_once`, for callers that cannot sleep."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from fakes import (
    Answer,
    FakeProvider,
    dated,
    envelope,
    finished,
    make_client,
    provider_in_place,
    record,
)
from hypothesis import given
from hypothesis import strategies as st
from limiters import WrappedLimiter
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    DecodeError,
    ErrorAction,
    InsufficientCreditsError,
    Interval,
    InvalidArgumentError,
    NotFoundError,
    PollContext,
    PollDone,
    PollPending,
    RateLimit,
    RetryPolicy,
    SeparationType,
    TaskNotFoundError,
    TaskRef,
    TaskStatus,
    TransportError,
    VocalSepClient,
)
from vocalsep_async._polling import stateless
from vocalsep_async._scheduling.sibling_ages import GUESSED_AGE
from vocalsep_async.policies import TURN_PATIENCE

pytestmark = pytest.mark.anyio

STRANGE = envelope(200, data="strange")
UNKNOWN = envelope(200)
STEADY = RetryPolicy(jitter=0)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Wall:
    """A wall clock that runs with the event loop's until a test sets it."""

    def __init__(self) -> None:
        self.ahead = 1_800_000_000.0

    def __call__(self) -> float:
        return self.ahead + anyio.current_time()


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr(stateless, "time", SimpleNamespace(time=wall))
    return wall


class Seen:
    """A policy that keeps its contexts."""

    def __init__(self, gap: float = 10.0) -> None:
        self.contexts: list[PollContext] = []
        self.gap = gap

    def delay(self, context: PollContext) -> float:
        self.contexts.append(context)
        return self.gap


@asynccontextmanager
async def process(provider: FakeProvider, **options: Any) -> AsyncIterator[VocalSepClient]:
    """A new client, as in a new process."""
    provider._closed = False
    async with make_client(**options) as client:
        yield client


async def poll(
    provider: FakeProvider, task: str | TaskRef, state: Any = None, **options: Any
) -> PollDone | PollPending:
    """One poll in a process of its own; the state is written as JSON and read again."""
    poll = options.pop("poll", None)
    async with process(provider, **options) as client:
        answer = await client.poll_once(task, state=state, poll=poll)
    if isinstance(answer, PollPending):
        return PollPending(
            delay=answer.delay, state=json.loads(json.dumps(answer.state)), status=answer.status
        )
    return answer


def pending(answer: PollDone | PollPending) -> PollPending:
    assert isinstance(answer, PollPending)
    return answer


async def until_it_ends(provider: FakeProvider, task: str | TaskRef, **options: Any) -> PollDone:
    answer = await poll(provider, task, **options)
    while isinstance(answer, PollPending):
        await anyio.sleep(answer.delay)
        answer = await poll(provider, task, answer.state, **options)
    return answer


async def until_it_fails(provider: FakeProvider, task: str, **options: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        await until_it_ends(provider, task, **options)
    return caught.value


# Results


async def test_a_task_that_runs_is_pending_and_one_that_ended_is_done(
    provider: FakeProvider,
) -> None:
    provider.add("a", 30)
    first = pending(await poll(provider, "a", poll=Interval(40)))
    assert first.delay == 40
    assert first.status is TaskStatus.PENDING
    await anyio.sleep(first.delay)
    second = await poll(provider, "a", first.state, poll=Interval(40))
    assert isinstance(second, PollDone)
    assert second.task.succeeded
    assert len(provider.polls) == 2


@pytest.mark.parametrize("status", sorted(set(TaskStatus) - {TaskStatus.PENDING}))
async def test_every_final_status_is_done(provider: FakeProvider, status: str) -> None:
    links = {"vocalUrl": "https://cdn.example/v.mp3"}
    provider.script("a", record("a", status, response=links))
    answer = await poll(provider, "a")
    assert isinstance(answer, PollDone)
    assert answer.task.status == status


@pytest.mark.parametrize("status", ["A_NEW_ONE", "\ud800"])
async def test_an_unknown_status_is_pending_and_passed_on_unchanged(
    provider: FakeProvider, status: str
) -> None:
    provider.script("a", record("a", status), envelope(500, "broken"))
    first = pending(await poll(provider, "a"))
    assert first.status == status
    assert pending(await poll(provider, "a", first.state)).status == status


async def test_a_known_status_survives_a_failed_poll(provider: FakeProvider) -> None:
    provider.script("a", envelope(500, "broken"), record("a"), TransportError("cut"))
    states: list[Any] = [None]
    statuses: list[Any] = []
    for _ in range(3):
        answer = pending(await poll(provider, "a", states[-1]))
        states.append(answer.state)
        statuses.append(answer.status)
    assert statuses == [None, TaskStatus.PENDING, TaskStatus.PENDING]
    assert statuses[2] is TaskStatus.PENDING


async def test_a_stateless_poll_teaches_the_client_durations(provider: FakeProvider) -> None:
    async with make_client() as client:
        for task_id in ("a", "a", "b"):
            await client.poll_once(task_id)
        assert client.durations.view(None).completions == 2


async def test_a_client_may_mix_stateless_polls_and_waits(provider: FakeProvider) -> None:
    provider.add("a", 30)
    async with make_client() as client:
        answer = await client.poll_once("a")
        assert isinstance(answer, PollPending)
        assert (await client.wait_for_task("a")).succeeded
        assert isinstance(await client.poll_once("a", state=answer.state), PollDone)


async def test_a_closed_client_raises_an_error(provider: FakeProvider) -> None:
    client = make_client()
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await client.poll_once("a")


async def test_an_unusable_id_or_policy_is_refused(provider: FakeProvider) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError):
            await client.poll_once(" ")
        with pytest.raises(InvalidArgumentError):
            await client.poll_once("a", poll=7)  # type: ignore[arg-type]
    assert provider.sent == []


@pytest.mark.parametrize("delay", [-1.0, math.nan, math.inf, "5", None])
async def test_an_unusable_delay_of_a_policy_is_refused(provider: FakeProvider, delay: Any) -> None:
    provider.add("a", 30)
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="the delay of a poll policy"):
            await client.poll_once("a", poll=Seen(delay))


# The rate limit


@pytest.mark.own_limiter
async def test_without_a_free_slot_nothing_is_sent(provider: FakeProvider) -> None:
    provider.add("a", 1e6)
    async with make_client(rate_limit=RateLimit(1, 50.0), poll=Interval(1)) as client:
        first = pending(await client.poll_once("a"))
        assert 49 < first.delay <= 50.1
        began = anyio.current_time()
        second = pending(await client.poll_once("a", state=first.state))
        assert anyio.current_time() == began
        assert len(provider.sent) == 1
        assert second.state == first.state
        assert second.status is TaskStatus.PENDING
        await anyio.sleep(second.delay)
        third = pending(await client.poll_once("a", state=second.state))
        assert third.state["polls"] == 2
    assert len(provider.sent) == 2


async def test_without_a_free_slot_a_first_poll_is_pending(provider: FakeProvider) -> None:
    async with make_client(rate_limit=RateLimit(1, 50.0)) as client:
        await client.get_task("other")
        answer = pending(await client.poll_once("a"))
    assert answer.status is None
    assert answer.state["polls"] == 0
    assert answer.state["began"] > 0


async def test_a_delay_of_the_policy_beyond_the_rate_limit_stays(
    provider: FakeProvider,
) -> None:
    provider.add("a", 1e6)
    async with make_client(rate_limit=RateLimit(1, 50.0), poll=Interval(80)) as client:
        assert pending(await client.poll_once("a")).delay == 80


async def test_queued_requests_precede_a_stateless_poll(provider: FakeProvider) -> None:
    async with make_client(rate_limit=RateLimit(2, 10.0)) as client:
        for task_id in ("a", "b"):
            await client.get_task(task_id)
        async with anyio.create_task_group() as group:
            for task_id in ("c", "d"):
                group.start_soon(client.get_task, task_id)
            await anyio.sleep(1)
            answer = pending(await client.poll_once("e"))
            assert answer.delay > 0
            await anyio.sleep(answer.delay)
            assert isinstance(await client.poll_once("e", state=answer.state), PollPending)
        assert provider.sent == ["a", "b", "c", "d"]


async def test_while_only_an_answer_frees_a_slot_the_delay_is_short(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 100
    async with make_client(rate_limit=RateLimit(1, 10.0)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get_task, "slow")
            await anyio.sleep(20)
            answer = pending(await client.poll_once("a"))
            assert answer.delay == 1.0
        assert provider.sent == ["slow"]


async def test_after_its_delay_every_poll_is_sent(
    provider: FakeProvider,
) -> None:
    provider.add("a", 1e6)
    provider.limit = (3, 10.0)
    state = None
    async with make_client(rate_limit=RateLimit(3, 10.0), poll=Interval(0.01)) as client:
        for _ in range(20):
            before = len(provider.sent)
            answer = pending(await client.poll_once("a", state=state))
            assert len(provider.sent) == before + 1
            await anyio.sleep(answer.delay)
            state = answer.state
    assert provider.throttled == 0


@pytest.mark.parametrize(
    "code, headers, pause",
    [(430, {}, 1.0), (405, {"Retry_After": "40"}, 40.0), (455, {}, 30.0)],
)
async def test_throttling_and_maintenance_pause_the_whole_client(
    provider: FakeProvider, code: int, headers: dict[str, str], pause: float
) -> None:
    provider.script("a", envelope(code, "too often", **headers))
    async with make_client(poll=Interval(0.01)) as client:
        first = pending(await client.poll_once("a"))
        assert first.delay == pytest.approx(pause, abs=0.01)
        # Not at the same moment: one poll shows whether the pause is over.
        assert pending(await client.poll_once("b")).delay == pytest.approx(pause + 0.5, abs=0.01)
        assert provider.sent == ["a"]
        await anyio.sleep(first.delay)
        assert isinstance(await client.poll_once("a", state=first.state), PollDone)


async def test_any_number_of_throttled_polls_in_a_row_is_waited_out(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(430, "too often"), envelope(455, "closed")] * 10)
    async with make_client() as client:
        answer = await client.poll_once("a")
        while isinstance(answer, PollPending):
            await anyio.sleep(answer.delay)
            answer = await client.poll_once("a", state=answer.state)
    assert len(provider.sent) >= 10


# Failures


@pytest.mark.parametrize("error", [envelope(500, "broken"), TransportError("cut")])
async def test_failures_back_off_across_processes(provider: FakeProvider, error: Answer) -> None:
    provider.script("a", *[error] * 7)
    state, delays = None, []
    for _ in range(7):
        answer = pending(await poll(provider, "a", state, retry=STEADY, rate_limit=None))
        state = answer.state
        delays.append(answer.delay)
        await anyio.sleep(answer.delay)
    assert delays == pytest.approx([0.5, 1, 2, 4, 8, 8, 8])
    provider.add("a", 1000)
    answer = pending(await poll(provider, "a", state, retry=STEADY, rate_limit=None))
    assert (answer.state["failures"], answer.state["same_kind"]) == (0, 0)
    assert answer.state["polls"] == 8
    provider.script("a", envelope(500, "broken"))
    answer = pending(await poll(provider, "a", answer.state, retry=STEADY, rate_limit=None))
    assert answer.delay == 0.5


@pytest.mark.parametrize(
    "answers, error, polls",
    [
        ([envelope(401, "no")], AuthenticationError, 1),
        ([envelope(404, "no")], NotFoundError, 1),
        ([envelope(429, "no")], InsufficientCreditsError, 1),
        ([envelope(422, "no")], APIError, 1),
        ([envelope(501, "no")], APIError, 1),
        ([UNKNOWN] * 9, TaskNotFoundError, 4),
        ([UNKNOWN, UNKNOWN, UNKNOWN, envelope(500, "broken"), *[UNKNOWN] * 9], APIError, 8),
    ],
)
async def test_a_stateless_poll_gives_up_where_a_wait_does(
    provider: FakeProvider, answers: list[Answer], error: type[APIError], polls: int
) -> None:
    provider.script("a", *answers)
    caught = await until_it_fails(provider, "a")
    assert isinstance(caught, error)
    assert len(provider.polls) == polls
    provider.polls.clear()
    provider._scripts.clear()
    provider.script("a", *answers)
    async with process(provider) as client:
        with pytest.raises(error) as of_a_wait:
            await client.wait_for_task("a")
    assert type(of_a_wait.value) is type(caught)
    assert len(provider.polls) == polls


async def test_five_unreadable_answers_in_a_row_are_the_last(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[STRANGE] * 4, TransportError("cut"), *[STRANGE] * 9)
    with pytest.raises(DecodeError):
        await until_it_ends(provider, "a")
    assert len(provider.polls) == 10


async def test_a_redirect_is_raised_after_the_attempts(provider: FakeProvider) -> None:
    provider.script("a", *[TransportError("moved", action=ErrorAction.RAISE)] * 9)
    with pytest.raises(TransportError, match="moved"):
        await until_it_ends(provider, "a")
    assert len(provider.polls) == 4


@pytest.mark.parametrize(
    "code, error", [(401, AuthenticationError), (429, InsufficientCreditsError)]
)
async def test_a_refusal_after_a_record_is_confirmed_by_another_poll(
    provider: FakeProvider, code: int, error: type[APIError]
) -> None:
    refused = envelope(code, "no")
    provider.script("a", record("a"), refused, record("a"), refused, refused)
    state = None
    for doubtful in (False, True, False, True):
        answer = pending(await poll(provider, "a", state, rate_limit=None))
        state = answer.state
        if doubtful:
            assert answer.delay == 1.0
    with pytest.raises(error):
        await poll(provider, "a", state, rate_limit=None)


async def test_a_refusal_of_a_client_that_got_records_is_confirmed_too(
    provider: FakeProvider,
) -> None:
    provider.script("b", envelope(401, "no"))
    async with make_client() as client:
        await client.get_task("a")
        answer = pending(await client.poll_once("b"))
        await anyio.sleep(answer.delay)
        assert isinstance(await client.poll_once("b", state=answer.state), PollDone)


async def test_a_new_task_unknown_to_the_api_gets_its_grace(
    provider: FakeProvider,
) -> None:
    provider.script("a", UNKNOWN, UNKNOWN, UNKNOWN, finished("a"))
    assert (await until_it_ends(provider, "a")).task.succeeded


# What policies get


async def test_policies_get_polls_and_elapsed_time_across_processes(
    provider: FakeProvider, wall: Wall
) -> None:
    provider.add("a", 1e6)
    policy = Seen()
    state = None
    for _ in range(4):
        answer = pending(await poll(provider, "a", state, poll=policy))
        state = answer.state
        await anyio.sleep(answer.delay)
    assert [each.polls for each in policy.contexts] == [1, 2, 3, 4]
    elapsed = [each.elapsed for each in policy.contexts]
    assert elapsed == pytest.approx([0, 10, 20, 30], abs=0.5)


async def test_policies_get_the_age_that_the_caller_knows(
    provider: FakeProvider, wall: Wall
) -> None:
    provider.add("a", 1e6)
    policy = Seen()
    ref = TaskRef("a", type="split_stem", created_at=datetime.fromtimestamp(wall() - 300, UTC))
    first = pending(await poll(provider, ref, poll=policy))
    await anyio.sleep(first.delay)
    await poll(provider, "a", first.state, poll=policy)
    assert [each.age for each in policy.contexts] == pytest.approx([300, 310], abs=0.5)


async def test_policies_see_the_model_of_the_type(provider: FakeProvider) -> None:
    provider.add("a", 1e6)
    policy = Seen()
    async with make_client(poll=policy) as client:
        await client.poll_once(TaskRef("a", type="split_stem"))
        assert policy.contexts[0].durations == client.durations.view(SeparationType.SPLIT_STEM)


async def test_policies_get_the_age_that_the_server_states(
    provider: FakeProvider, wall: Wall
) -> None:
    provider.is_dated = True
    provider.add("a", 1e6)
    await anyio.sleep(500)
    policy = Seen()
    first = pending(await poll(provider, "a", poll=policy))
    await anyio.sleep(first.delay)
    provider.is_dated = False
    await poll(provider, "a", first.state, poll=policy)
    assert [each.age for each in policy.contexts] == pytest.approx([500, 510], abs=1.5)


async def test_without_a_known_age_policies_get_the_guess_of_a_wait(
    provider: FakeProvider, wall: Wall
) -> None:
    provider.add("a", 1e6)
    policy, waits = Seen(), Seen()
    state = None
    for _ in range(5):
        answer = pending(await poll(provider, "a", state, poll=policy))
        state = answer.state
        await anyio.sleep(answer.delay)
    async with process(provider) as client:
        with anyio.move_on_after(45):
            await client.wait_for_task("a", poll=waits)
    ages = [each.age for each in waits.contexts]
    assert ages[0] == pytest.approx(GUESSED_AGE, abs=0.5)
    assert [each.age for each in policy.contexts] == pytest.approx(ages[:5], abs=0.5)


async def test_a_ref_that_comes_later_still_supplies_the_age(
    provider: FakeProvider, wall: Wall
) -> None:
    provider.add("a", 1e6)
    policy = Seen()
    first = pending(await poll(provider, "a", poll=policy))
    ref = TaskRef("a", created_at=datetime.fromtimestamp(wall() - 200, UTC))
    await poll(provider, ref, first.state, poll=policy)
    assert policy.contexts[1].age == pytest.approx(200, abs=0.5)


# Clocks


async def test_a_clock_that_was_set_back_makes_no_time_negative(
    provider: FakeProvider, wall: Wall
) -> None:
    provider.add("a", 1e6)
    policy = Seen()
    ref = TaskRef("a", created_at=datetime.fromtimestamp(wall(), UTC) - timedelta(seconds=60))
    first = pending(await poll(provider, ref, poll=policy))
    wall.ahead -= 7200
    second = pending(await poll(provider, ref, first.state, poll=policy))
    assert second.delay == 10
    assert (policy.contexts[1].elapsed, policy.contexts[1].age) == (0.0, 0.0)


async def test_a_clock_that_stands_at_1970_is_no_reason_to_fail(
    provider: FakeProvider, wall: Wall
) -> None:
    wall.ahead = -anyio.current_time() + 5
    provider.is_dated = True
    provider.add("a", 1e6)
    await anyio.sleep(500)
    wall.ahead = -anyio.current_time() + 5
    first = pending(await poll(provider, "a", poll=Interval(10)))
    assert pending(await poll(provider, "a", first.state, poll=Interval(10))).delay == 10


async def test_a_clock_set_a_year_ahead_delays_no_poll_for_days(
    provider: FakeProvider, wall: Wall
) -> None:
    provider.add("a", 1e9)
    ref = TaskRef("a", created_at=datetime.fromtimestamp(wall(), UTC))
    first = pending(await poll(provider, ref))
    wall.ahead += 365 * 86400
    second = pending(await poll(provider, ref, first.state))
    assert second.delay < 3600


# What is handed on


async def test_the_state_is_small_and_plain(provider: FakeProvider) -> None:
    provider.add("a", 1e6)
    async with make_client() as client:
        answer = pending(await client.poll_once("a"))
    assert json.loads(json.dumps(answer.state)) == answer.state
    assert len(json.dumps(answer.state)) < 300
    assert "a-key-for-tests" not in json.dumps(answer.state)


@pytest.mark.parametrize(
    "state",
    [
        7,
        "{}",
        [],
        [("polls", 1)],
        {"other": 1},
        {"polls": -1},
        {"polls": True},
        {"polls": "1"},
        {"polls": None},
        {"polls": 10**400},
        {"failures": math.nan},
        {"same_kind": math.inf},
        {"kind": 7},
        {"status": ["PENDING"]},
        {"began": math.inf},
        {"created": "yesterday"},
        {1: 2},
    ],
)
async def test_a_state_of_no_earlier_poll_is_refused_before_anything_is_sent(
    provider: FakeProvider, state: Any
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError):
            await client.poll_once("a", state=state)
    assert provider.sent == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=3), each),
    max_leaves=3,
)
NAMES = [
    "polls",
    "failures",
    "same_kind",
    "kind",
    "status",
    "began",
    "created",
    "understood",
    "other",
]
STATES = JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)


class TestGarbage:
    @given(state=STATES, later=st.lists(st.sampled_from(["runs", "cut", "throttled"]), max_size=3))
    def test_any_other_state_is_refused_or_leads_to_usable_states(
        self, state: Any, later: list[str]
    ) -> None:
        answers: dict[str, Answer] = {
            "runs": dated(record("a", createTime=1_800_000_000_000), 1_800_000_100),
            "cut": TransportError("cut"),
            "throttled": envelope(430, "too often"),
        }

        async def polls() -> None:
            with pytest.MonkeyPatch.context() as patch, provider_in_place(patch) as provider:
                provider.add("a", 1e6)
                provider.script("a", *(answers[each] for each in later))
                last = state
                for _ in range(len(later) + 1):
                    try:
                        answer = pending(await poll(provider, "a", last))
                    except InvalidArgumentError:
                        assert last is state
                        assert provider.sent == []
                        return
                    assert 0 <= answer.delay < math.inf
                    last = answer.state

        backend, options = VIRTUAL_TIME
        anyio.run(polls, backend=backend, backend_options=options)


# Many callers that cannot sleep


async def polled_to_the_end(client: VocalSepClient, task_id: str, calls: list[str]) -> float:
    """Poll as callers do that come back; the moment at which the end is known."""
    state = None
    while True:
        calls.append(task_id)
        answer = await client.poll_once(task_id, state=state)
        if isinstance(answer, PollDone):
            return anyio.current_time()
        await anyio.sleep(answer.delay)
        state = answer.state


@pytest.mark.own_limiter
async def test_callers_that_are_refused_come_back_one_after_the_other(
    provider: FakeProvider,
) -> None:
    delays = []
    async with make_client() as one, make_client() as other:
        for number in range(30):
            client = (one, other)[number % 2]
            answer = await client.poll_once(f"t{number}")
            if isinstance(answer, PollPending):
                delays.append(answer.delay)
    assert len(provider.sent) == 4
    gaps = [later - earlier for earlier, later in pairwise(delays)]
    assert gaps == pytest.approx([0.5] * 25)


@pytest.mark.own_limiter
async def test_a_caller_that_comes_before_its_turn_keeps_it(provider: FakeProvider) -> None:
    provider.add("a", 1000)
    async with make_client(rate_limit=RateLimit(1, 10.0)) as client:
        await client.poll_once("first")
        answers = [pending(await client.poll_once("a", state=None))]
        for _ in range(50):
            answers.append(pending(await client.poll_once("a", state=answers[-1].state)))
        assert [each.delay for each in answers] == pytest.approx([answers[0].delay] * 51, abs=1)
        # The next one comes after it, and not after fifty others.
        assert pending(await client.poll_once("b")).delay == pytest.approx(20, abs=1)


@pytest.mark.own_limiter
async def test_no_number_of_callers_is_put_off_for_long(provider: FakeProvider) -> None:
    async with make_client() as client:
        answers = [await client.poll_once(f"t{number}") for number in range(2000)]
    delays = [answer.delay for answer in answers if isinstance(answer, PollPending)]
    assert 290 < max(delays) < 310


@pytest.mark.own_limiter
async def test_sixty_callers_rarely_come_in_vain(provider: FakeProvider, wall: Wall) -> None:
    provider.limit = (20, 10.0)
    calls: list[str] = []
    clients = [make_client() for _ in range(60)]
    for number in range(60):
        provider.add(f"t{number}", 5)
    async with anyio.create_task_group() as group:
        for number, client in enumerate(clients):
            group.start_soon(polled_to_the_end, client, f"t{number}", calls)
    assert provider.throttled == 0
    assert len(calls) < 2.5 * len(provider.sent)
    assert anyio.current_time() - 1000 < 45
    for client in clients:
        await client.aclose()


@pytest.mark.own_limiter
@pytest.mark.parametrize("is_other", [True, False], ids=["of another client", "of the client"])
async def test_a_batch_that_could_use_every_slot_leaves_some_to_callers_that_come_in_turn(
    provider: FakeProvider, wall: Wall, *, is_other: bool
) -> None:
    for number in range(200):
        provider.add(f"t{number}", 60)
    provider.add("a", 20)
    async with make_client() as one, make_client() as other:
        batch = asyncio.ensure_future(one.wait_for_tasks([f"t{number}" for number in range(200)]))
        await anyio.sleep(30)
        began, calls = anyio.current_time(), list[str]()
        client = other if is_other else one
        assert await polled_to_the_end(client, "a", calls) - began < 10
        assert len(calls) <= 4
        batch.cancel()


@pytest.mark.own_limiter
async def test_a_caller_waits_for_its_turn_no_longer_than_a_moment(
    provider: FakeProvider, wall: Wall
) -> None:
    async with make_client(rate_limit=RateLimit(1, 100.0)) as client:
        await client.get_task("first")
        answer = pending(await client.poll_once("a"))
        await anyio.sleep(answer.delay - 1)
        call = asyncio.ensure_future(client.get_task("second"))
        await anyio.sleep(1)
        began = anyio.current_time()
        again = pending(await client.poll_once("a", state=answer.state))
        assert anyio.current_time() - began == pytest.approx(TURN_PATIENCE)
        assert again.delay > 90
        await call
    assert provider.sent == ["first", "second"]


async def test_a_timeout_of_the_limiter_itself_is_raised(
    provider: FakeProvider, wall: Wall
) -> None:
    class Failing(WrappedLimiter):
        async def acquire(self, bid: Any) -> Any:
            raise TimeoutError("the store")

        async def try_acquire(self, bid: Any) -> float:
            return 5.0

    async with make_client(limiter=Failing()) as client:
        answer = pending(await client.poll_once("a"))
        assert answer.delay == 5.0
        await anyio.sleep(answer.delay)
        with pytest.raises(TimeoutError, match="the store"):
            await client.poll_once("a", state=answer.state)
