"""Runs of songs that are killed: the same run again pays for no song twice, and saves the rest.

VOCALSEP_KILLS is the number of kills of each sweep, spread over all requests, or over all system
calls that change the disk or the network; by default a sample of them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from downloads.hosts import traced, why_no_strace
from paying.runs import ENVIRON, PATIENCE, Done, Scene, scene
from paying.song_host import CREATION, FILE, POLL, Moment, kills, stops, the
from paying.songs_program import stopping_file
from sampling import sampled

pytestmark = pytest.mark.anyio

KILLS = int(os.environ.get("VOCALSEP_KILLS", "12"))
ONE = {"files": 1}
TEN = {"files": 4, "urls": 3, "tracks": 3, "copies": 1}
MOMENTS = tuple(Moment)
DISK = "pwrite64,write,fsync,fdatasync,ftruncate,?unlink,?unlinkat,?rename,?renameat,?renameat2"
NETWORK = "?connect,?sendto,?sendmsg,?recvfrom"
LIMITS = (0, 4096, 30_000, 100_000)
"""Bytes that each file may have: for nothing, for the journal without its log, for both but not
for the log, for all but the log of ten songs."""

needs_strace = pytest.mark.skipif(why_no_strace() is not None, reason=str(why_no_strace()))


async def killed(stage: Scene, number: int, moment: Moment) -> Done:
    """How a program ends that is killed when a request reaches a moment."""
    stage.host.at(the(number), moment, kills(lambda: stage.pid))
    return await stage.program()


async def stopped(stage: Scene, number: int, moment: Moment) -> Done:
    """How a program ends that is told to stop then."""
    is_stopping = stopping_file(stage.journal).exists
    stage.host.at(the(number), moment, stops(lambda: stage.pid, is_stopping))
    return await stage.program()


def point_of(nth: int, points: int, count: int) -> tuple[int, Moment]:
    """The nth of so many kills: the request, from 1, and its moment."""
    request, moment = divmod((2 * nth + 1) * points // (2 * count), len(MOMENTS))
    return request + 1, MOMENTS[moment]


@pytest.mark.parametrize("nth", sampled(range(6 * len(MOMENTS)), one_in=8))
async def test_a_kill_at_any_request_of_one_song_never_pays_twice(tmp_path: Path, nth: int) -> None:
    async with scene(tmp_path, **ONE) as stage:
        number, moment = point_of(nth, 6 * len(MOMENTS), 6 * len(MOMENTS))
        assert stage.songs.requests == 6
        done = await killed(stage, number, moment)
        assert done.code == -signal.SIGKILL, done
        uncertain = await stage.assert_the_same_run_completes()
        # The program may have got from the answer to an upload to the creation.
        is_known = stage.host.requests[number - 1].startswith((POLL, FILE))
        assert not (is_known and uncertain)


@pytest.mark.parametrize("nth", sampled(range(KILLS), one_in=4))
async def test_a_kill_at_any_request_of_ten_songs_never_pays_twice(
    tmp_path: Path, nth: int
) -> None:
    async with scene(tmp_path, **TEN) as stage:
        number, moment = point_of(nth, stage.songs.requests * len(MOMENTS), KILLS)
        done = await killed(stage, number, moment)
        assert done.code == -signal.SIGKILL, done
        await stage.assert_the_same_run_completes()


@pytest.mark.parametrize("nth", sampled(range(KILLS), one_in=4))
async def test_a_run_that_is_stopped_at_any_request_leaves_no_song_uncertain(
    tmp_path: Path, nth: int
) -> None:
    async with scene(tmp_path, **TEN) as stage:
        number, moment = point_of(nth, stage.songs.requests * len(MOMENTS), KILLS)
        done = await stopped(stage, number, moment)
        # The last answers may come after the last request that it waits for.
        assert (done.code, done.errors) == (0, "")
        assert await stage.assert_the_same_run_completes() == set()


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_run_that_is_stopped_at_a_creation_waits_for_its_id(
    tmp_path: Path, moment: Moment
) -> None:
    async with scene(tmp_path, **ONE) as stage:
        done = await stopped(stage, 2, moment)
        assert (done.code, done.errors) == (0, "")
        assert stage.host.requests[1].startswith(CREATION)
        assert await stage.assert_the_same_run_completes() == set()


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """The system calls of an undisturbed run, and the most that one thread makes of each."""
    folder = tmp_path_factory.mktemp("undisturbed")
    log = folder / "log"
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(scene(folder, **TEN)) as stage,
    ):
        command = [*traced("-e", f"trace={DISK},{NETWORK}", log=str(log)), *stage.command()]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE, env=ENVIRON)
    found = re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE)
    numbers: dict[str, int] = {}
    for (_, call), number in Counter(found).items():
        numbers[call] = max(numbers.get(call, 0), number)
    assert {"pwrite64", "fdatasync", "sendto", "recvfrom"} <= set(numbers)
    return sorted(numbers.items())


@needs_strace
@pytest.mark.parametrize("nth", sampled(range(2 * KILLS), one_in=8))
async def test_a_kill_at_any_system_call_never_pays_twice(
    tmp_path: Path, calls: list[tuple[str, int]], nth: int
) -> None:
    # Each call as often as every other one, although most of them are writes to the journal.
    (call, most), turn = calls[nth % len(calls)], nth // len(calls)
    turns = -(-2 * KILLS // len(calls))
    await killed_at(call, 1 + turn * most // turns, tmp_path)


async def killed_at(call: str, when: int, folder: Path) -> None:
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
    async with scene(folder / str(when), **TEN) as stage:
        done = await stage.program(*traced(*inject))
        if done.code == -signal.SIGKILL:
            await stage.assert_the_same_run_completes()
            return
        assert done.code == 0, done
    # There may be fewer than in the undisturbed run: an earlier one, then.
    assert when > 1, call
    await killed_at(call, when // 2, folder)


async def test_a_run_that_is_killed_at_each_creation_in_turn_reports_each_song_once(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, urls=3) as stage:
        for _ in range(3):
            stage.host.at(
                lambda visit: visit.line.startswith(CREATION),
                Moment.CARRIED_OUT,
                kills(lambda: stage.pid),
            )
            await stage.program()
            stage.assert_no_song_was_posted_twice()
        assert await stage.assert_the_same_run_completes() == set(stage.songs.names.values())


@pytest.mark.parametrize("limit", LIMITS)
async def test_files_that_cannot_grow_end_the_run_without_a_second_payment(
    tmp_path: Path, limit: int
) -> None:
    async with scene(tmp_path, **TEN) as stage:
        done = await stage.program(limit=limit)
        assert done.code == 0, done.errors
        await stage.assert_the_same_run_completes()


@needs_strace
@pytest.mark.parametrize(
    "calls, error, when",
    [
        pytest.param("pwrite64", "ENOSPC", "1+", id="full from the start"),
        pytest.param("pwrite64", "ENOSPC", "60+", id="full after a while"),
        pytest.param("pwrite64", "EIO", "70", id="broken once"),
        pytest.param("fsync,fdatasync", "EIO", "1+", id="nothing reaches the disk"),
        pytest.param("fdatasync", "EIO", "8", id="one write does not reach the disk"),
    ],
)
async def test_a_disk_that_fails_ends_the_run_without_a_second_payment(
    tmp_path: Path, calls: str, error: str, when: str
) -> None:
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    async with scene(tmp_path, **TEN) as stage:
        done = await stage.program(*traced("--seccomp-bpf", *inject))
        assert done.code == 0, done.errors
        assert [word for word, _ in done.said if word == "error"] == ["error"]
        assert str(stage.journal) in done.said[-1][1]
        await stage.assert_the_same_run_completes()
