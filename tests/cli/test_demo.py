"""The demo, as a process and inside the process of a test."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from cli.in_process import assert_error, call, signal_before_the_loop
from cli.subprocesses import ended
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import Adaptive, Durations, DurationView, PollContext, PollPolicy, RateLimit
from vocalsep_async.cli.demo import (
    LIMIT,
    REAL_LIMIT,
    SPEED,
    TITLES,
    TYPES,
    FasterPolls,
    emulator,
    usual_durations,
)
from vocalsep_async.emulator import Emulator

# The demo needs no key, and sends requests to its emulator only.
NOTHING = {name: value for name, value in os.environ.items() if not name.startswith("VOCALSEP")}
NOTHING |= {"NO_COLOR": "1", "COLUMNS": "200"}
COMMAND = (sys.executable, "-m", "vocalsep_async", "demo")


def names_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_the_demo_saves_the_stems_of_a_dozen_songs_and_writes_a_report(tmp_path: Path) -> None:
    shown = subprocess.run(
        COMMAND, env=NOTHING, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0
    results = [re.split(r"  +", line) for line in shown.stdout.splitlines()]
    assert sorted(title for title, *_ in results) == sorted(TITLES)
    status = {title: word for title, _id, word, *_ in results}
    assert sorted(status.values()) == ["GENERATE_AUDIO_FAILED", *["SUCCESS"] * 11]
    saved = {title for title, word in status.items() if word == "SUCCESS"}
    assert all(words[3].startswith("saved: ") for words in results if words[2] == "SUCCESS")

    first, *_, last, report = shown.stderr.splitlines()
    assert "http://127.0.0.1:" in first
    counts = r"12 songs: 11 succeeded, 1 failed; \d+ stems saved; \d+ requests, 0 throttled"
    assert re.match(counts + r"; detected \d+\.\d s after completion on average$", last)
    assert "task" not in shown.stderr

    page = tmp_path / "vocalsep-demo" / "report.html"
    assert report == f"report: {page}"
    assert names_in(tmp_path) == {"vocalsep-demo"}
    assert names_in(page.parent) == {*saved, "report.html", ".vocalsep"}
    kinds = {len(list((page.parent / title).glob("*.wav"))) for title in saved}
    assert kinds == {2, 12}
    content = page.read_text("utf-8")
    assert all(title in content for title in TITLES)
    assert "demo-key" not in content + shown.stdout + shown.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
async def test_a_signal_ends_the_demo_while_it_creates_tasks(
    tmp_path: Path, number: signal.Signals
) -> None:
    to = tmp_path / "here"
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("--to", str(to)),
        env=NOTHING,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        assert b"Emulating the API" in await process.stderr.readline()
        assert b"Separating 12 songs" in await process.stderr.readline()
    process.send_signal(number)
    run = await ended(process)
    assert run.status == 130
    assert re.search(r"^interrupted with \d+ songs? still pending; ", run.err, re.MULTILINE)
    assert run.err.endswith(f"report: {to / 'report.html'}\n")
    assert "</html>" in (to / "report.html").read_text("utf-8")
    assert names_in(tmp_path) == {"here"}


# In this process


@pytest.mark.anyio
async def test_the_demo_knows_how_long_its_tasks_take() -> None:
    durations = Durations()
    durations.update_from(await usual_durations())
    for type_ in (None, *TYPES):
        # The longest takes 15 s; the built-in guess is over a minute.
        assert durations.view(type_).remaining(0.0, 0.5) < 15
    # Half of the time, none of twelve songs takes longer than this, which the run begins with.
    assert 10 < durations.view().remaining(0.0, 0.5 / 12) < 17


def test_the_limit_of_the_demo_is_the_real_one_at_its_speed() -> None:
    per_second = REAL_LIMIT.max_requests / REAL_LIMIT.period
    assert LIMIT.max_requests / LIMIT.period == per_second * SPEED
    assert emulator().rate_limit == (LIMIT.max_requests, LIMIT.period)
    assert emulator().speed == SPEED
    assert RateLimit(20, 10.0) == REAL_LIMIT


@given(
    elapsed=st.floats(0, 400),
    age=st.floats(0, 400),
    price=st.floats(0, 5),
    lengths=st.lists(st.floats(20, 240), max_size=30),
    spare=st.booleans(),
)
def test_the_demo_polls_as_the_default_policy_does_in_its_own_seconds(
    elapsed: float, age: float, price: float, lengths: list[float], *, spare: bool
) -> None:
    speed = 8.0

    def delay(policy: PollPolicy, speed: float) -> float:
        # A view of this test's own: learned durations are kept in classes of whole seconds.
        view = AtSpeed(lengths, speed)
        return policy.delay(
            PollContext(
                polls=3,
                elapsed=elapsed / speed,
                age=age / speed,
                durations=cast("DurationView", view),
                draw=0.5,
                price=price / speed,
                spare=spare,
            )
        )

    real = delay(Adaptive(), 1.0)
    assert delay(FasterPolls(speed), speed) == pytest.approx(real / speed)


class AtSpeed:
    """A `DurationView` of tasks that took *lengths* real seconds."""

    def __init__(self, lengths: list[float], speed: float) -> None:
        self._lengths = lengths
        self._speed = speed

    @property
    def completions(self) -> int:
        return len(self._lengths)

    def due(self, since: float, delay: float) -> float:
        later = [each for each in self._lengths if each > since * self._speed]
        return min(later, default=240.0) / self._speed + delay


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None}


def test_a_demo_interrupted_at_its_start_creates_nothing(
    vocalsep_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_before_the_loop(monkeypatch)
    result = call(vocalsep_emulator, "-q", "demo", "--to", tmp_path)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "interrupted with 0 songs still pending" in result.stderr
    assert names_in(tmp_path) == {"report.html"}


def test_the_demo_sends_no_request_to_the_configured_api(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = call(vocalsep_emulator, "-q", "demo", "--to", tmp_path / "file")
    assert_error(result, "file: a file is where a folder is needed")
    assert vocalsep_emulator.requests == ()
