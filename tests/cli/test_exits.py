"""What the exit status tells."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    InsufficientCreditsError,
    InvalidParametersError,
    JournalError,
    RequestTimeoutError,
    SeparationTask,
    ServerError,
    Stems,
    TaskFailedError,
    TaskNotFoundError,
    TaskOutcome,
    TaskStatus,
    TaskTimeoutError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.cli.exits import Exit, judged, status_of, worse

DONE = SeparationTask(
    task_id="t", status=TaskStatus.SUCCESS, stems=Stems(vocal="https://cdn.example/v.mp3")
)
FAILED = SeparationTask(
    task_id="t", status=TaskStatus.GENERATE_AUDIO_FAILED, error_message="no vocals in it"
)
THROTTLED: dict[str, Any] = {"code": 401, "http_status": 401}
OUT_OF_TIME = TaskTimeoutError("too late", task_id="t", task=None, polls=1, last_error=None)
NOT_SAVED = DownloadError("the disk is full", task_id="t", stem="vocal")

STATUS: dict[VocalSepError, Exit] = {
    AuthenticationError("no", **THROTTLED): Exit.THROTTLED,
    InsufficientCreditsError("no", **THROTTLED): Exit.THROTTLED,
    ConfigurationError("no"): Exit.USAGE,
    JournalError("no"): Exit.USAGE,
    OUT_OF_TIME: Exit.TIMED_OUT,
    RequestTimeoutError("no answer"): Exit.FAILED,
    TransportError("cut"): Exit.FAILED,
    ClientClosedError("closed"): Exit.FAILED,
    InvalidParametersError("no", **THROTTLED): Exit.FAILED,
    ServerError("no", **THROTTLED): Exit.FAILED,
    TaskNotFoundError("no", **THROTTLED): Exit.FAILED,
    TaskFailedError("no", FAILED): Exit.FAILED,
    NOT_SAVED: Exit.FAILED,
    VocalSepError("no"): Exit.FAILED,
}


def outcome(
    task: SeparationTask | None = None,
    error: VocalSepError | None = None,
    download_error: DownloadError | None = None,
) -> TaskOutcome:
    return TaskOutcome(
        task_id="t",
        status=None if task is None else task.status,
        task=task,
        error=error,
        polls=1,
        elapsed=1.0,
        files={"vocal": Path("t/vocal.mp3")} if task is DONE and not download_error else {},
        download_error=download_error,
    )


def test_the_numbers_are_those_of_the_manual() -> None:
    assert {each.name: each.value for each in Exit} == {
        "SUCCEEDED": 0,
        "FAILED": 1,
        "USAGE": 2,
        "THROTTLED": 3,
        "TIMED_OUT": 4,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize("one, other", list(product(Exit, Exit)))
def test_of_any_two_the_worse_is_one_of_them_whichever_came_first(one: Exit, other: Exit) -> None:
    assert worse(one, other) in {one, other}
    assert worse(one, other) == worse(other, one)


@pytest.mark.parametrize(
    "better, bad",
    [
        (Exit.SUCCEEDED, Exit.TIMED_OUT),
        (Exit.TIMED_OUT, Exit.FAILED),
        (Exit.FAILED, Exit.THROTTLED),
        (Exit.SUCCEEDED, Exit.THROTTLED),
    ],
)
def test_the_worse_one_tells_more_of_what_is_to_be_done(better: Exit, bad: Exit) -> None:
    assert worse(better, bad) is bad


@pytest.mark.parametrize("error", list(STATUS), ids=lambda error: type(error).__name__)
def test_every_error_has_its_status(error: VocalSepError) -> None:
    assert status_of(error) is STATUS[error]
    assert judged(outcome(error=error)) is STATUS[error]


@pytest.mark.parametrize("error", list(STATUS), ids=lambda error: type(error).__name__)
def test_whatever_ends_a_task_can_be_weighed_against_the_rest(error: VocalSepError) -> None:
    assert worse(Exit.SUCCEEDED, judged(outcome(error=error))) is STATUS[error]


def test_what_is_no_error_of_the_package_is_a_failure() -> None:
    assert status_of(None) is Exit.FAILED
    assert status_of(KeyError("k")) is Exit.FAILED


def test_a_task_is_judged_by_what_was_asked_for() -> None:
    assert judged(outcome(DONE)) is Exit.SUCCEEDED
    assert judged(outcome(FAILED)) is Exit.FAILED
    assert judged(outcome(DONE, download_error=NOT_SAVED)) is Exit.FAILED
