"""The script of the page about cron, started again and again, loses no task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import save_files, text_of

from vocalsep_async.emulator import Emulator, Fault

PAGE = "docs/how-to/cron.md"
SECONDS = 300


class Cron:
    """A folder with the script, and what its runs have printed."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self._emulator = emulator
        save_files(PAGE, folder)
        (folder / "waiting").mkdir()

    def add(self, task_id: str) -> Path:
        file = self.folder / "waiting" / f"{task_id}.json"
        file.touch()
        return file

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environ = {"VOCALSEP_API_KEY": "a-key", "VOCALSEP_BASE_URL": self._emulator.url}
        return subprocess.run(
            command or (sys.executable, "collect.py", "0"),
            cwd=self.folder,
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def set_due(self, file: Path, at: float) -> None:
        """Have its next poll come at another time; 0 is long ago."""
        file.write_text(json.dumps(json.loads(file.read_text()) | {"at": at}))

    @property
    def waiting(self) -> list[str]:
        return sorted(file.stem for file in (self.folder / "waiting").iterdir())

    @property
    def ended(self) -> list[str]:
        return sorted(file.stem for file in (self.folder / "ended").iterdir())


@pytest.fixture
def cron(tmp_path: Path, vocalsep_emulator: Emulator) -> Cron:
    return Cron(tmp_path, vocalsep_emulator)


def test_a_run_saves_what_has_ended_and_the_next_run_the_rest(
    cron: Cron, vocalsep_emulator: Emulator
) -> None:
    done = vocalsep_emulator.add_task(duration=0)
    running = vocalsep_emulator.add_task(duration=10_000)
    cron.add(done)
    file = cron.add(running)
    first = cron.run()
    assert (first.returncode, first.stdout) == (0, f"{done} SUCCESS\n")
    assert cron.waiting == [running]
    assert cron.ended == [done]
    state = json.loads(file.read_text())["state"]
    assert state["polls"] == 1

    vocalsep_emulator.finish(running)
    cron.set_due(file, 9e9)
    assert cron.run().stdout == ""
    assert cron.waiting == [running]
    cron.set_due(file, 0)
    assert cron.run().stdout == f"{running} SUCCESS\n"
    assert cron.waiting == []
    saved = {file.parent.name for file in cron.folder.glob("stems/*/vocal.wav")}
    assert saved == {done, running}


def test_a_run_keeps_a_task_whose_poll_fails_and_counts_the_failure(
    cron: Cron, vocalsep_emulator: Emulator
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    file = cron.add(task_id)
    vocalsep_emulator.inject(Fault.SERVER_ERROR)
    assert cron.run().returncode == 0
    assert json.loads(file.read_text())["state"]["failures"] == 1
    cron.set_due(file, 0)
    assert cron.run().stdout == f"{task_id} SUCCESS\n"


def test_a_run_keeps_all_tasks_where_the_account_is_refused(
    cron: Cron, vocalsep_emulator: Emulator
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    cron.add(task_id)
    vocalsep_emulator.inject(Fault.UNAUTHORIZED)
    refused = cron.run()
    assert refused.returncode == 1
    assert "Check the API key" in refused.stderr
    assert cron.waiting == [task_id]
    assert cron.run().stdout == f"{task_id} SUCCESS\n"


def test_runs_give_up_a_task_that_does_not_exist(cron: Cron) -> None:
    file = cron.add("no-such-task")
    runs = [cron.run()]
    while cron.waiting:
        cron.set_due(file, 0)
        runs.append(cron.run())
    assert len(runs) == 4
    assert runs[-1].stderr.startswith("task not found: 'no-such-task'")
    assert cron.ended == ["no-such-task"]


def test_a_run_waits_for_slots_of_the_rate_limit(cron: Cron, vocalsep_emulator: Emulator) -> None:
    task_ids = [vocalsep_emulator.add_task(duration=0) for _ in range(7)]
    for task_id in task_ids:
        cron.add(task_id)
    run = cron.run(sys.executable, "collect.py", "250")
    assert sorted(run.stdout.splitlines()) == sorted(f"{task_id} SUCCESS" for task_id in task_ids)
    assert {request.code for request in vocalsep_emulator.requests if request.code} == {200}


def test_the_command_of_the_page_saves_the_stems_of_a_list(
    cron: Cron, vocalsep_emulator: Emulator
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    (cron.folder / "ids.txt").write_text(f"{task_id}\n")
    (line,) = (line for line in text_of(PAGE).splitlines() if "vocalsep -q track" in line)
    options = line.partition("vocalsep ")[2].split()
    run = cron.run(sys.executable, "-m", "vocalsep_async", *options)
    assert run.returncode == 0, run.stderr
    assert (cron.folder / "stems" / task_id / "vocal.wav").is_file()
