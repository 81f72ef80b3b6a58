"""What the page tells of a task: its ending, its times, its files."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import pytest
from cli.report.reports import BEGAN, arrival, at, ended_by, failed_task, outcome, run, task
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import (
    AuthenticationError,
    DownloadError,
    Stems,
    TaskNotFoundError,
    TaskOutcome,
    TaskTimeoutError,
    TransportError,
)
from vocalsep_async.cli.report.ending import Ending, ending_of, reason_of
from vocalsep_async.cli.report.links import link
from vocalsep_async.cli.report.story import Story, stories
from vocalsep_async.cli.report.tints import tint
from vocalsep_async.models import STEM_NAMES

THROTTLED = AuthenticationError("no", code=401, http_status=200)
UNKNOWN = TaskNotFoundError("no such task", code=404, http_status=200)
LATE = TaskTimeoutError(
    "too late",
    task_id="t",
    task=task(status="PENDING", completed_at=None),
    polls=1,
    last_error=None,
)
UNSEEN = TaskTimeoutError("too late", task_id="t", task=None, polls=1, last_error=None)
UNSAVED = DownloadError("the disk is full", task_id="t", stem="vocal")


def told(*given: TaskOutcome, known: float = 12.0, folder: Path = Path("/reports")) -> Story:
    (story,) = stories(run(*(arrival(each, known) for each in given)), folder)
    return story


@pytest.mark.parametrize(
    "ended, ending",
    [
        (outcome(task()), Ending.SUCCEEDED),
        (outcome(task(), download_error=UNSAVED), Ending.UNSAVED),
        (outcome(failed_task()), Ending.FAILED),
        (ended_by(UNKNOWN), Ending.FAILED),
        (ended_by(TransportError("no answer")), Ending.FAILED),
        (ended_by(LATE), Ending.OPEN),
        (ended_by(THROTTLED), Ending.OPEN),
        (outcome(None), Ending.OPEN),
        (outcome(task(status="NEWFANGLED")), Ending.OPEN),
    ],
)
def test_each_task_ends_in_one_of_four_ways(ended: TaskOutcome, ending: Ending) -> None:
    assert ending_of(ended) is ending


@pytest.mark.parametrize(
    "ended, reason",
    [
        (outcome(task()), None),
        (outcome(task(), download_error=UNSAVED), "the disk is full"),
        (outcome(failed_task()), "It failed. (code 500)"),
        (outcome(failed_task(error_code=None)), "It failed."),
        (outcome(failed_task(error_message="see https://a/b?s=1")), "see <a/…/b> (code 500)"),
        (ended_by(LATE), "too late"),
    ],
)
def test_what_went_wrong_is_told_without_links(ended: TaskOutcome, reason: str | None) -> None:
    assert reason_of(ended) == reason


def test_a_failure_without_words_gets_those_of_the_package() -> None:
    assert "gave no reason" in (reason_of(outcome(failed_task(error_message=None))) or "")


def test_a_delay_goes_from_finished_to_known() -> None:
    story = told(outcome(task()))
    assert (story.took, story.delay, story.is_skewed) == (10.0, 2.0, False)


def test_what_had_ended_before_the_run_is_late_from_its_start_on() -> None:
    old = outcome(task(created_at=at(-7200), completed_at=at(-7100)))
    assert told(old, known=3.0).delay == 3.0


def test_a_delay_below_nothing_is_none_and_said_to_be_of_the_clocks() -> None:
    story = told(outcome(task()), known=9.0)
    assert (story.delay, story.is_skewed) == (0.0, True)


def test_without_times_nothing_is_made_up() -> None:
    story = told(outcome(task(created_at=None, completed_at=None)))
    assert (story.took, story.delay, story.created_at) == (None, None, None)


def test_a_task_that_ran_out_of_time_has_the_times_last_seen() -> None:
    story = told(ended_by(LATE))
    assert (story.created_at, story.completed_at, story.delay) == (BEGAN, None, None)


def test_a_task_that_was_never_seen_has_no_times() -> None:
    assert told(ended_by(UNSEEN)).created_at is None


def test_a_task_is_called_by_its_title_or_its_id() -> None:
    named, plain = stories(run(arrival(task("a"), title="Tin Roof"), arrival(task("b"))), Path("/"))
    assert (named.name, plain.name) == ("Tin Roof", "b")
    assert (named.number, plain.number) == (1, 2)


def test_stems_are_told_apart_by_being_on_disk() -> None:
    record = task(stems=Stems(vocal="https://a/v", backing_vocals="https://a/b"))
    story = told(outcome(record, files={"backing_vocals": Path("/reports/stems/b.mp3")}))
    assert [(stem.label, stem.href) for stem in story.stems] == [
        ("backing vocals", "stems/b.mp3"),
    ]
    assert story.unfetched == ("vocal",)


def test_every_stem_that_there_can_be_has_a_tint_of_its_own() -> None:
    assert len({tint(name) for name in STEM_NAMES}) == len(STEM_NAMES)
    assert 0 <= tint("theremin\ud800") < len(STEM_NAMES)


@pytest.mark.parametrize(
    "file, href",
    [
        ("/reports/stems/a b#c?.mp3", "stems/a%20b%23c%3F.mp3"),
        ("/elsewhere/é.mp3", "../elsewhere/%C3%A9.mp3"),
        ("/reports/javascript:alert(1)", "javascript%3Aalert%281%29"),
        ('/reports/"><script>.mp3', "%22%3E%3Cscript%3E.mp3"),
    ],
)
def test_a_file_is_named_relative_to_the_report(file: str, href: str) -> None:
    assert link(Path(file), Path("/reports")) == href


def test_a_file_of_a_relative_path_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert link(Path("stems/a.mp3"), tmp_path / "reports") == "../stems/a.mp3"


def test_a_file_on_another_drive_has_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def relpath(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert link(Path("/stems/a b.mp3"), Path("/reports")) == "file:///stems/a%20b.mp3"


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@given(
    st.binary(min_size=1, max_size=40).filter(
        lambda name: not {0, 47} & {*name} and name not in (b".", b"..")
    )
)
def test_the_address_leads_back_to_the_file_whatever_its_name(name: bytes) -> None:
    href = link(Path("/reports") / os.fsdecode(name), Path("/reports"))
    assert href.isascii()
    assert not {*"\"'<>&:?# "} & {*href}
    assert os.fsencode(unquote(href, errors="surrogateescape")) == name
