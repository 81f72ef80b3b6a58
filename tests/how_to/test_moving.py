"""The programs of the page about moving do the same; ours, more than that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import fields_dict
from pages import save_files, text_of

import vocalsep_async
from vocalsep_async import SeparationTask, Stems, VocalSepClient
from vocalsep_async.emulator import Emulator, Fault

PAGE = "docs/how-to/moving.md"
SECONDS = 300


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, object]:
    return {"speed": 1000.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_files(PAGE, tmp_path)
    return tmp_path


def run(folder: Path, emulator: Emulator, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "VOCALSEP_API_KEY": "a-key",
        "VOCALSEP_BASE_URL": emulator.url,
        "VOCALSEP_UPLOAD_URL": emulator.url,
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_program_that_replaces_the_loop_prints_the_same(
    folder: Path, vocalsep_emulator: Emulator
) -> None:
    task_ids = [vocalsep_emulator.add_task(duration=0) for _ in range(2)]
    before = run(folder, vocalsep_emulator, "before.py", *task_ids)
    after = run(folder, vocalsep_emulator, "after.py", *task_ids)
    assert before.returncode == after.returncode == 0
    assert without_signatures(before.stdout) == without_signatures(after.stdout)


def without_signatures(output: str) -> list[str]:
    return sorted(line.partition("?")[0] for line in output.splitlines())


def test_the_loop_loses_all_results_to_one_fault_and_its_replacement_none(
    folder: Path, vocalsep_emulator: Emulator
) -> None:
    task_ids = [vocalsep_emulator.add_task(duration=0) for _ in range(2)]
    vocalsep_emulator.inject(Fault.THROTTLED)
    assert run(folder, vocalsep_emulator, "before.py", *task_ids).returncode == 1
    vocalsep_emulator.inject(Fault.THROTTLED)
    after = run(folder, vocalsep_emulator, "after.py", *task_ids)
    assert after.returncode == 0
    assert all(f"{task_id} http" in after.stdout for task_id in task_ids)


def test_a_synchronous_program_separates_one_song_after_the_other(
    folder: Path, vocalsep_emulator: Emulator
) -> None:
    song = vocalsep_emulator.original_wav()
    for number in range(2):
        (folder / f"{number}.wav").write_bytes(song + bytes(number))
    found = run(folder, vocalsep_emulator, "in_sync.py", "0.wav", "1.wav")
    assert found.returncode == 0, found.stderr
    saved = [folder / line for line in found.stdout.splitlines()]
    assert len(saved) == 4
    assert all(path.is_file() for path in saved)


def test_the_table_names_what_exists() -> None:
    names = re.findall(r"`(?:\w+ = )?(?:\(?await )?\(?(client|task)\.(\w+)", right_column())
    assert len(names) > 10
    known = {
        "client": {*dir(VocalSepClient)},
        "task": {*dir(SeparationTask), *fields_dict(SeparationTask)},
    }
    assert not [name for kind, name in names if name not in known[kind]]
    stems = re.findall(r"task\.stems\.(\w+)", right_column())
    assert stems
    assert {*stems} <= fields_dict(Stems).keys()
    errors = re.findall(r"\b(\w+Error)\b", right_column())
    assert errors
    builtin = {"TimeoutError"}
    assert not [each for each in {*errors} - builtin if not hasattr(vocalsep_async, each)]


def right_column() -> str:
    rows = [line for line in text_of(PAGE).splitlines() if line.startswith("| ")]
    return "\n".join(row.rstrip(" |").rpartition(" | ")[2] for row in rows)
