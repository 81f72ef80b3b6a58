"""Progress of a batch, as a line and as bars."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from cli.stats import batch
from cli.stats import snapshot as make_snapshot
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vocalsep_async import DownloadProgress, ServerError, TransportError
from vocalsep_async.cli.activity import Pause, Silence, Snapshot, SongLine, StemCounts
from vocalsep_async.cli.progress import format_duration, format_line, missing_stems, render


def shown(snapshot: Snapshot) -> list[str]:
    """The lines on a terminal of 80 columns."""
    # As the output of commands makes its console.
    console = Console(
        file=io.StringIO(),
        width=80,
        record=True,
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    console.print(render(snapshot))
    return [line.rstrip() for line in console.export_text().splitlines()]


def progress(done: int, total: int | None, path: str = "stems/an-id/vocal.wav") -> DownloadProgress:
    return DownloadProgress(task_id="an-id", stem="vocal", path=Path(path), done=done, total=total)


WORDS = st.text(max_size=20) | st.text(
    "ab\n\r\x00\x07\x08\x0b\x1b[]8;52\\\x7f\x85\x9b\x9d\u200e\u202e\u2066\u2028", max_size=20
)


@given(WORDS, WORDS, WORDS, WORDS)
def test_no_word_from_outside_reaches_a_terminal_as_it_is(
    task_id: str, reason: str, error: str, name: str
) -> None:
    state = make_snapshot(
        slowest=((task_id, 8.0),),
        pause=Pause(seconds=3, reason=reason),
        silence=Silence(
            seconds=20, error=ServerError(error, code=500, http_status=500), task_id=task_id
        ),
        files=(progress(5, 10, f"stems/{name.replace('/', '')}x/vocal.wav"),),
    )
    assert all(line.isprintable() for line in shown(state))


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
        "12 of 42 tasks done: 11 succeeded, 1 failed; about 2:05 min left; "
        "50 requests, 1.8 of at most 2.0 per second"
    )


def test_a_progress_line_has_one_number_while_all_tasks_succeed() -> None:
    snapshot = make_snapshot(batch=batch(failed=0, pending=0, eta=0.0))
    assert format_line(snapshot).startswith("12 of 12 tasks done; none pending; ")


def test_an_infinite_estimate_is_shown_as_unknown() -> None:
    assert "time left unknown" in format_line(make_snapshot(batch=batch(eta=math.inf)))
    assert "inf" not in format_line(make_snapshot(batch=batch(eta=math.inf)))


def test_an_unknown_limit_is_not_shown() -> None:
    snapshot = make_snapshot(batch=batch(rate=math.inf))
    assert "50 requests, 1.8 per second" in format_line(snapshot)


def test_throttled_requests_are_counted() -> None:
    assert "; 3 requests throttled" in format_line(make_snapshot(throttled=3))
    assert "throttled" not in format_line(make_snapshot())


def test_a_pause_is_shown_with_its_reason() -> None:
    snapshot = make_snapshot(pause=Pause(seconds=8.2, reason="throttled with code 430"))
    words = "paused for 9 s: throttled with code 430"
    assert format_line(snapshot).endswith(f"; {words}")
    assert words in shown(snapshot)


def test_retried_polls_are_counted() -> None:
    words = "3 failed polls retried"
    snapshot = make_snapshot(batch=batch(retried=3))
    assert words in format_line(snapshot)
    assert words in shown(snapshot)
    assert "retried" not in format_line(make_snapshot())


# Silence

NO_CONNECTION = TransportError("GET /x at api.example: no connection", may_have_arrived=False)
ADVICE = "check the network and VOCALSEP_BASE_URL"


def line_of(error: Exception | None, task_id: str | None = None) -> str:
    silence = Silence(seconds=24.0, error=error, task_id=task_id)  # type: ignore[arg-type]
    # The failed polls are not counted besides: nothing is said twice.
    return format_line(make_snapshot(batch=batch(retried=3), silence=silence)).split("; ", 3)[3]


def test_a_long_silence_is_shown_with_its_reason() -> None:
    cut = TransportError("the connection broke")
    assert line_of(cut) == "no answer for 24 s: the connection broke"


def test_a_connection_that_cannot_be_made_is_shown_with_advice() -> None:
    assert line_of(NO_CONNECTION) == f"no answer for 24 s: {NO_CONNECTION}; {ADVICE}"


def test_an_answer_that_is_an_error_is_no_usable_answer() -> None:
    broken = ServerError("broken", code=500, http_status=500)
    assert line_of(broken) == f"no usable answer for 24 s: {broken}"


def test_a_silence_without_an_error_is_that_of_polls_that_hang() -> None:
    assert line_of(None) == "no answer for 24 s"


def test_no_time_left_is_promised_during_a_silence() -> None:
    silence = Silence(seconds=24.0, error=None, task_id=None)
    assert "; stalled; " in format_line(make_snapshot(silence=silence))
    silence = Silence(seconds=24.0, error=None, task_id="an-id")
    assert "; about 2:05 min left; " in format_line(make_snapshot(silence=silence))


def test_a_silence_of_one_task_names_the_task() -> None:
    line = line_of(TransportError("cut"), "an-id\x1b")
    assert line == "task an-id\\x1b: no answer for 24 s: cut"


def test_a_terminal_shows_the_whole_reason_and_the_advice() -> None:
    silence = Silence(seconds=24.0, error=NO_CONNECTION, task_id=None)
    lines = shown(make_snapshot(silence=silence))
    # The console crops what is longer than a line.
    assert all(len(line) <= 80 for line in lines)
    text = " ".join(lines)
    assert f"no answer for 24 s: {NO_CONNECTION}; {ADVICE}" in text


# Bars


def test_a_terminal_shows_the_same_text_and_a_bar() -> None:
    first, second = shown(make_snapshot())
    assert first.startswith("12 of 42 tasks done: 11 succeeded, 1 failed ")
    assert first.endswith(" about 2:05 min left")
    assert "━" in first
    assert second == "50 requests, 1.8 of at most 2.0 per second"


def test_tasks_with_labels_are_counted_as_songs() -> None:
    assert format_line(make_snapshot(noun="song")).startswith("12 of 42 songs done: ")


def test_the_slowest_tasks_are_named() -> None:
    snapshot = make_snapshot(slowest=(("an-id", 185.0), ("another", 8.0)))
    assert shown(snapshot)[2:] == ["  an-id  polled for 3:05 min", "  another  polled for 8 s"]


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
    assert shown(nothing)[0].startswith("0 of 0 tasks done ")


def test_names_are_not_parsed_as_markup() -> None:
    hostile = "[red]:key:[/] [link=https://example.com]"
    snapshot = make_snapshot(
        slowest=((hostile, 8.0),), files=(progress(1, 2, f"stems/{hostile}/[b]vocal.wav"),)
    )
    named, file = shown(snapshot)[2:4]
    assert f"  {hostile}  polled for" in named
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


# Stems


def test_stems_that_are_not_saved_are_counted_with_the_first_reason() -> None:
    stems = StemCounts(saved=8, missing=4, tasks=1, reason="stem vocal: no connection. ")
    shown = make_snapshot(batch=batch(succeeded=10, failed=2), stems=stems)
    line = format_line(shown)
    assert "12 of 42 tasks done: 11 succeeded, 1 failed; " in line
    assert line.endswith("; 8 of 12 stems saved, 4 not: stem vocal: no connection")


def test_the_reason_names_the_option_of_the_command_line() -> None:
    reason = "allow_private_hosts=('10.0.0.1/32',) on the client allows them"
    line = missing_stems(StemCounts(missing=1, tasks=1, reason=reason))
    assert line == "0 of 1 stem saved, 1 not: --allow-private-hosts 10.0.0.1/32 allows them"


# Songs of a run


def songs(number: int, state: str = "waiting") -> tuple[SongLine, ...]:
    return tuple(SongLine(name=f"Song {n}", state=state, seconds=75.0) for n in range(number))


def test_songs_are_shown_by_name_with_what_they_are_doing() -> None:
    lines = shown(make_snapshot(noun="song", songs=songs(2, "uploading 45%")))
    assert lines[0].startswith("12 of 42 songs done")
    assert lines[0].endswith("2 uploading")
    assert "  Song 0  uploading 45% for 1:15 min" in lines


def test_of_many_songs_the_first_ones_are_shown() -> None:
    lines = shown(make_snapshot(noun="song", songs=songs(30)))
    assert sum(line.startswith("  Song ") for line in lines) == 8
    assert "  and 22 more" in lines


def test_a_line_counts_songs_by_what_they_are_doing() -> None:
    state = make_snapshot(noun="song", songs=(*songs(2), *songs(1, "uploading 45%")))
    assert "songs done" in format_line(state)
    assert "; 2 waiting, 1 uploading; 50 requests" in format_line(state)


def test_a_line_has_no_gap_before_the_first_song_has_begun() -> None:
    assert "; ;" not in format_line(make_snapshot(noun="song", songs=()))
    assert "time left" not in format_line(make_snapshot(noun="song", songs=()))


@given(WORDS)
def test_no_name_of_a_song_reaches_a_terminal_as_it_is(name: str) -> None:
    line = SongLine(name=name, state="waiting", seconds=1.0)
    assert all(each.isprintable() for each in shown(make_snapshot(songs=(line,))))
