"""Faults during a wait: which are waited out, and which end it; in virtual time."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from fakes import Answer, FakeProvider, bare, envelope, finished, is_idle, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    APIError,
    AuthenticationError,
    DecodeError,
    ErrorAction,
    InsufficientCreditsError,
    Interval,
    MaintenanceError,
    NotFoundError,
    RateLimit,
    RateLimitedError,
    ServerError,
    TaskNotFoundError,
    TaskTimeoutError,
    TransportError,
    VocalSepError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    "fault",
    [
        envelope(500, "broken"),
        envelope(430, "too often"),
        envelope(405, "too often"),
        envelope(455, "maintenance"),
        envelope(200, data=None),
        TransportError("cut"),
        envelope(200, data="strange"),
    ],
)
async def test_a_temporary_fault_is_waited_out(provider: FakeProvider, fault: Any) -> None:
    provider.script("a", record("a"), fault, fault)
    async with make_client() as client:
        assert (await client.wait_for_task("a")).succeeded


@pytest.mark.parametrize("code, error", [(400, APIError), (404, NotFoundError)])
async def test_a_permanent_error_ends_the_wait(
    provider: FakeProvider, code: int, error: type[APIError]
) -> None:
    provider.script("a", record("a"), envelope(code, "no"))
    async with make_client() as client:
        with pytest.raises(error) as caught:
            await client.wait_for_task("a")
    assert len(provider.times("a")) == 2
    assert caught.value.task_id == "a"


REFUSALS = [(401, AuthenticationError), (429, InsufficientCreditsError)]


@pytest.mark.parametrize("code, error", REFUSALS)
async def test_a_refusal_of_the_account_ends_the_wait_once_a_second_poll_confirms_it(
    provider: FakeProvider, code: int, error: type[APIError]
) -> None:
    provider.script("a", record("a"), *[envelope(code, "no")] * 2)
    async with make_client() as client:
        with pytest.raises(error):
            await client.wait_for_task("a")
    _, first, second = provider.times("a")
    assert second - first == pytest.approx(1.1)


@pytest.mark.parametrize("code, error", REFUSALS)
async def test_a_refusal_that_is_the_first_answer_ends_the_wait_immediately(
    provider: FakeProvider, code: int, error: type[APIError]
) -> None:
    provider.script("a", envelope(code, "no"))
    async with make_client() as client:
        with pytest.raises(error):
            await client.wait_for_task("a")
    assert len(provider.times("a")) == 1


@pytest.mark.parametrize("code", [401, 429])
async def test_one_refusal_in_a_run_that_goes_well_ends_nothing(
    provider: FakeProvider, code: int
) -> None:
    ids = [f"t{number}" for number in range(30)]
    for task_id in ids:
        provider.add(task_id, 60)
    provider.script("t7", record("t7"), envelope(code, "no"))
    async with make_client(rate_limit=None) as client:
        outcomes = await client.wait_for_tasks(ids)
    assert all(outcome.succeeded for outcome in outcomes.values())


async def test_answers_to_polls_from_before_a_refusal_do_not_confirm_it(
    provider: FakeProvider,
) -> None:
    ids = [f"t{number}" for number in range(8)]
    for task_id in ids:
        provider.script(task_id, record(task_id), envelope(401, "no"))
    async with make_client(rate_limit=RateLimit(1000, 1.0)) as client:
        outcomes = await client.wait_for_tasks(ids, poll=Interval(5))
    assert all(outcome.succeeded for outcome in outcomes.values())


async def test_a_task_that_alone_is_refused_ends_alone(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(401, "no")] * 5)
    provider.add("b", 60)
    async with make_client(rate_limit=None) as client:
        await client.get_task("b")
        outcomes = await client.wait_for_tasks(["a", "b"], poll=Interval(0.5))
    assert isinstance(outcomes["a"].error, AuthenticationError)
    assert outcomes["b"].succeeded
    assert len(provider.times("a")) == 2


PAGE = b"<html>Please log in</html>"
DISTURBANCES: dict[str, Answer] = {
    "forbidden page": bare(403, PAGE),
    "missing page": bare(404, PAGE),
    "page under 200": bare(200, PAGE),
    "empty 200": bare(200),
    "JSON of something else": bare(200, b'{"status": "ok"}'),
    "redirect": TransportError("redirected", action=ErrorAction.RAISE),
    "bad certificate": TransportError("certificate", action=ErrorAction.RAISE),
    "gone": bare(410),
    "gateway": bare(502, PAGE),
}


@pytest.mark.parametrize("what", DISTURBANCES)
async def test_what_something_in_between_answers_is_waited_out_once_the_api_was_heard(
    provider: FakeProvider, what: str
) -> None:
    ids = [f"t{number}" for number in range(12)]
    for task_id in ids:
        provider.script(task_id, record(task_id), *[DISTURBANCES[what]] * 9)
    async with make_client(rate_limit=None) as client:
        outcomes = await client.wait_for_tasks(ids)
        assert all(outcome.succeeded for outcome in outcomes.values())
        provider.script("single", *[DISTURBANCES[what]] * 9)
        assert (await client.wait_for_task("single")).succeeded


@pytest.mark.parametrize("what", sorted(set(DISTURBANCES) - {"gateway"}))
async def test_a_client_that_never_heard_the_api_gives_up_early(
    provider: FakeProvider, what: str
) -> None:
    provider.every_answer = lambda _: DISTURBANCES[what]
    began = anyio.current_time()
    async with make_client() as client:
        with pytest.raises(VocalSepError):
            await client.wait_for_task("a", timeout=None)
    assert len(provider.sent) <= 12
    assert anyio.current_time() - began < 60


async def test_an_endless_disturbance_lasts_until_the_deadline(provider: FakeProvider) -> None:
    provider.script("a", record("a"), *[bare(404, PAGE)] * 1000)
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=100)
    assert isinstance(caught.value.last_error, NotFoundError)
    assert 10 < caught.value.polls < 40


async def test_an_endless_fault_lasts_until_the_deadline(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(500, "broken")] * 1000)
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=100)
    assert isinstance(caught.value.last_error, ServerError)
    assert 10 < caught.value.polls < 30


async def test_five_unreadable_answers_in_a_row_end_the_wait(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(200, data="strange")] * 4, record("a"))
    provider.script("a", *[envelope(200, data="strange")] * 5)
    async with make_client() as client:
        with pytest.raises(DecodeError):
            await client.wait_for_task("a")
    assert len(provider.times("a")) == 10


async def test_an_unknown_task_gets_a_short_grace(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(200)] * 10)
    async with make_client() as client:
        with pytest.raises(TaskNotFoundError):
            await client.wait_for_task("a")
    assert len(provider.times("a")) == 4


async def test_the_record_of_another_task_is_never_returned(provider: FakeProvider) -> None:
    provider.script("a", finished("b"))
    async with make_client() as client:
        assert (await client.wait_for_task("a")).task_id == "a"


async def test_a_task_that_is_not_found_gets_its_grace_and_then_an_error_that_says_so(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[envelope(404, "Task not found")] * 2)
    provider.script("b", *[envelope(404, "Task not found")] * 100)
    async with make_client() as client:
        assert (await client.wait_for_task("a")).succeeded
        with pytest.raises(TaskNotFoundError, match="task not found: 'b'"):
            await client.wait_for_task("b")
    assert len(provider.times("b")) == 4


async def test_maintenance_is_probed_once_a_minute_at_most(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(455, "maintenance")] * 1000)
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=3600)
    assert isinstance(caught.value.last_error, MaintenanceError)
    assert len(provider.times("a")) <= 61


async def test_a_wait_lasts_until_its_deadline_though_a_pause_outlasts_it(
    provider: FakeProvider,
) -> None:
    provider.script("a", envelope(430, "too often", Retry_After="120"))
    provider.add("b", math.inf)
    began = anyio.current_time()
    async with make_client() as client, anyio.create_task_group() as group:

        async def bystander() -> None:
            with pytest.raises(TaskTimeoutError) as caught:
                await client.wait_for_task("b", timeout=119)
            assert anyio.current_time() == pytest.approx(began + 119)
            assert isinstance(caught.value.last_error, RateLimitedError)

        group.start_soon(bystander)
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=60)
        assert anyio.current_time() == pytest.approx(began + 60)
    assert isinstance(caught.value.last_error, RateLimitedError)


async def test_a_throttled_poll_pauses_the_whole_client(provider: FakeProvider) -> None:
    provider.add("b", 30)
    provider.script("a", envelope(430, "too often", Retry_After="20"))
    began = anyio.current_time()
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "a")
        group.start_soon(client.wait_for_task, "b")
        await anyio.sleep(1)
        assert client.stats.paused_for == pytest.approx(19.1, abs=0.2)
        assert client.stats.throttled == 1
        group.start_soon(client.get_task, "c")
    assert [at for at, _ in provider.polls if began + 0.2 < at < began + 20] == []


async def test_an_unknown_status_is_pending_and_causes_one_warning(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.script("a", record("a", "REFINING"), record("a", "REFINING"))
    seen: list[str] = []
    async with make_client() as client:
        await client.wait_for_task("a", on_update=lambda task: seen.append(task.status))
    assert seen == ["REFINING", "REFINING", "SUCCESS"]
    assert caplog.text.count("REFINING") == 1


@pytest.mark.parametrize("fields", [{}, {"successFlag": None}, {"successFlag": ""}])
async def test_a_wait_goes_on_while_records_have_no_status(
    provider: FakeProvider, fields: Any
) -> None:
    provider.script("a", *[envelope(200, data={"taskId": "a", **fields})] * 12)
    async with make_client() as client:
        assert (await client.wait_for_task("a")).succeeded
    assert len(provider.times("a")) > 12


@pytest.mark.parametrize(
    "fields, succeeded",
    [
        ({"errorCode": 413}, False),
        ({"response": {"vocalUrl": "https://cdn.example/v.mp3"}}, True),
    ],
)
async def test_an_end_under_an_unknown_status_ends_a_wait_and_causes_one_warning(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture, fields: Any, *, succeeded: bool
) -> None:
    provider.script("a", record("a", "OVER", completeTime=1_700_000_000_000, **fields))
    async with make_client() as client:
        outcome = (await client.wait_for_tasks(["a"]))["a"]
    assert (outcome.status, outcome.succeeded, outcome.polls) == ("OVER", succeeded, 1)
    (warning,) = [each.message for each in caplog.records if "OVER" in each.message]
    assert warning == "unknown status 'OVER' is taken for the end of the task"


async def test_a_failing_tracing_hook_ends_the_wait_with_its_own_error(
    provider: FakeProvider,
) -> None:
    provider.script("a", LookupError("the hook is broken"))
    async with make_client() as client:
        with pytest.raises(LookupError, match="the hook is broken"):
            await client.wait_for_task("a")
        assert is_idle()


async def test_failures_of_changing_kinds_back_off_too(provider: FakeProvider) -> None:
    for _ in range(300):
        provider.script("a", envelope(500, "broken"), TransportError("cut"))
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=100)
    assert caught.value.polls < 30


async def test_a_server_clock_hours_off_stops_no_polls(provider: FakeProvider) -> None:
    pending = record("a", createTime=1_800_000_000_000)
    off = pending._replace(headers={"Date": "Fri, 15 Jan 2027 16:00:00 GMT"})
    provider.script("a", *[off] * 12)
    async with make_client() as client:
        assert (await client.wait_for_task("a", timeout=200)).succeeded


async def test_unknown_statuses_are_truncated_and_cause_few_warnings(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.script("a", *[record("a", f"{n}\x1b[31m\n" + "y" * 2000) for n in range(200)])
    async with make_client(rate_limit=None) as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=100, poll=Interval(1))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert len(caplog.records) == 20
