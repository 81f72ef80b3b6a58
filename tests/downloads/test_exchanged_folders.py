"""Folders that another user exchanges for links while files are written: nothing gets outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import AUDIO, TASK_ID, Answer, Host, left_open
from downloads.parts import NAME, OWNER, PART, chunks

from vocalsep_async import DownloadError, SeparationTask, TaskStatus, VocalSepClient
from vocalsep_async._downloads import folder as folders
from vocalsep_async._downloads.folder import Directory
from vocalsep_async._downloads.manifest import Manifest
from vocalsep_async._downloads.partfile import PartFile

pytestmark = pytest.mark.skipif(
    not folders.HAS_DESCRIPTORS, reason="the platform has no descriptors of folders"
)

RECORD = SeparationTask(task_id=TASK_ID, status=TaskStatus.SUCCESS)
CALLS = ("open", "stat", "mkdir", "unlink", "replace", "listdir", "fsync", "write", "close")
PRECIOUS = b"precious"
EXCHANGER = """
import os, random, sys, threading
folder, aside, outside = sys.argv[1:]
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
exchanges = 0
while not ended.wait(random.random() / 1000):
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        continue
    # A folder may be made in between; then it stays.
    try:
        os.symlink(outside, folder)
        ended.wait(random.random() / 1000)
        os.unlink(folder)
        os.rename(aside, folder)
        exchanges += 1
    except OSError:
        os.system(f"rm -rf {aside}")
print(exchanges)
"""


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder of another user, with files of the same names that must not change."""
    outside = tmp_path / "outside"
    outside.mkdir()
    names = {NAME, PART, f"{PART}.json", "manifest.json", ".vocal.mp3.0123456789abcdef.part"}
    for name in names:
        (outside / name).write_bytes(PRECIOUS)
    yield outside
    assert {entry.name for entry in outside.iterdir()} == names
    assert {entry.read_bytes() for entry in outside.iterdir()} == {PRECIOUS}


def save(directory: Directory, content: bytes = AUDIO) -> Path:
    """Save a file as a download does, with its manifest."""
    target = directory.path / TASK_ID / NAME
    manifest = Manifest(directory, TASK_ID)
    part = PartFile.open(directory, target, OWNER)
    try:
        part.write(chunks(content))
        saved = part.finish()
    except BaseException:
        part.discard()
        raise
    manifest.add("vocal", target, saved, RECORD, verified=True)
    return target


def is_exchanged_at(
    number: int, exchange: Callable[[], object], call: Callable[[], object]
) -> bool:
    """Run *call*, with *exchange* before its nth call of the system; whether it came to that."""
    count = 0

    def counted(really: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*given: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                exchange()
            return really(*given, **options)

        return instead

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        call()
    return count >= number


@pytest.mark.parametrize("is_new", [False, True], ids=["an old file", "an empty directory"])
@pytest.mark.parametrize("place", [".", TASK_ID], ids=["the directory", "the folder of the task"])
def test_a_folder_exchanged_at_any_call_of_the_system_lets_nothing_out(
    tmp_path: Path, outside: Path, place: str, *, is_new: bool
) -> None:
    number, errors, was_reached = 0, 0, True
    while was_reached:
        number += 1
        saved = tmp_path / str(number) / "saved"
        (saved / TASK_ID).mkdir(parents=True)
        if not is_new:
            (saved / TASK_ID / NAME).write_bytes(b"old")
        directory = Directory(saved)
        directory.open(saved).close()

        def exchange(folder: Path = saved / place) -> None:
            folder.rename(folder.with_name("away"))
            folder.symlink_to(outside)

        def attempt(directory: Directory = directory) -> None:
            nonlocal errors
            try:
                save(directory)
            except OSError:
                errors += 1

        with left_open(tmp_path) as still_open:
            was_reached = is_exchanged_at(number, exchange, attempt)
        assert still_open == [], number
    assert number > 30
    assert errors > 20


@contextmanager
def exchanged_in_a_loop(folder: Path, outside: Path) -> Iterator[None]:
    command = [sys.executable, "-SE", "-c", EXCHANGER, str(folder)]
    command += [str(folder.with_name(f"{folder.name}-aside")), str(outside)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        exchanges, _ = process.communicate()
    assert int(exchanges) > 0


def test_a_process_that_exchanges_the_folder_all_the_time_gets_nothing_out(
    tmp_path: Path, outside: Path
) -> None:
    saved = tmp_path / "saved"
    (saved / TASK_ID).mkdir(parents=True)
    directory = Directory(saved)
    errors: list[OSError] = []
    with left_open(tmp_path) as still_open, exchanged_in_a_loop(saved / TASK_ID, outside):
        for _ in range(300):
            try:
                save(directory, AUDIO[:1000])
            except OSError as error:
                errors.append(error)
    assert still_open == []
    assert all(error.strerror for error in errors)
    assert save(directory).read_bytes() == AUDIO


@pytest.mark.anyio
async def test_a_download_whose_folder_is_exchanged_ends_in_a_plain_error(
    tmp_path: Path, outside: Path
) -> None:
    saved = tmp_path / "saved"

    def exchange(_: object) -> None:
        if not (saved / TASK_ID).is_symlink():
            (saved / TASK_ID).rename(saved / "away")
            (saved / TASK_ID).symlink_to(outside)

    with Host(Answer()) as host:
        async with VocalSepClient("a-key", base_url=host.url) as client:
            with pytest.raises(DownloadError, match="moved or replaced while files were written"):
                await client.download_stems(host.task("vocal"), saved, on_progress=exchange)
            with pytest.raises(DownloadError, match="a link leads out of the directory"):
                await client.download_stems(host.task("vocal"), saved)
    assert list((saved / "away").iterdir()) == []
