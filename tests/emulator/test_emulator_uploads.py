"""The upload host of the emulator: it keeps files, serves them, and fails on demand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import FormData

from vocalsep_async import (
    APIError,
    AuthenticationError,
    Interval,
    PayloadTooLargeError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    TaskStatus,
    TransportError,
    UploadedFile,
)
from vocalsep_async.client import ClientOptions
from vocalsep_async.emulator import Emulator, UploadFault, uploads
from vocalsep_async.emulator.tasks import Clock
from vocalsep_async.emulator.uploads import UploadStore
from vocalsep_async.errors import ConfigurationError, InvalidArgumentError

pytestmark = pytest.mark.anyio

CALLBACK = "https://example.com/hook"
ONCE = RetryPolicy(attempts=1)
FAST: dict[str, Any] = {"speed": 1_000_000, "rate_limit": None}
AT_ONCE: ClientOptions = {"poll": Interval(0.001), "rate_limit": None}
SONG = b"ID3" + bytes(range(256)) * 9000


async def fetched(url: str) -> tuple[int, bytes, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.read(), response.content_type


async def posted(
    emulator: Emulator, fields: dict[str, Any], *, key: str = "any-key"
) -> tuple[int, dict[str, Any]]:
    """What the host answers to a form, and with which status."""
    form = FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value, filename="own.mp3" if name == "file" else None)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{emulator.url}{uploads.PATH}", data=form) as response,
    ):
        return response.status, await response.json()


async def test_an_upload_is_served_under_its_link() -> None:
    async with Emulator() as emulator, emulator.client() as client:
        uploaded = await client.upload(SONG, name="song.mp3")
        assert uploaded.url.startswith(f"{emulator.url}/uploads/vocalsep/song-")
        assert await fetched(uploaded.url) == (200, SONG, "audio/mpeg")
        (request, _) = emulator.requests
        assert (request.method, request.path, request.code) == ("POST", uploads.PATH, 200)


async def test_a_song_is_separated_from_the_disk_to_its_stems(tmp_path: Path) -> None:
    async with Emulator(**FAST) as emulator, emulator.client(**AT_ONCE) as client:
        song = tmp_path / "song.wav"
        song.write_bytes(emulator.original_wav())
        uploaded = await client.upload(song)
        ref = await client.create_task(audio_url=uploaded.url, callback_url=CALLBACK)
        report = await client.download_stems(await client.wait_for_task(ref), tmp_path)
    assert set(report.paths) == {"vocal", "instrumental"}


@pytest.mark.parametrize("provider", ["sunoapi", "kie", "kie_jobs"])
async def test_a_task_whose_upload_was_deleted_is_billed_and_fails(provider: Any) -> None:
    async with (
        Emulator(provider=provider, **FAST) as emulator,
        emulator.client(**AT_ONCE) as client,
    ):
        uploaded = await client.upload(b"RIFF")
        emulator.expire_uploads()
        assert (await fetched(uploaded.url))[0] == 404
        ref = await client.create_task(audio_url=uploaded.url, callback_url=CALLBACK)
        task = await client.wait_for_task(ref)
        assert task.status is TaskStatus.GENERATE_AUDIO_FAILED
        assert emulator.credits_left == 990


async def test_a_link_of_another_host_is_not_judged() -> None:
    async with Emulator(**FAST) as emulator, emulator.client(**AT_ONCE) as client:
        for url in (f"{emulator.url}/files/x", "https://example.com/uploads/a/b"):
            ref = await client.create_task(audio_url=url, callback_url=CALLBACK)
            assert (await client.wait_for_task(ref)).succeeded


async def test_an_upload_is_deleted_after_its_lifetime() -> None:
    async with Emulator(upload_lifetime=0) as emulator, emulator.client() as client:
        uploaded = await client.upload(b"RIFF")
        assert (await fetched(uploaded.url))[0] == 404


def test_a_store_keeps_a_file_for_its_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(Clock, "now", lambda _: now)
    store = UploadStore(Clock(), 3 * 86_400)
    path = store.add("a b", "c/d.mp3", b"RIFF", "audio/mpeg")
    assert path == "/uploads/a%20b/c%2Fd.mp3"
    now += 3 * 86_400 - 1
    assert store.find(path)
    assert not store.is_dead(f"http://a{path}", "http://a")
    now += 1
    assert store.find(path) is None
    assert store.is_dead(f"http://a{path}", "http://a")


def test_a_store_has_room_for_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 10)
    store = UploadStore(Clock(), 100.0)
    assert store.add("a", "b", bytes(6), "audio/mpeg")
    assert store.add("a", "c", bytes(5), "audio/mpeg") is None
    # In its own place there is room.
    assert store.add("a", "b", bytes(10), "audio/mpeg")


async def test_the_answer_is_the_documented_one() -> None:
    async with Emulator() as emulator:
        status, answer = await posted(
            emulator, {"uploadPath": "songs", "fileName": "a.mp3", "file": b"RIFF"}
        )
        uploaded_at = answer["data"].pop("uploadedAt")
        assert (status, answer) == (
            200,
            {
                "success": True,
                "code": 200,
                "msg": "File uploaded successfully",
                "data": {
                    "fileName": "a.mp3",
                    "filePath": "songs/a.mp3",
                    "downloadUrl": f"{emulator.url}/uploads/songs/a.mp3",
                    "fileSize": 4,
                    "mimeType": "application/octet-stream",
                },
            },
        )
        assert uploaded_at.endswith("Z")
        # Without a name it has its own, and the same name overwrites.
        for data in (b"RIFF", b"fLaC"):
            _, answer = await posted(emulator, {"uploadPath": "songs", "file": data})
        assert answer["data"]["fileName"] == "own.mp3"
        assert (await fetched(answer["data"]["downloadUrl"]))[1] == b"fLaC"


@pytest.mark.parametrize(
    "fields",
    [
        {"uploadPath": "songs"},
        {"file": b"RIFF"},
        {"file": b"RIFF", "uploadPath": "/songs"},
    ],
)
async def test_an_upload_without_file_or_folder_is_refused(fields: dict[str, Any]) -> None:
    async with Emulator() as emulator:
        status, answer = await posted(emulator, fields)
        assert (status, answer["success"], answer["code"]) == (200, False, 400)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data"])
async def test_what_is_no_form_is_refused(kind: str) -> None:
    headers = {"Authorization": "Bearer any-key", "Content-Type": kind}
    async with (
        Emulator() as emulator,
        aiohttp.ClientSession() as session,
        session.post(f"{emulator.url}{uploads.PATH}", data=b"{}", headers=headers) as response,
    ):
        answer = await response.json()
        assert (answer["success"], answer["code"]) == (False, 400)


async def test_the_key_is_checked() -> None:
    async with Emulator(api_key="the-key-0123") as emulator:
        status, answer = await posted(emulator, {"uploadPath": "a", "file": b"RIFF"})
        assert (status, answer["success"], answer["code"]) == (401, False, 401)
        async with emulator.client() as client:
            assert isinstance(await client.upload(b"RIFF"), UploadedFile)


async def test_a_file_is_too_large_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "LARGEST_FILE", 100_000)
    monkeypatch.setattr(uploads, "MOST_BYTES", 150_000)
    async with Emulator() as emulator, emulator.client(retry=ONCE) as client:
        with pytest.raises(PayloadTooLargeError):
            await client.upload(bytes(100_001))
        await client.upload(bytes(100_000))
        with pytest.raises(ServerError, match="no room"):
            await client.upload(bytes(100_000))


async def test_uploads_do_not_count_against_the_rate_limit() -> None:
    async with Emulator(rate_limit=(1, 3600.0)) as emulator, emulator.client() as client:
        for _ in range(3):
            await client.upload(b"RIFF")
        assert await client.get_credits() == 1000


@pytest.mark.parametrize(
    "fault, error",
    [
        (UploadFault.REFUSED, APIError),
        (UploadFault.UNAUTHORIZED, AuthenticationError),
        (UploadFault.TOO_LARGE, PayloadTooLargeError),
        (UploadFault.SERVER_ERROR, ServerError),
        (UploadFault.DROPPED, TransportError),
    ],
)
async def test_the_next_uploads_meet_the_fault(fault: UploadFault, error: type[APIError]) -> None:
    async with Emulator() as emulator, emulator.client(retry=ONCE) as client:
        emulator.inject(fault, times=2)
        for _ in range(2):
            with pytest.raises(error):
                await client.upload(SONG)
        # Requests to the API have faults of their own.
        assert await client.get_credits() == 1000
        assert (await client.upload(SONG)).size == len(SONG)


async def test_a_slow_host_gets_the_file_all_the_same() -> None:
    async with Emulator() as emulator, emulator.client() as client:
        emulator.inject(UploadFault.SLOW)
        uploaded = await client.upload(bytes(100_000))
        assert (await fetched(uploaded.url))[1] == bytes(100_000)


async def test_a_stalled_upload_has_no_response_until_the_end() -> None:
    async with Emulator() as emulator, emulator.client(retry=ONCE) as client:
        emulator.inject("upload_stalled")  # type: ignore[arg-type]
        with pytest.raises(RequestTimeoutError):
            await client.upload(SONG, timeout=0.2)
        assert [request.code for request in emulator.requests] == [None]
        emulator.inject(UploadFault.STALLED)
        begun = asyncio.Event()
        upload = asyncio.create_task(client.upload(SONG, on_progress=lambda _: begun.set()))
        await begun.wait()
        await emulator.aclose()
        with pytest.raises(TransportError):
            await upload


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="upload_slow"):
        Emulator().inject("upload_slowly")  # type: ignore[arg-type]


@pytest.mark.parametrize("provider", ["sunoapi", "kie", "kie_jobs"])
async def test_a_client_of_the_emulator_speaks_its_language(provider: Any) -> None:
    async with Emulator(provider=provider) as emulator, emulator.client() as client:
        assert f"({provider})" in repr(client)
        assert client.base_url.rstrip("/") == emulator.url
    with pytest.raises(ConfigurationError, match="was not started"):
        Emulator().client()


async def test_options_precede_those_of_the_emulator() -> None:
    async with (
        Emulator() as emulator,
        emulator.client(upload_url=f"{emulator.url}/nowhere", retry=ONCE) as client,
    ):
        with pytest.raises(APIError, match="404"):
            await client.upload(b"RIFF")
