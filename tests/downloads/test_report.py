"""Values that downloads return, report and raise."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError

from vocalsep_async import DownloadError, DownloadProgress, DownloadReport, StemFile

FILE = StemFile(
    stem="vocal",
    path=Path("music/vocal.mp3"),
    size=5,
    sha256="00ff",
    was_fetched=True,
    verified=True,
)
OTHER = StemFile(
    stem="drums", path=Path("x"), size=1, sha256=None, was_fetched=False, verified=False
)
PROGRESS = DownloadProgress(task_id="t", stem="vocal", path=Path("x"), done=1, total=None)


def failed(stem: str) -> DownloadError:
    return DownloadError(
        f"{stem} failed", task_id="t", stem=stem, path="music/x", url="<a.example/…/x>"
    )


def test_a_report_gives_the_path_of_each_stem() -> None:
    report = DownloadReport(task_id="t", files=(FILE, OTHER))
    assert report.paths == {"vocal": Path("music/vocal.mp3"), "drums": Path("x")}
    assert report.errors == ()
    assert report.error is None


def test_the_first_error_carries_the_report() -> None:
    errors = failed("bass"), failed("piano")
    report = DownloadReport(task_id="t", files=(FILE,), errors=errors)
    error = report.error
    assert error is not None
    assert (error.stem, str(error), error.path, error.url) == (
        "bass",
        "bass failed",
        "music/x",
        "<a.example/…/x>",
    )
    assert error.report is report
    assert [each.report for each in errors] == [None, None]


def test_a_report_gives_a_new_error_each_time() -> None:
    report = DownloadReport(task_id="t", files=(), errors=(failed("bass"),))
    assert report.error is not report.error
    assert report.error is not report.errors[0]


COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("copied", COPIES)
def test_an_error_is_copied_and_pickled_with_its_report(copied: Callable[[Any], Any]) -> None:
    report = DownloadReport(task_id="t", files=(FILE,), errors=(failed("bass"),))
    copy_of_error: Any = copied(report.error)
    assert type(copy_of_error) is DownloadError
    found: Any = copy_of_error.report
    assert (str(copy_of_error), copy_of_error.stem) == ("bass failed", "bass")
    assert found.files == (FILE,)
    assert [each.stem for each in found.errors] == ["bass"]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("value", [FILE, OTHER, PROGRESS, DownloadReport(task_id="t", files=())])
def test_values_can_be_copied_and_pickled(copied: Callable[[Any], Any], value: object) -> None:
    assert copied(value) == value


@pytest.mark.parametrize("value", [FILE, PROGRESS, DownloadReport(task_id="t", files=())])
def test_values_are_immutable(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        value.stem = "bass"
