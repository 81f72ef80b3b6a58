"""Files and bytes: which of them are the same song, and what is billed; against the emulator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vocalsep_async import (
    ConfigurationError,
    CreationUncertainError,
    DownloadOptions,
    Interval,
    InvalidArgumentError,
    RetryPolicy,
    ServerError,
    Song,
    UploadedFile,
    UploadError,
    VocalSepClient,
)
from vocalsep_async.emulator import Emulator, Fault, UploadFault
from vocalsep_async.policies import MAX_UPLOAD_BYTES

pytestmark = pytest.mark.anyio

TIDES = b"ID3" + b"tides" * 50_000
EMBERS = b"ID3" + b"embers" * 50_000
GENERATE = "/api/v1/vocal-removal/generate"
UPLOAD = "/api/file-stream-upload"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(speed=2_000, rate_limit=None) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[VocalSepClient]:
    async with client_of(emulator) as client:
        yield client


def client_of(emulator: Emulator, **options: Any) -> VocalSepClient:
    retry = RetryPolicy(attempts=3, initial=0.001, maximum=0.001)
    return emulator.client(rate_limit=None, poll=Interval(0.005), retry=retry, **options)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "Tides.mp3", TIDES)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "songs.journal"


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def posts(emulator: Emulator, path: str) -> int:
    """How many requests of a kind reached the server."""
    return sum(each.path == path for each in emulator.requests)


async def test_a_file_is_uploaded_separated_and_saved_by_its_name(
    client: VocalSepClient, emulator: Emulator, file: Path, tmp_path: Path
) -> None:
    outcome = await client.separate(file, download_to=tmp_path / "stems", timeout=None)
    assert outcome.label == "Tides"
    assert outcome.files["vocal"] == tmp_path / "stems" / "Tides" / "vocal.wav"
    assert (posts(emulator, UPLOAD), posts(emulator, GENERATE)) == (1, 1)


async def test_one_content_is_one_song_under_any_path_and_as_bytes(
    client: VocalSepClient, emulator: Emulator, file: Path, journal: Path
) -> None:
    first = await client.separate(file, journal=journal)
    copy = written(file.parent / "copies" / "other.mp3", TIDES)
    os.utime(copy, (1, 1))
    for source in (str(file), copy, TIDES, Song(copy, label="third")):
        again = await client.separate(source, journal=journal)
        assert again.task_id == first.task_id
    assert (posts(emulator, UPLOAD), posts(emulator, GENERATE)) == (1, 1)


async def test_another_content_or_type_is_another_song_under_the_same_name(
    client: VocalSepClient, emulator: Emulator, file: Path, journal: Path
) -> None:
    ids = [(await client.separate(file, journal=journal)).task_id]
    ids.append((await client.separate(file, journal=journal, type="split_stem")).task_id)
    written(file, EMBERS)
    ids.append((await client.separate(file, journal=journal)).task_id)
    assert len(set(ids)) == posts(emulator, GENERATE) == 3


async def test_a_known_song_is_saved_again_where_files_are_gone_and_not_fetched_where_not(
    client: VocalSepClient, emulator: Emulator, file: Path, journal: Path, tmp_path: Path
) -> None:
    to = DownloadOptions(tmp_path / "stems", stems=["vocal"], template="{label}{ext}")
    first = await client.separate(file, journal=journal, download_to=to)
    requests = len(emulator.requests)
    second = await client.separate(file, journal=journal, download_to=to)
    assert second.files == first.files
    assert len(emulator.requests) == requests
    gone(first.files["vocal"])
    third = await client.separate(file, journal=journal, download_to=to)
    assert there(third.files["vocal"])
    assert posts(emulator, GENERATE) == 1


def gone(path: Path) -> None:
    path.unlink()


def there(path: Path) -> bool:
    return path.exists()


async def test_a_file_that_changes_before_its_upload_is_billed_for_nothing(
    client: VocalSepClient, emulator: Emulator, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader = client._engine.uploader
    upload = uploader.upload

    async def later(plan: Any) -> UploadedFile:
        written(file, EMBERS)
        return await upload(plan)

    monkeypatch.setattr(uploader, "upload", later)
    with pytest.raises(UploadError, match="changed"):
        await client.separate(file)
    assert posts(emulator, GENERATE) == 0


async def test_a_link_that_is_too_old_when_its_creation_is_next_is_made_anew(
    client: VocalSepClient, emulator: Emulator, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader = client._engine.uploader
    upload = uploader.upload
    lifetimes = iter([timedelta(0), timedelta(days=3)])

    async def ages(plan: Any) -> UploadedFile:
        uploaded = await upload(plan)
        return evolved(uploaded, next(lifetimes))

    monkeypatch.setattr(uploader, "upload", ages)
    assert (await client.separate(file)).succeeded
    assert (posts(emulator, UPLOAD), posts(emulator, GENERATE)) == (2, 1)


def evolved(uploaded: UploadedFile, lifetime: timedelta) -> UploadedFile:
    from datetime import UTC, datetime

    from attrs import evolve

    return evolve(uploaded, expires_at=datetime.now(UTC) + lifetime)


async def test_an_upload_that_fails_is_billed_for_nothing_and_tried_by_the_next_call(
    client: VocalSepClient, emulator: Emulator, file: Path, journal: Path
) -> None:
    emulator.inject(UploadFault.SERVER_ERROR, times=3)
    with pytest.raises(ServerError):
        await client.separate(file, journal=journal)
    assert posts(emulator, GENERATE) == 0
    assert (await client.separate(file, journal=journal)).succeeded


async def test_without_an_upload_host_a_file_is_an_error_and_a_link_is_not(
    emulator: Emulator, file: Path
) -> None:
    async with VocalSepClient("key", base_url=emulator.url, poll=Interval(0.005)) as client:
        with pytest.raises(ConfigurationError, match="upload_url"):
            await client.separate(file)
        assert emulator.requests == ()
        assert (await client.separate("https://songs.example/a.mp3")).succeeded


@pytest.mark.parametrize("content", [b"", b"x" * (MAX_UPLOAD_BYTES + 1)])
async def test_a_file_that_cannot_be_uploaded_is_an_error_before_anything_is_sent(
    client: VocalSepClient, emulator: Emulator, file: Path, content: bytes
) -> None:
    written(file, content)
    with pytest.raises(InvalidArgumentError):
        await client.separate(file)
    assert emulator.requests == ()


@pytest.mark.parametrize("fault", [Fault.UNANSWERED, Fault.DROPPED, Fault.SERVER_ERROR, Fault.HTML])
async def test_exactly_one_creation_arrives_whatever_comes_back(
    client: VocalSepClient, emulator: Emulator, journal: Path, fault: Fault
) -> None:
    emulator.inject(fault)
    for _ in range(3):
        with pytest.raises(CreationUncertainError, match="may have been created"):
            await client.separate("https://songs.example/a.mp3", journal=journal)
    assert posts(emulator, GENERATE) == 1


async def test_twenty_calls_for_one_file_share_its_upload_and_its_task(
    client: VocalSepClient, emulator: Emulator, file: Path, journal: Path
) -> None:
    calls = [client.separate(file, journal=journal) for _ in range(20)]
    assert len({outcome.task_id for outcome in await asyncio.gather(*calls)}) == 1
    assert (posts(emulator, UPLOAD), posts(emulator, GENERATE)) == (1, 1)


async def test_a_folder_of_files_is_separated_and_the_same_run_again_sends_nothing(
    emulator: Emulator, tmp_path: Path, journal: Path
) -> None:
    files = [written(tmp_path / f"{each}.mp3", TIDES + bytes([each])) for each in range(12)]
    requests = 0
    for _ in range(2):
        async with (
            client_of(emulator) as client,
            client.separate_many(files, download_to=tmp_path / "stems", journal=journal) as run,
        ):
            outcomes = [outcome async for outcome in run]
        assert all(each.succeeded and each.files for each in outcomes)
        assert len(outcomes) == 12
        requests = requests or len(emulator.requests)
    assert len(emulator.requests) == requests
    assert (posts(emulator, UPLOAD), posts(emulator, GENERATE)) == (12, 12)


async def test_stems_that_cannot_be_saved_lead_to_no_creation(
    client: VocalSepClient, emulator: Emulator, file: Path, journal: Path, tmp_path: Path
) -> None:
    to = written(tmp_path / "stems", b"a file in the place of the folder")
    for _ in range(2):
        outcome = await client.separate(file, journal=journal, download_to=to)
        assert outcome.download_error is not None
        assert outcome.task_id
    assert posts(emulator, GENERATE) == 1
