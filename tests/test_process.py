"""A process whose system clock is set, and one that is stopped and resumed.

The same in virtual time is in ``test_time.py``; here clocks and signals are the real ones, and the
server runs in another process, whose clock is not touched.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vocalsep_async.emulator import Emulator

PROGRAM = Path(__file__).with_name("waiting_program.py")
LIMIT = (20, 1.0)
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
PATIENCE = 60.0


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": LIMIT}


@contextmanager
def program(
    emulator: Emulator, ending: list[str], jump: str = "", environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process that waits for those tasks, and for one that never ends."""
    endless = emulator.add_task(duration=math.inf)
    options = {"url": emulator.url, "limit": LIMIT, "ending": ending, "endless": endless}
    command = [sys.executable, str(PROGRAM), json.dumps(options | {"jump": jump})]
    with subprocess.Popen(
        command, env={**os.environ, **(environ or {})}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=PATIENCE)
    said: dict[str, Any] = json.loads(output)
    return said


def wait_until(done: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < give_up, "the condition never became true"
        time.sleep(0.001)


def most_in_any_window(emulator: Emulator) -> int:
    """By the server's own log of when requests came."""
    times = sorted(request.at for request in emulator.requests)
    period = LIMIT[1]
    return max(sum(at <= other < at + period for other in times) for at in times)


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime (Debian's package faketime)")
@pytest.mark.parametrize(
    "jump, hours",
    [
        pytest.param("+3600", 1, id="an hour forward"),
        pytest.param("-3600", -1, id="an hour back"),
        pytest.param("+28800", 8, id="a night, as after a suspend"),
    ],
)
def test_setting_the_system_clock_moves_no_deadline_and_no_rate_limit(
    vocalsep_emulator: Emulator, tmp_path: Path, jump: str, hours: int
) -> None:
    now = tmp_path / "now"
    now.write_text("+0", encoding="ascii")
    environ = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(now),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    ending = [vocalsep_emulator.add_task(duration=math.inf) for _ in range(20)]
    with program(vocalsep_emulator, ending, jump, environ) as process:
        wait_until(lambda: now.read_text(encoding="ascii") == jump)
        for task_id in ending:
            vocalsep_emulator.finish(task_id)
        said = said_by(process)
    assert said == {
        "ended": ["SUCCESS"] * len(ending),
        "endless": "timeout",
        "throttled": 0,
        "moved": {"wall": hours, "steady": 0},
    }
    assert most_in_any_window(vocalsep_emulator) <= LIMIT[0]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs signals that stop a process")
def test_a_resumed_process_catches_up_within_the_rate_limit(
    vocalsep_emulator: Emulator,
) -> None:
    ending = [vocalsep_emulator.add_task(duration=math.inf) for _ in range(36)]
    with program(vocalsep_emulator, ending) as process:
        wait_until(lambda: len(vocalsep_emulator.requests) > LIMIT[0])
        process.send_signal(signal.SIGSTOP)
        for task_id in ending:
            vocalsep_emulator.finish(task_id)
        # No event could be waited for: within three periods, all polls become due.
        time.sleep(3 * LIMIT[1])
        before = len(vocalsep_emulator.requests)
        process.send_signal(signal.SIGCONT)
        said = said_by(process)
    assert said["ended"] == ["SUCCESS"] * len(ending)
    assert said["endless"] == "timeout"
    assert said["throttled"] == 0
    assert len(vocalsep_emulator.requests) > before + LIMIT[0]
    assert most_in_any_window(vocalsep_emulator) <= LIMIT[0]
