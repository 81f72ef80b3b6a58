"""Processes that are killed in the middle, and processes that share one target.

VOCALSEP_KILLS says how many kills the sweep has, spread over all calls that change the disk; the
ordinary run takes a sample of them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from downloads.hosts import (
    AUDIO,
    OTHER,
    PATIENCE,
    QUICK,
    TASK_ID,
    Answer,
    Host,
    hidden_below,
    saving,
    traced,
    why_no_strace,
)
from sampling import sampled

from vocalsep_async import VocalSepClient

KILLS = int(os.environ.get("VOCALSEP_KILLS", "12"))
STEMS = ("vocal", "drums", "bass")
CALLS = "write,fsync,ftruncate,flock,?mkdir,?mkdirat,?unlink,?unlinkat,?rename,?renameat,?renameat2"
CUT = 100_000

needs_strace = pytest.mark.skipif(why_no_strace() is not None, reason=str(why_no_strace()))


def target_of(folder: Path, stem: str) -> Path:
    return folder / TASK_ID / f"{stem}.mp3"


def place_old_file(folder: Path) -> None:
    target_of(folder, "vocal").parent.mkdir(parents=True)
    target_of(folder, "vocal").write_bytes(OTHER)


def assert_nothing_is_half_done(folder: Path, *, had_old: bool) -> None:
    for stem in STEMS:
        target = target_of(folder, stem)
        old = OTHER if had_old and stem == "vocal" else None
        assert (target.read_bytes() if target.exists() else None) in (old, AUDIO)


async def assert_the_next_run_completes_it(host: Host, folder: Path) -> None:
    async with VocalSepClient("a-key", base_url=host.url, retry=QUICK, rate_limit=None) as client:
        report = await client.download_stems(TASK_ID, folder)
        again = await client.download_stems(TASK_ID, folder)
    for stem in STEMS:
        assert target_of(folder, stem).read_bytes() == AUDIO
    assert set(report.paths) == set(STEMS)
    assert not any(file.was_fetched for file in again.files)
    assert hidden_below(folder) == []


def undisturbed_host() -> Host:
    return Host(**{stem: [Answer()] for stem in STEMS})


def wait_until(done: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < give_up, "the expected state was never reached"
        time.sleep(0.001)


def end_of(command: list[str]) -> int:
    """The return code of a program."""
    return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """The system calls of an undisturbed run that change the disk: name and number of each."""
    folder = tmp_path_factory.mktemp("undisturbed")
    log = folder / "log"
    # Without the folder, there would be further calls to make it.
    place_old_file(folder / "saved")
    with undisturbed_host() as host:
        command = [*traced("-e", f"trace={CALLS}", log=str(log)), *saving(host, folder / "saved")]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    calls = re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE)
    worker = next(thread for thread, call in calls if call == "fsync")
    numbers = Counter(call for thread, call in calls if thread == worker)
    # The number of chunks varies; metadata, one chunk and the manifest are always written.
    numbers["write"] = min(numbers["write"], 3 * len(STEMS))
    return [(call, n + 1) for call, number in sorted(numbers.items()) for n in range(number)]


@needs_strace
@pytest.mark.anyio
@pytest.mark.parametrize("nth", sampled(range(KILLS), one_in=5))
async def test_a_kill_at_any_call_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, points: list[tuple[str, int]], nth: int
) -> None:
    call, when = points[nth * len(points) // KILLS % len(points)]
    had_old = nth % 2 == 1
    if had_old:
        place_old_file(tmp_path)
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
    with undisturbed_host() as host:
        command = [*traced(*inject), *saving(host, tmp_path)]
        assert end_of(command) == -signal.SIGKILL, (call, when)
        assert_nothing_is_half_done(tmp_path, had_old=had_old)
        await assert_the_next_run_completes_it(host, tmp_path)


@pytest.mark.anyio
@pytest.mark.parametrize("position", [0, 1, 64, 65_536, CUT, len(AUDIO) - 1])
async def test_a_kill_in_the_middle_of_a_file_leaves_a_part_that_the_next_run_resumes(
    tmp_path: Path, position: int
) -> None:
    place_old_file(tmp_path)
    part = target_of(tmp_path, "vocal").with_name(".vocal.mp3.part")
    answers = {stem: [Answer(hold=position), Answer()] for stem in STEMS}
    with Host(**answers) as host:
        with running(saving(host, tmp_path)) as process:
            host.wait_until(lambda host: host.held == 1)
            stem = host.requests[0].name
            part = target_of(tmp_path, stem).with_name(f".{stem}.mp3.part")
            # Fewer bytes are held back: they do not show whether the file is audio.
            kept = position if position >= 64 else 0
            wait_until(lambda: part.stat().st_size == kept)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert_nothing_is_half_done(tmp_path, had_old=True)
        host.release()
        await assert_the_next_run_completes_it(host, tmp_path)
    ranges = [request.range for request in host.requests if request.name == stem]
    assert ranges == [None, f"bytes={kept}-" if kept else None]


def test_two_processes_with_one_target_both_save_the_complete_file(tmp_path: Path) -> None:
    with Host(vocal=[Answer(together=2)]) as host:
        command = saving(host, tmp_path)
        with running(command) as one, running(command) as two:
            said = [program.communicate(timeout=PATIENCE)[0] for program in (one, two)]
    assert said == [b'{"files": {"vocal": true}, "errors": {}}'] * 2
    assert target_of(tmp_path, "vocal").read_bytes() == AUDIO
    assert hidden_below(tmp_path) == []


@pytest.mark.anyio
async def test_a_part_of_a_running_process_is_left_alone(tmp_path: Path) -> None:
    with (
        Host(vocal=[Answer(hold=CUT), Answer()]) as host,
        running(saving(host, tmp_path)) as process,
    ):
        host.wait_until(lambda host: host.held == 1)
        part = target_of(tmp_path, "vocal").with_name(".vocal.mp3.part")
        wait_until(lambda: part.stat().st_size == CUT)
        async with VocalSepClient("a-key", base_url=host.url) as client:
            await client.download_stems(TASK_ID, tmp_path)
        assert target_of(tmp_path, "vocal").read_bytes() == AUDIO
        assert part.read_bytes() == AUDIO[:CUT]
        host.release()
        said, _ = process.communicate(timeout=PATIENCE)
    assert said == b'{"files": {"vocal": true}, "errors": {}}'
    assert target_of(tmp_path, "vocal").read_bytes() == AUDIO
    assert hidden_below(tmp_path) == []
