"""Progress of a batch, as a line and as bars."""

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
from vocalsep_async.cli.progress import Snapshot, format_duration, format_line, render


def make_snapshot(**fields: Any) -> Snapshot:
    usual: dict[str, Any] = {"batch": batch(), "client": client(), "request_rate": 1.84}
    return Snapshot(**(usual | fields))


def shown(snapshot: Snapshot) -> list[str]:
    """The lines on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, record=True, markup=False, highlight=False)
    console.print(render(snapshot))
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
def test_a_duration_has_a_suitable_unit(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


@given(st.floats(min_value=0, max_value=1e9))
def test_no_part_of_a_duration_reaches_sixty(seconds: float) -> None:
    number, unit = format_duration(seconds).split()
    assert unit in {"s", "min", "h"}
    assert int(number.rpartition(":")[2]) < 60


# One line


def test_a_progress_line_has_all_counts() -> None:
    assert format_line(make_snapshot()) == (
        "12 of 42 tasks finished, 1 failed; about 2:05 min left; "
        "50 requests, 1.8 of 2.0 per second; 0 throttled"
    )


def test_a_progress_line_omits_failures_if_there_are_none() -> None:
    snapshot = make_snapshot(batch=batch(failed=0, pending=0, eta=0.0))
    assert format_line(snapshot).startswith("12 of 12 tasks finished; none pending; ")


def test_an_infinite_estimate_is_shown_as_unknown() -> None:
    assert "time left unknown" in format_line(make_snapshot(batch=batch(eta=math.inf)))
    assert "inf" not in format_line(make_snapshot(batch=batch(eta=math.inf)))


def test_an_unknown_limit_is_not_shown() -> None:
    assert "50 requests, 1.8 per second" in format_line(make_snapshot(client=client(rate=math.inf)))


@pytest.mark.parametrize("throttled, reason", [(0, "API under maintenance"), (3, "throttled")])
def test_a_pause_is_shown_with_its_reason(throttled: int, reason: str) -> None:
    snapshot = make_snapshot(client=client(paused_for=8.2, throttled=throttled))
    assert format_line(snapshot).endswith(f"; paused for 9 s: {reason}")
    assert f"paused for 9 s: {reason}" in shown(snapshot)


def test_retried_polls_are_counted() -> None:
    words = "3 failed polls retried"
    snapshot = make_snapshot(batch=batch(retried=3))
    assert words in format_line(snapshot)
    assert words in shown(snapshot)
    assert "retried" not in format_line(make_snapshot())


# Bars


def test_a_terminal_shows_the_same_text_and_a_bar() -> None:
    first, second = shown(make_snapshot())
    assert first.startswith("12 of 42 tasks finished, 1 failed ")
    assert first.endswith(" about 2:05 min left")
    assert "━" in first
    assert second == "50 requests, 1.8 of 2.0 per second; 0 throttled"


def test_the_slowest_tasks_are_named() -> None:
    snapshot = make_snapshot(slowest=(("an-id", 185.0), ("another", 8.0)))
    assert shown(snapshot)[2:] == ["  an-id  open for 3:05 min", "  another  open for 8 s"]


@pytest.mark.parametrize(
    "total, size", [(5_000_000, " 1.2/5.0 MB"), (None, " 1.2/? MB"), (0, " 1,234,567/0 bytes")]
)
def test_a_running_download_has_a_bar_even_if_its_size_is_unknown(
    total: int | None, size: str
) -> None:
    line = shown(make_snapshot(files=(progress(1_234_567, total),)))[2]
    assert line.startswith("  an-id/vocal.wav ")
    assert line.endswith(size)
    assert "━" in line


def test_a_long_file_name_shrinks_the_bar_and_stays_on_one_line() -> None:
    name = f"{'0' * 32}/backing_vocals.wav"
    (line,) = shown(make_snapshot(files=(progress(131_000, 192_000, f"stems/{name}"),)))[2:]
    assert line.startswith(f"  {name} ")
    assert line.endswith(" 131.0/192.0 kB")
    assert "━" in line


def test_an_empty_batch_has_progress() -> None:
    nothing = make_snapshot(batch=batch(pending=0, finished=0, failed=0))
    assert shown(nothing)[0].startswith("0 of 0 tasks finished ")


def test_names_are_not_parsed_as_markup() -> None:
    hostile = "[red]:key:[/] [link=https://example.com]"
    snapshot = make_snapshot(
        slowest=((hostile, 8.0),), files=(progress(1, 2, f"stems/{hostile}/[b]vocal.wav"),)
    )
    named, file = shown(snapshot)[2:4]
    assert f"  {hostile}  open for" in named
    assert "[b]vocal.wav" in file


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e9), st.floats(0, 1e9))
def test_progress_never_exceeds_80_columns(
    finished: int, pending: int, eta: float, used: float
) -> None:
    snapshot = make_snapshot(
        batch=batch(finished=finished, pending=pending, eta=eta), request_rate=used
    )
    assert snapshot.total == finished + pending
    assert all(len(line) <= 80 for line in shown(snapshot))
