"""The rows of the page: the status of a task, its times, its files."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import pytest
from cli.report.reports import BEGAN, at, ended_by, failed_task, outcome, restored, run, task, timed
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import (
    AuthenticationError,
    DownloadError,
    Stems,
    TaskFailedError,
    TaskNotFoundError,
    TaskOutcome,
    TaskTimeoutError,
    TransportError,
)
from vocalsep_async.cli.report.rows import TaskRow, noun_of, task_rows
from vocalsep_async.cli.report.status import RowStatus, reason_of, status_of
from vocalsep_async.cli.report.text import colour_index, file_link
from vocalsep_async.models import STEM_NAMES

INVALID_KEY = AuthenticationError("no", code=401, http_status=200)
UNKNOWN = TaskNotFoundError("no such task", code=404, http_status=200)
TIMED_OUT = TaskTimeoutError(
    "too late",
    task_id="t",
    task=task(status="PENDING", completed_at=None),
    polls=1,
    last_error=None,
)
TIMED_OUT_WITHOUT_RECORD = TaskTimeoutError(
    "too late", task_id="t", task=None, polls=1, last_error=None
)
UNSAVED = DownloadError("the disk is full", task_id="t", stem="vocal")


def row_of(*given: TaskOutcome, known: float = 12.0, folder: Path = Path("/reports")) -> TaskRow:
    (row,) = task_rows(run(*(timed(each, known) for each in given)), folder)
    return row


@pytest.mark.parametrize(
    "ended, status",
    [
        (outcome(task()), RowStatus.SUCCEEDED),
        (outcome(task(), download_error=UNSAVED), RowStatus.UNSAVED),
        (outcome(failed_task()), RowStatus.FAILED),
        (ended_by(UNKNOWN), RowStatus.FAILED),
        (ended_by(TransportError("no answer")), RowStatus.FAILED),
        (ended_by(TIMED_OUT), RowStatus.OPEN),
        (ended_by(INVALID_KEY), RowStatus.OPEN),
        (outcome(None), RowStatus.OPEN),
        (outcome(task(status="NEWFANGLED", completed_at=None)), RowStatus.OPEN),
    ],
)
def test_each_outcome_has_one_of_four_statuses(ended: TaskOutcome, status: RowStatus) -> None:
    assert status_of(ended) is status


@pytest.mark.parametrize(
    "ended, reason",
    [
        (outcome(task()), None),
        (outcome(task(), download_error=UNSAVED), "the disk is full"),
        (outcome(failed_task()), "It failed. (code 500)"),
        (outcome(failed_task(error_code=None)), "It failed."),
        (outcome(failed_task(error_message="see https://a/b?s=1")), "see <a/…/b> (code 500)"),
        (ended_by(TIMED_OUT), "too late"),
    ],
)
def test_the_reason_of_a_row_contains_no_link(ended: TaskOutcome, reason: str | None) -> None:
    assert reason_of(ended) == reason


def test_a_failure_without_a_message_has_the_reason_of_the_package() -> None:
    assert "gave no reason" in (reason_of(outcome(failed_task(error_message=None))) or "")


def test_a_delay_lasts_from_completion_to_detection() -> None:
    row = row_of(outcome(task()))
    assert (row.duration, row.delay, row.is_skewed) == (10.0, 2.0, False)


def test_a_task_that_had_ended_before_the_run_has_no_delay() -> None:
    old = outcome(task(created_at=at(-7200), completed_at=at(-7100)))
    row = row_of(old, known=3.0)
    assert (row.delay, row.is_skewed, row.completed_at) == (None, False, at(-7100))


def test_a_task_that_had_ended_before_it_was_added_has_no_delay() -> None:
    rows = task_rows(
        run(timed(task(), known=20, added=11), timed(task(), known=20, added=9)), Path("/reports")
    )
    assert [row.delay for row in rows] == [None, 10.0]


def test_an_outcome_from_the_journal_has_no_delay() -> None:
    (row,) = task_rows(run(restored(task())), Path("/reports"))
    assert (row.delay, row.is_skewed, row.duration) == (None, False, 10.0)


def test_a_negative_delay_is_0_and_marked_as_clock_skew() -> None:
    row = row_of(outcome(task()), known=9.0)
    assert (row.delay, row.is_skewed) == (0.0, True)


def test_a_record_without_times_has_no_delay() -> None:
    row = row_of(outcome(task(created_at=None, completed_at=None)))
    assert (row.duration, row.delay, row.created_at) == (None, None, None)


def test_a_task_that_timed_out_has_the_times_of_its_last_record() -> None:
    row = row_of(ended_by(TIMED_OUT))
    assert (row.created_at, row.completed_at, row.delay) == (BEGAN, None, None)


def test_a_task_whose_links_did_not_come_has_failed_with_the_times_of_its_record() -> None:
    ended = ended_by(TaskFailedError("no link came", task(stems=Stems())))
    row = row_of(ended)
    assert status_of(ended) is RowStatus.FAILED
    assert (row.created_at, row.duration, reason_of(ended)) == (BEGAN, 10.0, "no link came")


def test_a_task_without_a_record_has_no_times() -> None:
    assert row_of(ended_by(TIMED_OUT_WITHOUT_RECORD)).created_at is None


def test_the_name_of_a_row_is_its_label_or_its_id() -> None:
    named, unlabelled = task_rows(
        run(timed(task("a"), label="Tin Roof"), timed(task("b"))), Path("/")
    )
    assert (named.name, unlabelled.name) == ("Tin Roof", "b")
    assert (named.number, unlabelled.number) == (1, 2)


def test_the_name_of_a_row_without_a_label_has_both_ends_of_the_id() -> None:
    (row,) = task_rows(run(timed(task("5c79be8e" * 4))), Path("/reports"))
    assert row.name == "5c79be8e…be8e"


@pytest.mark.parametrize(
    "labels, noun", [([], "task"), (["A", "B"], "song"), (["A", None], "task"), ([None], "task")]
)
def test_rows_are_songs_where_all_have_labels(labels: list[str | None], noun: str) -> None:
    made = run(*(timed(task(), label=each) for each in labels))
    assert noun_of(task_rows(made, Path("/reports"))) == noun


def test_a_row_separates_saved_from_missing_stems() -> None:
    record = task(stems=Stems(vocal="https://a/v", backing_vocals="https://a/b"))
    row = row_of(outcome(record, files={"backing_vocals": Path("/reports/stems/b.mp3")}))
    assert [(stem.label, stem.href) for stem in row.stems] == [
        ("backing vocals", "stems/b.mp3"),
    ]
    assert row.missing_stems == ("vocal",)


def test_every_known_stem_has_its_own_colour() -> None:
    assert len({colour_index(name) for name in STEM_NAMES}) == len(STEM_NAMES)
    assert 0 <= colour_index("theremin\ud800") < len(STEM_NAMES)


@pytest.mark.parametrize(
    "file, href",
    [
        ("/reports/stems/a b#c?.mp3", "stems/a%20b%23c%3F.mp3"),
        ("/elsewhere/é.mp3", "../elsewhere/%C3%A9.mp3"),
        ("/reports/javascript:alert(1)", "javascript%3Aalert%281%29"),
        ('/reports/"><script>.mp3', "%22%3E%3Cscript%3E.mp3"),
    ],
)
def test_a_file_link_is_relative_to_the_report(file: str, href: str) -> None:
    assert file_link(Path(file), Path("/reports")) == href


def test_a_file_link_resolves_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_link(Path("stems/a.mp3"), tmp_path / "reports") == "../stems/a.mp3"


def test_a_file_on_another_drive_has_an_absolute_link(monkeypatch: pytest.MonkeyPatch) -> None:
    def relpath(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert file_link(Path("/stems/a b.mp3"), Path("/reports")) == "file:///stems/a%20b.mp3"


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@given(
    st.binary(min_size=1, max_size=40).filter(
        lambda name: not {0, 47} & {*name} and name not in (b".", b"..")
    )
)
def test_a_file_link_can_be_decoded_to_the_file_name(name: bytes) -> None:
    href = file_link(Path("/reports") / os.fsdecode(name), Path("/reports"))
    assert href.isascii()
    assert not {*"\"'<>&:?# "} & {*href}
    assert os.fsencode(unquote(href, errors="surrogateescape")) == name
