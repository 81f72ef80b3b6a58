"""The programs of the page about processes share one limit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from pages import module_of, save_files
from stores import StoreServer

from vocalsep_async.emulator import Emulator

PAGE = "docs/how-to/processes.md"
SECONDS = 300


@pytest.fixture
def environ(store: StoreServer, vocalsep_emulator: Emulator) -> dict[str, str]:
    return {
        "REDIS_URL": store.url,
        "VOCALSEP_API_KEY": "a-key",
        "VOCALSEP_BASE_URL": vocalsep_emulator.url,
    }


def test_processes_that_track_tasks_share_the_limit(
    environ: dict[str, str], tmp_path: Path, vocalsep_emulator: Emulator
) -> None:
    save_files(PAGE, tmp_path)
    ids = [vocalsep_emulator.add_task(duration=0) for _ in range(8)]
    processes = [
        subprocess.Popen(
            [sys.executable, "track.py", *mine],
            cwd=tmp_path,
            env=os.environ | environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine in (ids[:4], ids[4:])
    ]
    printed = "".join(process.communicate(timeout=SECONDS)[0] for process in processes)
    assert sorted(printed.splitlines()) == sorted(f"{each} ended" for each in ids)
    assert [request.code for request in vocalsep_emulator.requests] == [200] * 8


@pytest.mark.anyio
async def test_the_service_waits_for_a_task(
    environ: dict[str, str], vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    app: Any = module_of(PAGE, "service.py").app
    task_id = vocalsep_emulator.add_task(duration=0)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        found = (await client.get(f"/separations/{task_id}")).json()
        assert (found["status"], set(found["stems"])) == ("SUCCESS", {"vocal", "instrumental"})
        assert (await client.get("/limit")).json() == {"rate": 2.0, "throttled": 0}
