"""The functions of the page about object storage store each stem whole, and once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from pages import module_of, save_files

from vocalsep_async import DownloadError, TaskFailedError, VocalSepClient
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio
PAGE = "docs/how-to/s3.md"
PART = 5 * 2**20
"""Bytes from which on obstore sends a file in parts."""
SECONDS = 300


@pytest.fixture
def obstore() -> Any:
    return pytest.importorskip("obstore", reason="obstore is not installed")


@pytest.fixture
def store(obstore: Any) -> Any:
    return obstore.store.MemoryStore()


@pytest.fixture
def bucket(obstore: Any) -> ModuleType:
    return module_of(PAGE, "bucket.py")


async def content_of(obstore: Any, store: Any, path: str) -> bytes:
    return bytes(await (await obstore.get_async(store, path)).bytes_async())


async def test_stems_are_stored_as_they_are_at_the_file_host(
    vocalsep_emulator: Emulator, obstore: Any, store: Any, bucket: ModuleType, tmp_path: Path
) -> None:
    async with vocalsep_emulator.client() as client:
        task = await client.get_task(vocalsep_emulator.add_task(duration=0))
        paths = await bucket.save_stems(client, store, task, "song")
        saved = await client.download_stems(task, tmp_path)
    assert paths == {"vocal": "song/vocal.wav", "instrumental": "song/instrumental.wav"}
    for file in saved.files:
        assert await content_of(obstore, store, paths[file.stem]) == file.path.read_bytes()
    stored = await obstore.get_async(store, paths["vocal"])
    assert stored.attributes["Content-Type"] == "audio/wav"


async def test_stems_that_are_there_are_not_fetched_again(
    vocalsep_emulator: Emulator, store: Any, bucket: ModuleType
) -> None:
    async with vocalsep_emulator.client() as client:
        task = await client.get_task(vocalsep_emulator.add_task(duration=0))
        first = await bucket.save_stems(client, store, task, "song")
        requests = len(vocalsep_emulator.requests)
        assert await bucket.save_stems(client, store, task, "song") == first
    assert len(vocalsep_emulator.requests) == requests


async def test_stems_whose_links_have_expired_are_stored(
    vocalsep_emulator: Emulator, obstore: Any, store: Any, bucket: ModuleType
) -> None:
    async with vocalsep_emulator.client() as client:
        task = await client.get_task(vocalsep_emulator.add_task(duration=0))
        vocalsep_emulator.expire_links()
        paths = await bucket.save_stems(client, store, task, "song")
    assert len(await content_of(obstore, store, paths["vocal"])) > 100_000


class _CutStream:
    """A stem whose file host goes away for good after two parts."""

    content_type = "audio/mpeg"

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        yield bytes(PART)
        yield bytes(PART)
        raise DownloadError("cut", task_id="task-1", stem="vocal")


class _CutClient:
    @asynccontextmanager
    async def open_stem(self, *_: object) -> AsyncIterator[_CutStream]:
        yield _CutStream()


async def test_a_stem_that_cannot_be_read_to_its_end_leaves_no_object(
    vocalsep_emulator: Emulator, obstore: Any, store: Any, bucket: ModuleType
) -> None:
    async with vocalsep_emulator.client() as client:
        task = await client.get_task(vocalsep_emulator.add_task(duration=0))
    with pytest.raises(DownloadError, match="cut"):
        await bucket.save_stems(_CutClient(), store, task, "song")
    assert await obstore.list(store).collect_async() == []


async def test_a_task_that_failed_is_an_error_and_no_empty_folder(
    vocalsep_emulator: Emulator, store: Any, bucket: ModuleType
) -> None:
    failed = vocalsep_emulator.add_task(duration=100)
    vocalsep_emulator.fail(failed)
    async with vocalsep_emulator.client() as client:
        task = await client.get_task(failed)
        with pytest.raises(TaskFailedError):
            await bucket.save_stems(client, store, task, "song")


def test_the_program_of_the_page_stores_the_stems_of_each_task(
    vocalsep_emulator: Emulator, obstore: Any, tmp_path: Path
) -> None:
    save_files(PAGE, tmp_path)
    task_ids = [vocalsep_emulator.add_task(duration=0) for _ in range(2)]
    environ = {
        "VOCALSEP_API_KEY": "a-key",
        "VOCALSEP_BASE_URL": vocalsep_emulator.url,
        "STEMS": "memory:///",
        # The program imports a file beside it.
        "PYTHONSAFEPATH": "",
    }
    run = subprocess.run(
        [sys.executable, "separate.py", *task_ids, "no-such-task"],
        cwd=tmp_path,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    stems = ("vocal", "instrumental")
    expected = {f"{task_id}/{stem}.wav" for task_id in task_ids for stem in stems}
    assert set(run.stdout.splitlines()) == expected
    assert "task not found" in run.stderr


async def test_a_client_that_takes_files_gets_each_stem(vocalsep_emulator: Emulator) -> None:
    uploaded: dict[str, int] = {}

    def upload_file(path: str, key: str) -> None:
        uploaded[key] = Path(path).stat().st_size

    save_stems: Callable[..., Any] = module_of(PAGE, "upload.py").save_stems
    client: VocalSepClient
    async with vocalsep_emulator.client() as client:
        task = await client.get_task(vocalsep_emulator.add_task(duration=0))
        await save_stems(client, upload_file, task, "song")
    assert uploaded.keys() == {"song/vocal.wav", "song/instrumental.wav"}
    assert min(uploaded.values()) > 100_000


async def test_a_presigned_url_gets_a_stem_and_its_length(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    received: dict[str, bytes] = {}

    async def put(request: web.Request) -> web.Response:
        received[request.headers["Content-Length"]] = await request.read()
        return web.Response()

    app = web.Application()
    app.router.add_put("/stems/vocal.wav", put)
    put_stem = module_of(PAGE, "put.py").put_stem
    async with (
        TestServer(app) as server,
        ClientSession() as session,
        vocalsep_emulator.client() as client,
    ):
        task = await client.get_task(vocalsep_emulator.add_task(duration=0))
        await put_stem(client, session, task, "vocal", server.make_url("/stems/vocal.wav"))
        (file,) = (await client.download_stems(task, tmp_path, stems=["vocal"])).files
    assert received == {str(file.size): file.path.read_bytes()}
