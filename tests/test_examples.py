"""The examples run, against the emulator."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import aiohttp
import httpx
import pytest
from aiohttp.test_utils import TestClient, TestServer

from vocalsep_async.emulator import Emulator

EXAMPLES = Path(__file__).parents[1] / "examples"


def environ(emulator: Emulator) -> dict[str, str]:
    return {"VOCALSEP_API_KEY": "a-key", "VOCALSEP_BASE_URL": emulator.url}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_prints_a_line_for_each_task(vocalsep_emulator: Emulator) -> None:
    good = vocalsep_emulator.add_task(duration=0.1)
    bad = vocalsep_emulator.add_task(duration=100)
    vocalsep_emulator.fail(bad)
    command = [sys.executable, str(EXAMPLES / "script.py"), good, bad]
    run = subprocess.run(
        command,
        env=os.environ | environ(vocalsep_emulator),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    first, second = run.stdout.splitlines()
    assert first == f"{good} instrumental vocal"
    assert second.startswith(f"{bad} task {bad!r} ended with status GENERATE_AUDIO_FAILED")


@pytest.mark.anyio
async def test_the_service_answers_with_the_stems(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ(vocalsep_emulator).items():
        monkeypatch.setenv(name, value)
    task_id = vocalsep_emulator.add_task(duration=0.1)
    async with TestClient(TestServer(load("service").make_app())) as client:
        answer = await client.get(f"/stems/{task_id}")
        assert answer.status == 200
        assert set((await answer.json())["stems"]) == {"vocal", "instrumental"}
        unknown: aiohttp.ClientResponse = await client.get("/stems/an-unknown-id")
        assert unknown.status == 502
        assert await unknown.json() == {"error": "the task could not be waited for"}


@pytest.mark.anyio
async def test_the_service_answers_202_while_a_task_is_pending(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ(vocalsep_emulator).items():
        monkeypatch.setenv(name, value)
    task_id = vocalsep_emulator.add_task(duration=math.inf)
    service = load("service")
    monkeypatch.setattr(service, "TIMEOUT", 0)
    async with TestClient(TestServer(service.make_app())) as client:
        answer = await client.get(f"/stems/{task_id}")
        assert answer.status == 202
        assert await answer.json() == {"status": "PENDING"}


SERVICES = {
    "VOCALSEP_API_KEY": "a-key",
    "PUBLIC_URL": "http://127.0.0.1:9",
    "CALLBACK_SECRET": "a secret",
}
SONG = {"audio_url": "https://example.com/song.mp3"}


@asynccontextmanager
async def served(example: ModuleType) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one of the services that separate songs."""
    if hasattr(example, "make_app"):
        async with (
            TestServer(example.make_app()) as server,
            httpx.AsyncClient(base_url=str(server.make_url("/"))) as client,
        ):
            yield client
    else:
        transport = httpx.ASGITransport(example.app)
        async with (
            example.lifespan(example.app),
            httpx.AsyncClient(base_url="http://service", transport=transport) as client,
        ):
            yield client


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["fastapi_service", "aiohttp_service"])
async def test_a_service_that_separates_songs_says_what_is_wrong_with_a_request(
    name: str, vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (SERVICES | environ(vocalsep_emulator)).items():
        monkeypatch.setenv(variable, value)
    async with served(load(name)) as client:
        for body in ({}, {"audio_url": ""}, SONG | {"audio_id": "a"}):
            answer = await client.post("/separate", json=body)
            assert answer.status_code == 400
            assert answer.json() == {"error": "the song, or the id of the task, is not valid"}
        assert (await client.post("/separate", content=b"{")).status_code in (400, 422)
        assert (await client.post("/separate", json=[])).status_code in (400, 422)
        unknown = await client.get("/stems/an-unknown-id")
        assert unknown.status_code == 502
        assert unknown.json() == {"error": "the separation failed, try again later"}
        assert (await client.post("/callbacks/guessed", json={})).status_code == 401
    assert not vocalsep_emulator.tasks


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["fastapi_service", "aiohttp_service"])
async def test_a_service_that_separates_songs_answers_202_where_a_task_takes_longer(
    name: str, vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (SERVICES | environ(vocalsep_emulator)).items():
        monkeypatch.setenv(variable, value)
    service = load(name)
    monkeypatch.setattr(service, "TIMEOUT", 0)
    async with served(service) as client:
        pending = await client.post("/separate", json=SONG)
        assert pending.status_code == 202
        task_id = pending.json()["task_id"]
        vocalsep_emulator.finish(task_id)
        found = await client.get(f"/stems/{task_id}")
        assert found.status_code == 200
        assert found.json()["stems"].keys() == {"vocal", "instrumental"}
