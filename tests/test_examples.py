"""The examples run, against the emulator."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import aiohttp
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
    assert second.startswith(f"{bad} task {bad!r} ended as GENERATE_AUDIO_FAILED")


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
