"""Tasks and outcomes in words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import (
    DownloadError,
    SeparationTask,
    Stems,
    TaskOutcome,
    TaskStatus,
    TransportError,
    VocalSepError,
)
from vocalsep_async.cli.telling import line, lines_of, problem, record, told

NAMES = ("vocal", "drums", "bass", "guitar", "keyboard", "synth")
STEMS = Stems(**{name: f"https://cdn.example/{name}.mp3?sig=1" for name in NAMES})
DONE = SeparationTask(
    task_id="a",
    status=TaskStatus.SUCCESS,
    stems=STEMS,
    created_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
)
FAILED = SeparationTask(
    task_id="b", status=TaskStatus.CREATE_TASK_FAILED, error_message="[red]no vocals\\x1b"
)
FILES = {name: Path("stems", "a", f"{name}.mp3") for name in NAMES}


def outcome(
    task: SeparationTask | None,
    error: VocalSepError | None = None,
    download_error: DownloadError | None = None,
    files: dict[str, Path] | None = None,
) -> TaskOutcome:
    return TaskOutcome(
        task_id=task.task_id if task else "c",
        status=task.status if task else None,
        task=task,
        error=error,
        polls=3,
        elapsed=12.5,
        files=files or {},
        download_error=download_error,
    )


def test_a_line_names_the_first_stems_and_counts_the_others() -> None:
    ready = line(outcome(DONE))
    assert ready.startswith("a  SUCCESS  ready: ")
    assert ready.endswith(" and 2 more")
    assert sum(name in ready for name in NAMES) == 4


def test_a_line_tells_what_is_saved_from_what_is_ready() -> None:
    saved = line(outcome(DONE, files={"drums": FILES["drums"]}))
    assert saved == "a  SUCCESS  saved: drums"


def test_a_line_says_why_a_task_failed_in_the_words_of_the_api() -> None:
    assert line(outcome(FAILED)) == "b  CREATE_TASK_FAILED  [red]no vocals\\x1b"


def test_a_line_says_why_a_task_has_no_end_and_that_it_was_not_seen() -> None:
    assert line(outcome(None, TransportError("no connection"))) == "c  not seen  no connection"


def test_a_line_says_why_stems_are_not_saved() -> None:
    error = DownloadError("the disk is full", task_id="a", stem="vocal")
    assert line(outcome(DONE, download_error=error)) == "a  SUCCESS  the disk is full"


def test_a_record_without_a_link_is_no_success() -> None:
    empty = SeparationTask(task_id="a", status=TaskStatus.SUCCESS)
    assert line(outcome(empty)).startswith("a  SUCCESS  ")
    assert "no URL" in line(outcome(empty))


def test_programs_are_told_all_of_an_outcome() -> None:
    assert told(outcome(DONE, files={"vocal": FILES["vocal"]})) == {
        "task_id": "a",
        "status": "SUCCESS",
        "ok": True,
        "stems": dict(STEMS),
        "files": {"vocal": str(FILES["vocal"])},
        "error": None,
        "polls": 3,
        "elapsed": 12.5,
    }
    failed = told(outcome(None, TransportError("no connection")))
    assert (failed["ok"], failed["stems"], failed["files"]) == (False, {}, {})
    assert (failed["status"], failed["error"]) == (None, "no connection")


def test_programs_are_told_how_a_task_stands() -> None:
    assert record(DONE) == {
        "task_id": "a",
        "status": "SUCCESS",
        "stems": dict(STEMS),
        "error": None,
        "created_at": "2026-05-04T03:02:01+00:00",
        "completed_at": None,
    }
    assert record(FAILED)["error"] == "[red]no vocals\\x1b"


def test_people_see_the_links_below_each_other() -> None:
    first, *stems = lines_of(DONE)
    assert first == "a  SUCCESS"
    assert len(stems) == len(NAMES)
    assert len({each.index("https://") for each in stems}) == 1


def test_people_see_why_it_failed_and_no_stems() -> None:
    assert lines_of(FAILED) == ["b  CREATE_TASK_FAILED  [red]no vocals\\x1b"]
    assert lines_of(SeparationTask(task_id="p", status="PENDING")) == ["p  PENDING"]


@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_whatever_the_names_are_it_is_json_on_one_line(
    task_id: str, stem: str, reason: str
) -> None:
    task = SeparationTask(task_id=task_id, status=TaskStatus.SUCCESS, error_message=reason)
    shown = json.dumps(told(outcome(task, files={stem: Path("x")}, error=VocalSepError(reason))))
    assert len(shown.splitlines()) == 1
    assert shown.isascii()
    assert json.loads(shown)["task_id"] == task_id


def test_the_problem_of_a_task_is_why_it_counts_as_failed() -> None:
    unsaved = DownloadError("the disk is full", task_id="a", stem="vocal")
    assert problem(outcome(DONE)) is None
    assert "no vocals" in (problem(outcome(FAILED)) or "")
    assert problem(outcome(None, TransportError("no connection"))) == "no connection"
    assert problem(outcome(DONE, download_error=unsaved)) == "the disk is full"
