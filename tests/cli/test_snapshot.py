"""How a batch stands, in words and bars."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from cli.stats import batch, client
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vocalsep_async import DownloadProgress
from vocalsep_async.cli.snapshot import Snapshot, duration, plain, rendered


def snapshot(**fields: Any) -> Snapshot:
    usual: dict[str, Any] = {"batch": batch(), "client": client(), "used": 1.84}
    return Snapshot(**(usual | fields))


def shown(shot: Snapshot) -> list[str]:
    """What stands on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, record=True, markup=False, highlight=False)
    console.print(rendered(shot))
    return [line.rstrip() for line in console.export_text().splitlines()]


def progress(done: int, total: int | None, path: str = "stems/an-id/vocal.wav") -> DownloadProgress:
    return DownloadProgress(task_id="an-id", stem="vocal", path=Path(path), done=done, total=total)


# Durations


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (8, "8 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (61, "1:01 min"),
        (185, "3:05 min"),
        (3599.4, "59:59 min"),
        (3599.6, "1:00 h"),
        (7800, "2:10 h"),
        (360_000, "100:00 h"),
    ],
)
def test_durations_are_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(st.floats(min_value=0, max_value=1e9))
def test_no_duration_has_sixty_of_anything(seconds: float) -> None:
    number, unit = duration(seconds).split()
    assert unit in {"s", "min", "h"}
    assert int(number.rpartition(":")[2]) < 60


# One line


def test_one_line_holds_the_facts() -> None:
    assert plain(snapshot()) == (
        "12 of 42 known, 1 failed; about 2:05 min left; 50 requests, 1.8 of 2.0 a second; 0 refused"
    )


def test_what_did_not_happen_is_not_told() -> None:
    shot = snapshot(batch=batch(failed=0, pending=0, eta=0.0))
    assert plain(shot).startswith("12 of 12 known; all known; ")


def test_an_end_that_cannot_be_foreseen_is_said_so() -> None:
    assert "no end in sight" in plain(snapshot(batch=batch(eta=math.inf)))
    assert "inf" not in plain(snapshot(batch=batch(eta=math.inf)))


def test_a_limit_that_is_not_known_is_not_told() -> None:
    assert "50 requests, 1.8 a second" in plain(snapshot(client=client(rate=math.inf)))


@pytest.mark.parametrize(
    "throttled, why", [(0, "the API asked for patience"), (3, "the account was refused")]
)
def test_a_pause_is_told_with_its_reason(throttled: int, why: str) -> None:
    shot = snapshot(client=client(paused_for=8.2, throttled=throttled))
    assert plain(shot).endswith(f"; paused 9 s: {why}")
    assert f"paused 9 s: {why}" in shown(shot)


def test_looks_that_met_errors_are_told() -> None:
    words = "3 looks met an error and were repeated"
    shot = snapshot(batch=batch(retried=3))
    assert words in plain(shot)
    assert words in shown(shot)
    assert "error" not in plain(snapshot())


# Bars


def test_a_terminal_shows_the_same_facts_and_a_bar() -> None:
    first, second = shown(snapshot())
    assert first.startswith("12 of 42 known, 1 failed ")
    assert first.endswith(" about 2:05 min left")
    assert "━" in first
    assert second == "50 requests, 1.8 of 2.0 a second; 0 refused"


def test_those_that_have_waited_longest_are_named() -> None:
    shot = snapshot(slowest=(("an-id", 185.0), ("another", 8.0)))
    assert shown(shot)[2:] == ["  an-id  waiting for 3:05 min", "  another  waiting for 8 s"]


@pytest.mark.parametrize("total", [5_000_000, None, 0])
def test_files_under_way_have_their_bar_also_if_their_size_is_not_known(
    total: int | None,
) -> None:
    line = shown(snapshot(files=(progress(1_234_567, total),)))[2]
    assert line.startswith("  an-id/vocal.wav ")
    assert line.endswith(" 1.2 MB")
    assert "━" in line


def test_before_anything_is_known_there_is_something_to_show() -> None:
    nothing = snapshot(batch=batch(pending=0, finished=0, failed=0))
    assert shown(nothing)[0].startswith("0 of 0 known ")


def test_no_name_is_markup() -> None:
    hostile = "[red]:key:[/] [link=https://example.com]"
    shot = snapshot(
        slowest=((hostile, 8.0),), files=(progress(1, 2, f"stems/{hostile}/[b]vocal.wav"),)
    )
    named, file = shown(shot)[2:4]
    assert f"  {hostile}  waiting for" in named
    assert "[b]vocal.wav" in file


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_terminal_of_80_columns_bears_any_numbers(
    finished: int, pending: int, eta: float, used: float
) -> None:
    shot = snapshot(batch=batch(finished=finished, pending=pending, eta=eta), used=used)
    assert shot.total == finished + pending
    assert all(len(line) <= 80 for line in shown(shot))
