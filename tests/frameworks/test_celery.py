"""The tasks of the Celery page run in real workers, against the emulator."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pages import files_of
from stores import MISSING, StoreServer, server_program

from vocalsep_async.emulator import Emulator, Fault

pytest.importorskip("celery", reason="Celery is not installed; the nox session frameworks has it")

PAGE = "docs/how-to/celery.md"
# What the tests need to know of the processes.
WORKER = """
import asyncio
import os

from celery.signals import task_prerun
from songs import app, client

from vocalsep_async.instrumentation import PollFinished, PollStarted


@task_prerun.connect
def show(task, **_):
    print(f"process {os.getpid()} runs {task.name}", flush=True)


polls = {}


def show_stalled(event):
    if isinstance(event, PollStarted):
        show = lambda: print(f"process {os.getpid()} polls", flush=True)
        polls[event.task_id] = asyncio.get_running_loop().call_later(0.5, show)
    elif isinstance(event, PollFinished):
        polls.pop(event.task_id).cancel()


client._engines.listen(show_stalled)
"""


class Worker(NamedTuple):
    """A running worker.

    Attributes:
        process: its parent process.
        lines: of its log, as far as it was read.
    """

    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def read_until(self, is_enough: Callable[[str], object]) -> None:
        assert self.process.stdout is not None
        while not is_enough(self.log):
            line = self.process.stdout.readline()
            assert line, self.log
            self.lines.append(line)

    def saved(self, count: int) -> None:
        """Read its log until so many songs were saved."""
        self.read_until(lambda log: len(re.findall(r"save_stems\[.*\] succeeded", log)) >= count)

    def stop(self) -> None:
        self.process.terminate()
        rest, _ = self.process.communicate()
        self.lines.append(rest)


class Songs(NamedTuple):
    """A folder with the file of the page, and the environment of its programs."""

    folder: Path
    environ: dict[str, str]

    @contextmanager
    def worker(self, *options: str) -> Iterator[Worker]:
        command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-l", "info", *options]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            worker = Worker(process, [])
            try:
                yield worker
            finally:
                worker.stop()

    def run(self, *command: str) -> None:
        subprocess.run([sys.executable, *command], cwd=self.folder, env=self.environ, check=True)

    def save_stems_of(self, task_ids: list[str]) -> None:
        orders = [(each, f"order-{n}") for n, each in enumerate(task_ids)]
        self.run("-c", f"import songs\nfor each in {orders!r}: songs.save_stems.delay(*each)")


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    # Not throttled: what the processes send is counted here.
    return {"rate_limit": None, "speed": 1000}


@pytest.fixture
def store() -> Iterator[StoreServer]:
    program = server_program()
    if program is None:
        pytest.skip(MISSING)
    with StoreServer(program) as store:
        yield store


@pytest.fixture
def songs(vocalsep_emulator: Emulator, store: StoreServer, tmp_path: Path) -> Songs:
    for name, content in files_of(PAGE).items():
        text = content.replace("redis://localhost/1", f"{store.url}?db=1")
        tmp_path.joinpath(name).write_text(text, encoding="utf-8")
    tmp_path.joinpath("worker.py").write_text(WORKER)
    environ = {
        **os.environ,
        "CELERY_BROKER_URL": f"redis+socket://{store.path}",
        "PYTHONDEVMODE": "1",
        "PYTHONSAFEPATH": "",
        "PYTHONUNBUFFERED": "1",
        "VOCALSEP_API_KEY": "a-key",
        "VOCALSEP_BASE_URL": vocalsep_emulator.url,
    }
    return Songs(tmp_path, environ)


def saved_orders(folder: Path) -> set[str]:
    return {each.name for each in folder.joinpath("stems").iterdir()}


def creations(emulator: Emulator) -> int:
    return sum(each.method == "POST" for each in emulator.requests)


def most_in(period: float, emulator: Emulator) -> int:
    """The most requests to the API that arrived in any window of *period* seconds."""
    at = [each.at for each in emulator.requests if each.path.startswith("/api/")]
    return max(sum(begin <= each < begin + period for each in at) for begin in at)


@pytest.mark.deep
def test_forty_songs_keep_the_limit_although_processes_are_replaced(
    songs: Songs, vocalsep_emulator: Emulator
) -> None:
    ids = [vocalsep_emulator.add_task(duration=8) for _ in range(40)]
    songs.save_stems_of(ids)
    with songs.worker("--concurrency", "2", "--max-tasks-per-child", "3") as worker:
        worker.saved(40)
    assert saved_orders(songs.folder) == {f"order-{n}" for n in range(40)}
    assert len(set(re.findall(r"process (\d+) runs", worker.log))) >= 40 / 3
    assert most_in(10, vocalsep_emulator) <= 20
    assert not re.findall(r".*(?:Traceback|ERROR|ResourceWarning|never awaited).*", worker.log)


@pytest.mark.deep
def test_a_killed_process_loses_no_song(songs: Songs, vocalsep_emulator: Emulator) -> None:
    vocalsep_emulator.inject(Fault.STALLED)
    songs.save_stems_of([vocalsep_emulator.add_task(duration=0)])
    with songs.worker("--concurrency", "2") as worker:
        worker.read_until(lambda log: re.search(r"process \d+ polls", log))
        (process,) = re.findall(r"process (\d+) polls", worker.log)
        os.kill(int(process), signal.SIGKILL)
        worker.saved(1)
    assert "WorkerLostError" in worker.log
    assert saved_orders(songs.folder) == {"order-0"}


def test_an_order_that_is_sent_twice_is_created_once(
    songs: Songs, vocalsep_emulator: Emulator
) -> None:
    songs.run("order.py")
    songs.run("order.py")
    with songs.worker("--concurrency", "2") as worker:
        worker.saved(2)
    assert saved_orders(songs.folder) == {"order-7"}
    assert creations(vocalsep_emulator) == 1
