"""Links that have expired: one poll of the task refreshes all of them, and never a second one."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from downloads.stem_host import KEY, SIGNATURE, Hook, StemHost, audio, client_of, names_in
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled

from vocalsep_async import (
    DownloadError,
    InvalidArgumentError,
    SeparationTask,
    Stems,
    TaskStatus,
)
from vocalsep_async._downloads.source import StemLinks
from vocalsep_async.emulator import Emulator, Fault

pytestmark = pytest.mark.anyio

DAY = 86_400.0


def reject_old_links(status: int = 403, newest: int = 2) -> Hook:
    """Answer links from before the *newest* poll with *status*."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        is_old = int(request.query["poll"]) < newest
        return web.Response(status=status) if is_old else None

    return hook


def expiring_at(moment: datetime) -> str:
    return f"&Expires={moment.timestamp():.0f}"


def s3_query(signed: datetime, seconds: int) -> str:
    return f"&X-Amz-Date={signed:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}"


NOW = datetime.now(UTC)
SIGNED = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
A_DAY = timedelta(days=1)
LINK = "https://a.example/vocal"


# Of single links


async def never_poll() -> SeparationTask:
    raise AssertionError("the task must not be polled")


def links_with(vocal: str = LINK, *, completed_at: datetime | None = None) -> StemLinks:
    task = SeparationTask(
        task_id="t",
        status=TaskStatus.SUCCESS,
        stems=Stems(vocal=vocal),
        completed_at=completed_at,
    )
    return StemLinks(task, never_poll)


def s3(signed: datetime, seconds: object) -> str:
    return f"{LINK}?X-Amz-Date={signed:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}&X-Amz-Signature=1"


@pytest.mark.parametrize(
    "link, completed_at, expired",
    [
        pytest.param(f"{LINK}?Expires={(NOW - HOUR).timestamp():.0f}", None, True, id="past"),
        pytest.param(f"{LINK}?Expires={(NOW + HOUR).timestamp():.0f}", None, False, id="future"),
        pytest.param(f"{LINK}?Expires=-1&Key=k", None, True, id="before 1970"),
        pytest.param(s3(NOW - HOUR, 1200), None, True, id="S3, past"),
        pytest.param(s3(NOW - HOUR, 86400), None, False, id="S3, future"),
        pytest.param(
            f"{LINK}?Expires={(NOW + HOUR).timestamp():.0f}",
            NOW - 20 * A_DAY,
            False,
            id="link wins",
        ),
        pytest.param(LINK, NOW - 15 * A_DAY, True, id="15 days after the end"),
        pytest.param(LINK, NOW - 13 * A_DAY, False, id="13 days after the end"),
        pytest.param(LINK, NOW + 365 * A_DAY, False, id="ended in the future"),
        pytest.param(LINK, None, False, id="no expiry"),
        pytest.param(f"{LINK}?X-Amz-Date=20200101T000000Z", None, False, id="half of S3"),
    ],
)
@pytest.mark.usefixtures("any_zone")
def test_a_link_expires_when_it_says_so_or_else_14_days_after_its_task(
    link: str, completed_at: datetime | None, *, expired: bool
) -> None:
    links = links_with(link, completed_at=completed_at)
    assert links.has_expired("vocal") is expired
    assert links.get("vocal") == link


@pytest.mark.parametrize(
    "link",
    [
        f"{LINK}?Expires=",
        f"{LINK}?Expires=soon",
        f"{LINK}?Expires=1e9",
        f"{LINK}?Expires={'9' * 30}",
        f"{LINK}?Expires={'9' * 5000}",
        f"{LINK}?Expires=-{'9' * 18}",
        s3(SIGNED, "soon"),
        s3(SIGNED, "9" * 30),
        f"{LINK}?X-Amz-Date=yesterday&X-Amz-Expires=60",
        f"{LINK}?X-Amz-Date=20200101T000000&X-Amz-Expires=60",
        "https://[half?Expires=1",
        "",
    ],
)
def test_an_unreadable_expiry_is_ignored(link: str) -> None:
    assert links_with(link).has_expired("vocal") is False
    done = links_with(link, completed_at=NOW - 20 * A_DAY)
    assert done.has_expired("vocal") is True


@given(st.text(), st.text())
def test_no_link_makes_the_check_for_expiry_fail(one: str, other: str) -> None:
    link = f"{LINK}?Expires={one}&X-Amz-Date={other}&X-Amz-Expires={one}"
    assert links_with(link).has_expired("vocal") in (True, False)
    assert links_with(one + other).has_expired("vocal") in (True, False)


@pytest.mark.parametrize("days", [0, 1, 13, 14])
def test_links_of_a_task_that_ended_at_the_latest_date_have_not_expired(days: int) -> None:
    completed_at = datetime.max.replace(tzinfo=UTC) - timedelta(days=days)
    assert links_with(completed_at=completed_at).has_expired("vocal") is False


def test_a_stem_without_a_link_has_no_link_that_expires() -> None:
    links = links_with(completed_at=NOW - 20 * A_DAY)
    assert links.get("drums") is None
    assert links.has_expired("drums") is False


# Of downloads


REFUSALS = sorted(set(range(400, 500)) - {408, 416, 425, 429})


@pytest.mark.parametrize("status", sampled(REFUSALS, one_in=4))
async def test_any_refusal_of_a_link_is_worth_one_poll_for_a_fresh_one(
    status: int, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal"))
        host.hook = reject_old_links(status)
        report = await client.download_stems(task, tmp_path)
    assert host.polls == ["a", "a"]
    assert [request.query["poll"] for request in host.seen] == ["1", "2"]
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]


@pytest.mark.parametrize("status", [408, 416, 425, 429])
@pytest.mark.usefixtures("impatient")
async def test_a_refusal_of_the_request_is_worth_no_poll(status: int, tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal"))
        host.hook = reject_old_links(status)
        with pytest.raises(DownloadError, match=f"answered {status}"):
            await client.download_stems(task, tmp_path)
    assert host.polls == ["a"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 419, 451, 498])
async def test_one_poll_refreshes_the_expired_links_of_all_stems(
    status: int, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", "drums", "bass", "guitar", "piano"))
        host.hook = reject_old_links(status)
        report = await client.download_stems(task, tmp_path, max_concurrency=3)
        requests = client.stats.requests
    assert host.polls == ["a", "a"]
    assert requests == 2
    assert len(report.files) == 5
    assert all(file.path.read_bytes() == host.files[f"a/{file.stem}"] for file in report.files)


async def test_one_poll_refreshes_the_expired_links_of_the_emulator(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task(type="split_stem", duration=0))
        emulator.expire_links()
        report = await client.download_stems(task, tmp_path)
        polls = [request for request in emulator.requests if request.path.startswith("/api/")]
    assert len(polls) == 2
    assert len(report.files) == 12


async def test_the_manifest_holds_the_record_of_the_last_poll(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal"))
        host.hook = reject_old_links()
        await client.download_stems(task, tmp_path)
    text = (tmp_path / "a" / "manifest.json").read_text()
    assert "poll=2" in text
    assert "poll=1" not in text


async def test_valid_links_need_no_poll(tmp_path: Path) -> None:
    in_an_hour = expiring_at(NOW + timedelta(hours=1))
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda *link: host.link(*link) + in_an_hour
        task = await client.get_task(host.add("a", "vocal", "drums"))
        await client.download_stems(task, tmp_path)
    assert host.polls == ["a"]
    assert len(host.seen) == 2


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(expiring_at(NOW - timedelta(minutes=1)), id="Expires"),
        pytest.param(s3_query(NOW - timedelta(hours=2), 3600), id="X-Amz-Expires"),
    ],
)
async def test_a_link_that_states_a_past_expiry_is_not_requested(
    ending: str, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda task, stem, poll: (
            host.link(task, stem, poll) + (ending if poll == 1 else "")
        )
        task = await client.get_task(host.add("a", "vocal", "drums"))
        report = await client.download_stems(task, tmp_path)
    assert host.polls == ["a", "a"]
    assert [request.query["poll"] for request in host.seen] == ["2", "2"]
    assert len(report.files) == 2


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(s3_query(NOW - timedelta(hours=2), 3 * 3600), id="holds"),
        "&Expires=soon",
        "&Expires=99999999999999999999",
        "&Expires=",
        "&X-Amz-Date=yesterday&X-Amz-Expires=1",
        "&X-Amz-Date=20200101T000000Z",
    ],
)
async def test_a_link_that_states_no_past_expiry_is_requested(ending: str, tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda *link: host.link(*link) + ending
        task = await client.get_task(host.add("a", "vocal"))
        await client.download_stems(task, tmp_path)
    assert host.polls == ["a"]
    assert len(host.seen) == 1


@pytest.mark.parametrize("age, polls", [(13 * DAY, 1), (15 * DAY, 2)])
async def test_links_are_refreshed_14_days_after_their_task(
    age: float, polls: int, tmp_path: Path
) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task(type="split_stem", duration=0, age=age))
        report = await client.download_stems(task, tmp_path)
        paths = [request.path for request in emulator.requests]
    assert sum(path.startswith("/api/") for path in paths) == polls
    assert sum(path.startswith("/files/") for path in paths) == len(report.files) == 12


async def test_an_expired_link_is_requested_if_the_poll_brings_no_other(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda task, stem, _: host.link(task, stem, 1) + "&Expires=1000"
        task = await client.get_task(host.add("a", "vocal", "drums"))
        report = await client.download_stems(task, tmp_path)
    assert host.polls == ["a", "a"]
    assert len(host.seen) == len(report.files) == 2


async def test_a_poll_that_brings_the_same_dead_link_is_not_repeated(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda task, stem, _: host.link(task, stem, 1)
        host.hook = reject_old_links()
        task = await client.get_task(host.add("a", "vocal", "drums"))
        with pytest.raises(DownloadError) as caught:
            await client.download_stems(task, tmp_path)
    assert "the link has expired (403), and a poll of the task gave no other link" in str(
        caught.value
    )
    assert caught.value.report is not None
    assert len(caught.value.report.errors) == 2
    assert host.polls == ["a", "a"]
    assert len(host.seen) == 2
    assert names_in(tmp_path / "a") == set()


async def test_a_poll_that_brings_another_dead_link_is_not_repeated(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = reject_old_links(410, newest=1000)
        task = await client.get_task(host.add("a", "vocal", "drums"))
        with pytest.raises(DownloadError, match=r"the link has expired \(410\)"):
            await client.download_stems(task, tmp_path)
    assert host.polls == ["a", "a"]
    for name in ("a/vocal", "a/drums"):
        # The stem that is requested second may use the fresh link from the start.
        assert [request.query["poll"] for request in host.requests_for(name)] in (["1", "2"], ["2"])


async def test_a_stem_that_the_poll_no_longer_lists_is_an_error_of_that_stem(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", "drums"))
        host.link_of = lambda *link: None if link[1] == "vocal" else host.link(*link)
        host.hook = reject_old_links()
        with pytest.raises(DownloadError, match="gave no") as caught:
            await client.download_stems(task, tmp_path)
    assert caught.value.stem == "vocal"
    assert caught.value.url is None
    assert caught.value.report is not None
    assert list(caught.value.report.paths) == ["drums"]
    assert host.polls == ["a", "a"]


async def test_an_expired_link_without_a_successor_is_not_requested(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda task, stem, poll: (
            None if poll > 1 and stem == "vocal" else host.link(task, stem, poll) + "&Expires=1000"
        )
        task = await client.get_task(host.add("a", "vocal", "drums"))
        with pytest.raises(DownloadError, match="the last poll of the task gave no link"):
            await client.download_stems(task, tmp_path)
    assert [request.name for request in host.seen] == ["a/drums"]


async def test_a_failed_poll_is_reported_without_secrets_and_not_repeated(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", "drums"))
        host.hook = reject_old_links()
        host.api_code = 401
        with pytest.raises(DownloadError) as caught:
            await client.download_stems(task, tmp_path)
    assert caught.value.report is not None
    errors = caught.value.report.errors
    text = "".join(line for error in errors for line in traceback.format_exception(error))
    assert "has expired (403), and the poll for another one failed: " in text
    assert "has expired (403), and a poll of the task gave no other link" in text
    assert "401" in text
    assert SIGNATURE not in text
    assert KEY not in text
    assert host.polls == ["a", "a"]
    assert len(host.seen) == 2


async def test_a_poll_that_fails_transiently_is_retried(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task(duration=0))
        emulator.expire_links()
        emulator.inject(Fault.SERVER_ERROR, 2)
        report = await client.download_stems(task, tmp_path)
        assert client.stats.requests == 4
    assert len(report.files) == 2


async def test_a_link_that_expires_in_the_middle_of_a_file_is_refreshed_and_the_rest_fetched(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", size=3_000_000))
        host.cut("a/vocal", 1_500_000)

        async def expires_after_the_first(request: web.Request) -> web.StreamResponse | None:
            is_dead = len(host.seen) > 1 and request.query["poll"] == "1"
            return web.Response(status=403) if is_dead else None

        host.hook = expires_after_the_first
        report = await client.download_stems(task, tmp_path)
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert [request.query["poll"] for request in host.seen] == ["1", "1", "2"]
    assert host.seen[2].headers["Range"] == host.seen[1].headers["Range"] != "bytes=0-"
    assert host.polls == ["a", "a"]


async def test_another_file_at_the_fresh_link_is_fetched_from_the_start(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", size=3_000_000))
        host.cut("a/vocal", 1_500_000)

        async def becomes_another(request: web.Request) -> web.StreamResponse | None:
            if len(host.seen) == 2:
                host.files["a/vocal"] = audio("another", 2_000_000)
                return web.Response(status=404)
            return None

        host.hook = becomes_another
        report = await client.download_stems(task, tmp_path)
    assert report.paths["vocal"].read_bytes() == audio("another", 2_000_000)


async def test_an_expired_link_of_a_stream_is_refreshed() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal"))
        host.hook = reject_old_links()
        async with client.open_stem(task, "vocal") as stream:
            read = b"".join([chunk async for chunk in stream])
    assert read == host.files["a/vocal"]
    assert host.polls == ["a", "a"]


async def test_links_that_always_expire_immediately_do_not_cause_endless_requests(
    tmp_path: Path,
) -> None:
    async with Emulator(link_lifetime=0) as emulator, client_of(emulator.url) as client:
        task_id = emulator.add_task(type="split_stem", duration=0)
        with pytest.raises(DownloadError, match="the link has expired") as caught:
            await client.download_stems(task_id, tmp_path)
        paths = [request.path for request in emulator.requests]
    assert caught.value.report is not None
    assert len(caught.value.report.errors) == 12
    assert sum(path.startswith("/api/") for path in paths) == 2
    assert 12 <= sum(path.startswith("/files/") for path in paths) <= 24


async def test_a_task_without_the_wanted_stem_costs_no_second_poll(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal")
        with pytest.raises(InvalidArgumentError):
            await client.download_stems("a", tmp_path, stems=["vocals"])
    assert host.polls == ["a"]
