"""Every Python block of the README runs, against the emulator.

A whole program runs as one, with a task id as its argument; a test file runs under pytest; a
fragment runs inside a coroutine that has a ``client``, a ``task_id`` and ``task_ids``.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vocalsep_async import VocalSepClient
from vocalsep_async.emulator import Emulator

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PROGRAMS = [block for block in BLOCKS if "asyncio.run(main" in block]
TEST_FILES = [block for block in BLOCKS if "def test_" in block]
FRAGMENTS = [block for block in BLOCKS if block not in PROGRAMS + TEST_FILES]


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, object]:
    return {"speed": 1000.0}


def test_the_readme_shows_all_three_kinds() -> None:
    assert PROGRAMS
    assert TEST_FILES
    assert FRAGMENTS


@pytest.mark.parametrize("block", PROGRAMS)
def test_a_program_of_the_readme_runs(block: str, vocalsep_emulator: Emulator) -> None:
    task_id = vocalsep_emulator.add_task(duration=0.1)
    environ = {
        **os.environ,
        "VOCALSEP_API_KEY": "a-key",
        "VOCALSEP_BASE_URL": vocalsep_emulator.url,
    }
    command = [sys.executable, "-c", block, task_id]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "vocal http" in run.stdout


@pytest.mark.parametrize("block", TEST_FILES)
def test_a_test_of_the_readme_passes(block: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(block)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def run_fragment(block: str, emulator: Emulator, task_ids: list[str]) -> None:
    async def run() -> None:
        async with VocalSepClient("a-key", base_url=emulator.url) as client:
            names = {"client": client, "task_id": task_ids[0], "task_ids": task_ids}
            code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result

    asyncio.run(run())


@pytest.mark.parametrize("block", FRAGMENTS)
def test_a_fragment_of_the_readme_runs(
    block: str,
    vocalsep_emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    task_ids = [vocalsep_emulator.add_task(duration=0.1) for _ in range(3)]
    run_fragment(block, vocalsep_emulator, task_ids)


def test_the_batch_of_the_readme_tells_a_failed_separation_from_a_good_one(
    vocalsep_emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = (vocalsep_emulator.add_task(duration=0.1) for _ in range(2))
    vocalsep_emulator.fail(bad, message="no voice in this song")
    (block,) = (each for each in FRAGMENTS if "client.track(" in each)
    run_fragment(block, vocalsep_emulator, [good, bad])
    lines = capsys.readouterr().out.splitlines()
    (of_good,) = (line for line in lines if line.startswith(good))
    (of_bad,) = (line for line in lines if line.startswith(bad))
    assert "vocal" in of_good
    assert "fail" not in of_good
    assert "failed" in of_bad
    assert "no voice in this song" in of_bad


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = next(line for line in README.splitlines() if "nox -s tests" in line)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
