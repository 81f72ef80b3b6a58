"""Stems as downloads: links, ranges, and the files behind them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from emulator.http_client import HttpClient
from yarl import URL

from vocalsep_async.emulator import Emulator, audio, fast_settings
from vocalsep_async.emulator.stems import LinkSigner, StemFiles
from vocalsep_async.emulator.tasks import Clock, Ending, Task
from vocalsep_async.models import SeparationType, TaskStatus

pytestmark = pytest.mark.anyio


async def _url(http: HttpClient, emulator: Emulator, task_id: str, key: str = "vocalUrl") -> URL:
    return URL((await http.record_info(emulator, task_id)).data["response"][key], encoded=True)


async def _get(http: HttpClient, url: URL, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
    async with http.session.get(url, headers=headers) as reply:
        return reply.status, await reply.read(), reply.headers


async def test_a_link_serves_the_stem(http: HttpClient) -> None:
    async with Emulator() as emulator:
        url = await _url(http, emulator, emulator.add_task("one", duration=0))
        status, content, headers = await _get(http, url)
    assert (status, headers["Content-Type"]) == (200, "audio/wav")
    assert content == audio.wav("vocals")
    assert emulator.requests[-1].task_id == "one"


async def test_a_range_of_an_unchanged_file_can_be_requested(http: HttpClient) -> None:
    async with Emulator() as emulator:
        url = await _url(http, emulator, emulator.add_task(duration=0))
        _, whole, headers = await _get(http, url)
        unchanged = {"Range": "bytes=1000-", "If-Range": headers["ETag"]}
        status, rest, _ = await _get(http, url, **unchanged)
        changed = {"Range": "bytes=1000-", "If-Range": '"other"'}
        assert (await _get(http, url, **changed))[:2] == (200, whole)
    assert (status, rest) == (206, whole[1000:])
    assert emulator.requests[-2].code == 206


async def test_expired_links_are_refused_and_new_ones_are_valid(http: HttpClient) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(duration=0)
        old = await _url(http, emulator, task_id)
        emulator.expire_links()
        assert (await _get(http, old))[0] == 403
        assert (await _get(http, await _url(http, emulator, task_id)))[0] == 200


async def test_a_link_expires_after_its_lifetime(http: HttpClient) -> None:
    async with Emulator(link_lifetime=0) as emulator:
        url = await _url(http, emulator, emulator.add_task(duration=0))
        assert (await _get(http, url))[0] == 403


@pytest.mark.parametrize("type_", ["separate_vocal", "split_stem", "split_stem_advanced"])
async def test_a_link_stays_the_same_until_it_is_of_no_more_use(
    http: HttpClient, type_: str
) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(type=type_, duration=0)
        first, second = [await http.record_info(emulator, task_id) for _ in range(2)]
        emulator.expire_links()
        third, fourth = [await http.record_info(emulator, task_id) for _ in range(2)]
    assert first.text == second.text != third.text == fourth.text


def test_a_link_is_issued_anew_once_it_has_expired() -> None:
    class Fixed(Clock):
        at = 100.0

        def now(self) -> float:
            return self.at

    clock = Fixed()
    signer = LinkSigner(clock, 60.0)
    first = signer.issue("t", "a.wav")
    Fixed.at += 59.9
    assert signer.issue("t", "a.wav") == first != signer.issue("t", "b.wav")
    Fixed.at += 0.2
    assert signer.issue("t", "a.wav") != first


async def test_a_file_is_named_by_its_id_and_what_it_holds(http: HttpClient) -> None:
    async with Emulator() as emulator:
        split, pair = (
            emulator.add_task(type=type_, duration=0)
            for type_ in ("split_stem", "split_stem_advanced")
        )
        stems = (await http.record_info(emulator, split)).data["response"]
        [parts] = (await http.record_info(emulator, pair)).data["response"]["originData"]
    of_backing = stems["originData"][1]
    assert of_backing["audio_url"] == stems["backingVocalsUrl"]
    assert f"/{of_backing['id']}_Backing_Vocals.wav?" in of_backing["audio_url"]
    # With the blank as it is.
    assert f"/{parts['extract']['id']}_Lead Vocal.wav?" in parts["extract"]["audio_url"]
    assert parts["extract"]["id"] != parts["remove"]["id"]


async def test_a_client_saves_the_stems_of_links_with_blanks(tmp_path: Path) -> None:
    async with Emulator() as emulator, emulator.client(**fast_settings()) as client:
        task_id = emulator.add_task(type="split_stem_advanced", duration=0)
        report = await client.download_stems(task_id, tmp_path)
    assert {file.path.read_bytes() for file in report.files} == {
        audio.wav("vocal"),
        audio.wav("without_vocal"),
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.with_query(None),
        lambda url: url.update_query(expires="9999999999"),
        lambda url: url.update_query(signature="caf\u00e9"),
        lambda url: url.with_path(url.path.replace("Vocals", "Drums")).with_query(url.query),
        lambda url: url.with_path(f"/files/other/{url.name}").with_query(url.query),
    ],
)
async def test_an_altered_link_is_refused(http: HttpClient, change: Callable[[URL], URL]) -> None:
    async with Emulator() as emulator:
        url = await _url(http, emulator, emulator.add_task(duration=0))
        assert (await _get(http, change(url)))[0] == 403


async def test_closing_removes_the_files() -> None:
    files = StemFiles()
    path = await files.path("silence")
    assert await files.path("silence") == path
    assert path.is_file()
    await files.aclose()
    assert not path.parent.exists()
    await files.aclose()


async def test_the_emulator_returns_the_original() -> None:
    assert Emulator().original_wav() == audio.wav("original")


def _folder(task_id: str) -> str:
    type_, ending = SeparationType.SPLIT_STEM, Ending(TaskStatus.SUCCESS)
    task = Task(task_id=task_id, type=type_, created_at=0.0, ends_at=0.0, ending=ending)
    return task.folder


def test_a_folder_is_the_id_of_the_task_where_that_is_safe() -> None:
    assert _folder("5c79_be-8E") == "5c79_be-8E"
    assert len({_folder(odd) for odd in ("", "..", "a/b", "\ud800")}) == 4
    assert all(_folder(odd).isalnum() for odd in ("", "..", "a/b", "\ud800"))


def test_a_link_is_valid_for_the_emulator_that_issued_it_only() -> None:
    ours, theirs = LinkSigner(Clock(), 60.0), LinkSigner(Clock(), 60.0)
    query = URL(ours.issue("t", "bass.wav")).query
    parts = ("t", "bass.wav", query["expires"], query["signature"])
    assert ours.is_valid(*parts)
    assert not theirs.is_valid(*parts)
