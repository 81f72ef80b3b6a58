"""Links that have expired: one look at the task brings fresh ones, and nothing goes round."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from downloads.stem_host import KEY, SIGNATURE, Hook, StemHost, audio, client_of, names_in

from vocalsep_async import ConfigurationError, DownloadError
from vocalsep_async.emulator import Emulator, Fault

pytestmark = pytest.mark.anyio

DAY = 86_400.0


def old_links_end(status: int = 403, newest: int = 2) -> Hook:
    """Links of looks before the *newest* one are answered with *status*."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        is_old = int(request.query["look"]) < newest
        return web.Response(status=status) if is_old else None

    return hook


def ending_at(moment: datetime) -> str:
    return f"&Expires={moment.timestamp():.0f}"


def amazon(signed: datetime, seconds: int) -> str:
    return f"&X-Amz-Date={signed:%Y%m%dT%H%M%SZ}&X-Amz-Expires={seconds}"


NOW = datetime.now(UTC)


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_all_stems_of_a_task_share_one_look_when_their_links_have_expired(
    status: int, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", "drums", "bass", "guitar", "piano"))
        host.hook = old_links_end(status)
        report = await client.download_stems(task, tmp_path, max_concurrency=3)
        requests = client.stats.requests
    assert host.polls == ["a", "a"]
    assert requests == 2
    assert len(report.files) == 5
    assert all(file.path.read_bytes() == host.files[f"a/{file.stem}"] for file in report.files)


async def test_ended_links_of_the_emulator_are_renewed_by_one_look(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task(type="split_stem", duration=0))
        emulator.expire_links()
        report = await client.download_stems(task, tmp_path)
        polls = [request for request in emulator.requests if request.path.startswith("/api/")]
    assert len(polls) == 2
    assert len(report.files) == 12


async def test_the_manifest_holds_the_record_of_the_look(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal"))
        host.hook = old_links_end()
        await client.download_stems(task, tmp_path)
    told = (tmp_path / "a" / "manifest.json").read_text()
    assert "look=2" in told
    assert "look=1" not in told


async def test_links_that_hold_need_no_look(tmp_path: Path) -> None:
    in_an_hour = ending_at(NOW + timedelta(hours=1))
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda *link: host.link(*link) + in_an_hour
        task = await client.get_task(host.add("a", "vocal", "drums"))
        await client.download_stems(task, tmp_path)
    assert host.polls == ["a"]
    assert len(host.seen) == 2


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(ending_at(NOW - timedelta(minutes=1)), id="Expires"),
        pytest.param(amazon(NOW - timedelta(hours=2), 3600), id="X-Amz-Expires"),
    ],
)
async def test_a_link_that_says_it_has_ended_is_not_asked_at_all(
    ending: str, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda task, stem, poll: (
            host.link(task, stem, poll) + (ending if poll == 1 else "")
        )
        task = await client.get_task(host.add("a", "vocal", "drums"))
        report = await client.download_stems(task, tmp_path)
    assert host.polls == ["a", "a"]
    assert [seen.query["look"] for seen in host.seen] == ["2", "2"]
    assert len(report.files) == 2


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(amazon(NOW - timedelta(hours=2), 3 * 3600), id="holds"),
        "&Expires=soon",
        "&Expires=99999999999999999999",
        "&Expires=",
        "&X-Amz-Date=yesterday&X-Amz-Expires=1",
        "&X-Amz-Date=20200101T000000Z",
    ],
)
async def test_a_link_that_does_not_say_it_has_ended_is_asked(ending: str, tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda *link: host.link(*link) + ending
        task = await client.get_task(host.add("a", "vocal"))
        await client.download_stems(task, tmp_path)
    assert host.polls == ["a"]
    assert len(host.seen) == 1


@pytest.mark.parametrize("age, polls", [(13 * DAY, 1), (15 * DAY, 2)])
async def test_links_of_a_task_that_ended_14_days_ago_are_taken_to_have_ended(
    age: float, polls: int, tmp_path: Path
) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task(type="split_stem", duration=0, age=age))
        report = await client.download_stems(task, tmp_path)
        paths = [request.path for request in emulator.requests]
    assert sum(path.startswith("/api/") for path in paths) == polls
    assert sum(path.startswith("/files/") for path in paths) == len(report.files) == 12


async def test_a_link_that_says_it_has_ended_is_asked_if_the_look_brings_no_other(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda task, stem, _: host.link(task, stem, 1) + "&Expires=1000"
        task = await client.get_task(host.add("a", "vocal", "drums"))
        report = await client.download_stems(task, tmp_path)
    assert host.polls == ["a", "a"]
    assert len(host.seen) == len(report.files) == 2


async def test_the_same_dead_link_again_is_an_error_after_one_look(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda task, stem, _: host.link(task, stem, 1)
        host.hook = old_links_end()
        task = await client.get_task(host.add("a", "vocal", "drums"))
        with pytest.raises(DownloadError) as caught:
            await client.download_stems(task, tmp_path)
    assert "the link has expired (403), and a look at the task gave no other" in str(caught.value)
    assert caught.value.report is not None
    assert len(caught.value.report.errors) == 2
    assert host.polls == ["a", "a"]
    assert len(host.seen) == 2
    assert names_in(tmp_path / "a") == set()


async def test_another_dead_link_is_an_error_after_one_look(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = old_links_end(410, newest=1000)
        task = await client.get_task(host.add("a", "vocal", "drums"))
        with pytest.raises(DownloadError, match=r"the link has expired \(410\)"):
            await client.download_stems(task, tmp_path)
    assert host.polls == ["a", "a"]
    for name in ("a/vocal", "a/drums"):
        # One that was asked for later than the other may know the fresh link at once.
        assert [seen.query["look"] for seen in host.asked(name)] in (["1", "2"], ["2"])


async def test_a_stem_that_the_look_does_not_find_any_more_is_an_error_of_its_own(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", "drums"))
        host.link_of = lambda *link: None if link[1] == "vocal" else host.link(*link)
        host.hook = old_links_end()
        with pytest.raises(DownloadError, match="gave no") as caught:
            await client.download_stems(task, tmp_path)
    assert caught.value.stem == "vocal"
    assert caught.value.url is None
    assert caught.value.report is not None
    assert list(caught.value.report.paths) == ["drums"]
    assert host.polls == ["a", "a"]


async def test_a_link_that_ended_and_is_not_given_again_is_an_error(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.link_of = lambda task, stem, poll: (
            None if poll > 1 and stem == "vocal" else host.link(task, stem, poll) + "&Expires=1000"
        )
        task = await client.get_task(host.add("a", "vocal", "drums"))
        with pytest.raises(DownloadError, match="a fresh look at the task gave no link"):
            await client.download_stems(task, tmp_path)
    assert [seen.name for seen in host.seen] == ["a/drums"]


async def test_a_look_that_fails_is_told_with_what_it_met(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal"))
        host.hook = old_links_end()
        host.api_code = 401
        with pytest.raises(DownloadError) as caught:
            await client.download_stems(task, tmp_path)
    told = "".join(traceback.format_exception(caught.value))
    assert "has expired (403), and the look for another one failed: " in told
    assert "401" in told
    assert SIGNATURE not in told
    assert KEY not in told
    assert len(host.seen) == 1


async def test_a_look_that_meets_a_fault_is_repeated_within_the_budget(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task(duration=0))
        emulator.expire_links()
        emulator.inject(Fault.SERVER_ERROR, 2)
        report = await client.download_stems(task, tmp_path)
        assert client.stats.requests == 4
    assert len(report.files) == 2


async def test_a_link_that_ends_in_the_middle_of_a_file_is_renewed_and_the_rest_fetched(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", size=3_000_000))
        host.cut("a/vocal", 1_500_000)

        async def ends_after_the_first(request: web.Request) -> web.StreamResponse | None:
            is_dead = len(host.seen) > 1 and request.query["look"] == "1"
            return web.Response(status=403) if is_dead else None

        host.hook = ends_after_the_first
        report = await client.download_stems(task, tmp_path)
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert [seen.query["look"] for seen in host.seen] == ["1", "1", "2"]
    assert host.seen[2].headers["Range"] == host.seen[1].headers["Range"] != "bytes=0-"
    assert host.polls == ["a", "a"]


async def test_another_file_under_the_fresh_link_is_fetched_from_its_beginning(
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


async def test_an_expired_link_of_a_stem_that_is_read_is_renewed_too() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal"))
        host.hook = old_links_end()
        async with client.open_stem(task, "vocal") as stream:
            read = b"".join([chunk async for chunk in stream])
    assert read == host.files["a/vocal"]
    assert host.polls == ["a", "a"]


async def test_links_that_always_end_at_once_are_no_endless_matter(tmp_path: Path) -> None:
    async with Emulator(link_lifetime=0) as emulator, client_of(emulator.url) as client:
        task_id = emulator.add_task(type="split_stem", duration=0)
        with pytest.raises(DownloadError, match="the link has expired") as caught:
            await client.download_stems(task_id, tmp_path)
        paths = [request.path for request in emulator.requests]
    assert caught.value.report is not None
    assert len(caught.value.report.errors) == 12
    assert sum(path.startswith("/api/") for path in paths) == 2
    assert 12 <= sum(path.startswith("/files/") for path in paths) <= 24


async def test_a_task_without_the_wanted_stem_costs_no_second_look(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal")
        with pytest.raises(ConfigurationError):
            await client.download_stems("a", tmp_path, stems=["vocals"])
    assert host.polls == ["a"]
