"""Ages of tasks by the server's clock, with and without its Date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, make_client, record
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Interval
from vocalsep_async._polling.task_ages import Age, TaskAges
from vocalsep_async.models import SeparationTask, TaskStatus

pytestmark = pytest.mark.anyio

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def task(created: datetime | None, *, as_text: bool = False) -> SeparationTask:
    time: Any = None if created is None else int(created.timestamp() * 1000)
    if as_text and created is not None:
        time = created.strftime("%Y-%m-%d %H:%M:%S")
    return SeparationTask(
        task_id="a", status=TaskStatus.PENDING, created_at=created, raw={"createTime": time}
    )


def date(moment: datetime) -> dict[str, str]:
    return {"Date": format_datetime(moment, usegmt=True)}


def test_a_date_gives_the_exact_age_whatever_the_local_clock_says() -> None:
    answered = date(MIDNIGHT + timedelta(seconds=42))
    assert TaskAges().of(task(MIDNIGHT), answered, 1e9) == Age(42.0, is_exact=True)


@given(
    st.lists(st.floats(0, 3600), min_size=1, max_size=20),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e6),
)
def test_without_dates_no_task_is_taken_for_older_than_it_is(
    ages: list[float], behind: float, now: float
) -> None:
    """Whatever the difference of the clocks; the youngest one so far is 0 s old."""
    known = TaskAges()
    for index, age in enumerate(ages):
        created = datetime.fromtimestamp(now - behind - age + 1e9, UTC)
        found = known.of(task(created), {}, now)
        assert found is not None
        assert not found.is_exact
        youngest = min(ages[: index + 1])
        assert found.seconds == pytest.approx(age - youngest, abs=1e-3)
        assert found.seconds >= 0


def test_once_a_date_has_come_an_answer_without_one_gives_no_age() -> None:
    known = TaskAges()
    known.of(task(MIDNIGHT), date(MIDNIGHT), 5.0)
    assert known.of(task(MIDNIGHT), {}, 6.0) is None


@pytest.mark.parametrize(
    "record", [task(None), task(MIDNIGHT, as_text=True)], ids=["no time", "no time zone"]
)
def test_a_creation_time_that_may_be_wrong_gives_no_age(record: SeparationTask) -> None:
    assert TaskAges().of(record, {}, 5.0) is None


async def test_a_wait_learns_its_age_from_the_youngest_task_where_answers_have_no_date(
    provider: FakeProvider,
) -> None:
    """The creation times are those of another clock: only their differences count."""
    provider.script("young", record("young", createTime=1_000_000_300_000))
    provider.script("old", record("old", createTime=1_000_000_000_000))
    provider.add("young", 1000)
    provider.add("old", 1000)
    async with make_client() as client, anyio.create_task_group() as waits:
        waits.start_soon(client.wait_for_task, "young")
        await anyio.sleep(1)
        waits.start_soon(client.wait_for_task, "old")
        await anyio.sleep(1)
        targets = client._engine.poller._targets
        now = anyio.current_time()
        assert now - targets["young"].created == pytest.approx(2, abs=0.2)
        assert now - targets["old"].created == pytest.approx(302, abs=0.2)
        waits.cancel_scope.cancel()


async def test_a_guessed_age_tells_no_delay(provider: FakeProvider) -> None:
    provider.script("a", record("a", createTime=1_000_000_000_000))
    provider.script(
        "a",
        record(
            "a",
            "SUCCESS",
            createTime=1_000_000_000_000,
            completeTime=1_000_000_005_000,
            response={"vocalUrl": "https://cdn.example/v.mp3"},
        ),
    )
    async with make_client() as client, client.track(["a"], poll=Interval(20)) as batch:
        await anext(batch)
        assert batch.stats.mean_delay is None
