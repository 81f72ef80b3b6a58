"""The flow of the Prefect page runs on Prefect's test harness, against the emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import save_files

from vocalsep_async.emulator import Emulator

pytest.importorskip("prefect", reason="Prefect is not installed; the nox session frameworks has it")

PAGE = "docs/how-to/prefect.md"
SONGS = 10
CASES = [(False, "before"), (False, "after"), (True, "after"), (True, "in between")]
"""Whether Prefect persists results, and where the seventh song fails."""
# Runs the flow as often as there are cases, and once more after each; the seventh song fails once.
PROGRAM = """
import asyncio
import json
import os
import sys
from pathlib import Path

import songs
from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from vocalsep_async import RateLimit, VocalSepClient


class FailingOnce(VocalSepClient):
    fails = None

    def __init__(self):
        super().__init__(rate_limit=RateLimit(1_000, 1.0))

    async def separate(self, song, **options):
        fails = FailingOnce.fails if "song-07" in song else None
        if fails is not None:
            FailingOnce.fails = None
        if fails == "before":
            raise ConnectionError("the network of this machine is down")
        if fails == "in between":
            options["timeout"] = 0
        outcome = await super().separate(song, **options)
        if fails == "after":
            raise OSError("the disk of this machine is full")
        return outcome


async def ids_of(case, urls, flow):
    return [await state.result() for state in await flow(urls)]


async def run(case, fails):
    Path(case).mkdir()
    os.chdir(case)
    urls = [f"https://songs.example/{case}/song-{n:02}.mp3" for n in range(1, int(sys.argv[1]) + 1)]
    flow = songs.separate_songs.with_options(retry_delay_seconds=0)
    FailingOnce.fails = fails
    first, second = [await ids_of(case, urls, flow) for _ in range(2)]
    stems = [*Path("stems").rglob("*.wav")]
    os.chdir("..")
    failed = FailingOnce.fails is None
    print(json.dumps({"first": first, "second": second, "stems": len(stems), "failed": failed}))


songs.VocalSepClient = FailingOnce
with prefect_test_harness(server_startup_timeout=None):
    for number, (persists, fails) in enumerate(json.loads(sys.argv[2])):
        with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: persists}):
            asyncio.run(run(f"case-{number}", fails))
"""


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, object]:
    return {"speed": 1_000.0, "rate_limit": None, "credits": 10_000}


@pytest.mark.timeout(900)  # a server begins, which takes a busy machine a minute
def test_a_flow_that_is_retried_or_run_again_pays_for_each_song_once(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    save_files(PAGE, tmp_path)
    tmp_path.joinpath("program.py").write_text(PROGRAM, encoding="utf-8")
    environ = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # So that the program finds the flow, also where Python leaves its folder out.
        "PYTHONPATH": str(tmp_path),
        "VOCALSEP_API_KEY": "a-key",
        "VOCALSEP_BASE_URL": vocalsep_emulator.url,
    }
    command = [sys.executable, "program.py", str(SONGS), json.dumps(CASES)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [run["failed"] for run in runs] == [True] * len(CASES)
    assert all(run["first"] == run["second"] for run in runs)
    assert [run["stems"] for run in runs] == [2 * SONGS] * len(CASES)
    created = [task_id for run in runs for task_id in run["first"]]
    assert sorted(created) == sorted(vocalsep_emulator.tasks)
    assert len(created) == SONGS * len(CASES)
