"""Links that expire, and one look that renews those of a whole task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._downloads.links import StemLinks
from vocalsep_async.errors import TransportError
from vocalsep_async.models import SeparationTask, Stems, TaskStatus

NOW = datetime.now(UTC)
SIGNED = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
OLD, FRESH = "https://a.example/old", "https://a.example/fresh"


def task_with(
    *, vocal: str | None = OLD, drums: str | None = None, completed_at: datetime | None = None
) -> SeparationTask:
    stems = Stems(vocal=vocal, drums=drums)
    return SeparationTask(
        task_id="t", status=TaskStatus.SUCCESS, stems=stems, completed_at=completed_at
    )


async def never() -> SeparationTask:
    raise AssertionError("nobody asked for a look")


class Look:
    """Looks at a task: one record after the other.

    Attributes:
        count: how many were made.
        may_end: whether they come to an end.
    """

    def __init__(self, *records: SeparationTask | Exception) -> None:
        self.count = 0
        self.may_end = anyio.Event()
        self.may_end.set()
        self._records = list(records)

    async def __call__(self) -> SeparationTask:
        self.count += 1
        await self.may_end.wait()
        record = self._records.pop(0)
        if isinstance(record, Exception):
            raise record
        return record


def links_of(
    task: SeparationTask, poll: Callable[[], Awaitable[SeparationTask]] = never
) -> StemLinks:
    return StemLinks(task, poll)


def aws(signed: datetime, seconds: object) -> str:
    return f"{OLD}?X-Amz-Date={signed:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}&X-Amz-Signature=1"


@pytest.mark.parametrize(
    "link, completed_at, expired",
    [
        pytest.param(f"{OLD}?Expires={(NOW - HOUR).timestamp():.0f}", None, True, id="past"),
        pytest.param(f"{OLD}?Expires={(NOW + HOUR).timestamp():.0f}", None, False, id="to come"),
        pytest.param(f"{OLD}?Expires=-1&Key=k", None, True, id="before 1970"),
        pytest.param(aws(NOW - HOUR, 1200), None, True, id="AWS, past"),
        pytest.param(aws(NOW - HOUR, 86400), None, False, id="AWS, to come"),
        pytest.param(
            f"{OLD}?Expires={(NOW + HOUR).timestamp():.0f}", NOW - 20 * DAY, False, id="link wins"
        ),
        pytest.param(OLD, NOW - 15 * DAY, True, id="15 days after the end"),
        pytest.param(OLD, NOW - 13 * DAY, False, id="13 days after the end"),
        pytest.param(OLD, NOW + 365 * DAY, False, id="ended in the future"),
        pytest.param(OLD, None, False, id="nothing is known"),
        pytest.param(f"{OLD}?X-Amz-Date=20200101T000000Z", None, False, id="half of AWS"),
    ],
)
@pytest.mark.usefixtures("any_zone")
def test_a_link_is_past_its_time_by_what_it_says_or_else_14_days_after_the_task(
    link: str, completed_at: datetime | None, *, expired: bool
) -> None:
    links = links_of(task_with(vocal=link, completed_at=completed_at))
    assert links.has_expired("vocal") is expired
    assert links.get("vocal") == link


@pytest.mark.parametrize(
    "link",
    [
        f"{OLD}?Expires=",
        f"{OLD}?Expires=soon",
        f"{OLD}?Expires=1e9",
        f"{OLD}?Expires={'9' * 30}",
        f"{OLD}?Expires={'9' * 5000}",
        f"{OLD}?Expires=-{'9' * 18}",
        aws(SIGNED, "soon"),
        aws(SIGNED, "9" * 30),
        f"{OLD}?X-Amz-Date=yesterday&X-Amz-Expires=60",
        f"{OLD}?X-Amz-Date=20200101T000000&X-Amz-Expires=60",
        "https://[half?Expires=1",
        "",
    ],
)
def test_a_time_that_cannot_be_read_does_not_count(link: str) -> None:
    assert links_of(task_with(vocal=link)).has_expired("vocal") is False
    done = links_of(task_with(vocal=link, completed_at=NOW - 20 * DAY))
    assert done.has_expired("vocal") is True


@given(st.text(), st.text())
def test_whatever_a_link_holds_the_question_has_an_answer(one: str, other: str) -> None:
    link = f"{OLD}?Expires={one}&X-Amz-Date={other}&X-Amz-Expires={one}"
    assert links_of(task_with(vocal=link)).has_expired("vocal") in (True, False)
    assert links_of(task_with(vocal=one + other)).has_expired("vocal") in (True, False)


@pytest.mark.parametrize("days", [0, 1, 13, 14])
def test_a_task_that_ended_at_the_end_of_all_times_has_links_that_are_good(days: int) -> None:
    completed_at = datetime.max.replace(tzinfo=UTC) - timedelta(days=days)
    assert links_of(task_with(completed_at=completed_at)).has_expired("vocal") is False


def test_a_stem_without_a_link_has_none_that_could_expire() -> None:
    links = links_of(task_with(completed_at=NOW - 20 * DAY))
    assert links.get("drums") is None
    assert links.has_expired("drums") is False


@pytest.mark.anyio
async def test_a_look_brings_another_link() -> None:
    poll = Look(task_with(vocal=FRESH))
    links = links_of(task_with(), poll)
    assert await links.renewed("vocal", OLD) is True
    assert links.get("vocal") == FRESH
    assert links.task == task_with(vocal=FRESH)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "record",
    [
        pytest.param(task_with(), id="the same link"),
        pytest.param(task_with(vocal=None, drums=FRESH), id="no link any more"),
    ],
)
async def test_a_look_that_brings_no_other_link_is_the_only_one(record: SeparationTask) -> None:
    poll = Look(record)
    links = links_of(task_with(), poll)
    for _ in range(3):
        assert await links.renewed("vocal", OLD) is False
    assert poll.count == 1


@pytest.mark.anyio
async def test_a_fresh_link_that_is_dead_too_is_not_renewed_again() -> None:
    poll = Look(task_with(vocal=FRESH))
    links = links_of(task_with(), poll)
    await links.renewed("vocal", OLD)
    assert await links.renewed("vocal", FRESH) is False
    assert poll.count == 1


@pytest.mark.anyio
async def test_all_stems_of_a_task_share_one_look() -> None:
    poll = Look(task_with(vocal=FRESH, drums=f"{FRESH}/drums"))
    poll.may_end = anyio.Event()
    links = links_of(task_with(drums=f"{OLD}/drums"), poll)
    renewed: dict[str, bool] = {}

    async def renew(stem: str, link: str) -> None:
        renewed[stem] = await links.renewed(stem, link)

    async with anyio.create_task_group() as group:
        group.start_soon(renew, "vocal", OLD)
        group.start_soon(renew, "drums", f"{OLD}/drums")
        await anyio.wait_all_tasks_blocked()
        poll.may_end.set()
    assert renewed == {"vocal": True, "drums": True}
    assert await links.renewed("drums", f"{OLD}/drums") is True
    assert poll.count == 1


@pytest.mark.anyio
async def test_a_look_that_failed_is_told_and_not_made_again() -> None:
    poll = Look(TransportError("no connection"))
    links = links_of(task_with(), poll)
    with pytest.raises(TransportError, match="no connection"):
        await links.renewed("vocal", OLD)
    assert await links.renewed("vocal", OLD) is False
    assert links.get("vocal") == OLD
    assert poll.count == 1
