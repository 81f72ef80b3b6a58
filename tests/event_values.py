"""One of each event."""

from __future__ import annotations

from pathlib import Path

from vocalsep_async import (
    BatchStats,
    RequestTimeoutError,
    SeparationType,
    TaskOutcome,
    TaskStatus,
)
from vocalsep_async.instrumentation import (
    BatchFinished,
    BatchStarted,
    CreationConfirmed,
    CreationFailed,
    CreationIntended,
    CreationSent,
    DownloadFinished,
    DownloadStarted,
    Event,
    JournalClosed,
    JournalOpened,
    JournalWritten,
    OutcomeDelivered,
    Paused,
    PollFinished,
    PollStarted,
    RequestRetried,
    Resumed,
    StemFailed,
    StemSaved,
    StemStarted,
    TaskFinished,
    Throttled,
    UploadFinished,
    UploadStarted,
    WaitFinished,
    WaitStarted,
)

STATS = BatchStats(
    pending=1,
    finished=3,
    succeeded=2,
    failed=1,
    polls=9,
    throttled=0,
    retried=0,
    rate=2.0,
    mean_delay=None,
    eta=1.0,
)
OUTCOME = TaskOutcome(
    task_id="a", status=TaskStatus.PENDING, task=None, error=None, polls=1, elapsed=2.0
)


def poll(task_id: str = "a", **changed: object) -> PollFinished:
    """A poll that succeeded, unless *changed* says otherwise."""
    fields = {
        "attempt": 2,
        "wait_ids": ("wait-1", "batch-2"),
        "duration": 0.25,
        "code": 200,
        "status": TaskStatus.PENDING,
        "error": None,
        "failures": 0,
        "next_poll_in": 3.5,
    }
    return PollFinished(task_id=task_id, **(fields | changed))  # type: ignore[arg-type]


def failed_poll(error: BaseException, task_id: str = "a", failures: int = 1) -> PollFinished:
    return poll(task_id, code=None, status=None, error=error, failures=failures)


STEM = {"download_id": "download-1", "task_id": "a", "stem": "vocal"}
PATH = Path("folder") / "vocal.mp3"
EVENTS: list[Event] = [
    WaitStarted(wait_id="wait-1", task_id="a", timeout=900.0),
    WaitFinished(
        wait_id="wait-1",
        task_id="a",
        duration=61.0,
        polls=4,
        status=TaskStatus.SUCCESS,
        error=None,
    ),
    BatchStarted(batch_id="batch-2", tasks=4),
    BatchFinished(batch_id="batch-2", duration=61.0, stats=STATS, error=None),
    DownloadStarted(download_id="download-1", task_id="a", stems=("vocal",)),
    DownloadFinished(
        download_id="download-1", task_id="a", duration=3.0, saved=1, failed=0, error=None
    ),
    PollStarted(task_id="a", attempt=2, wait_ids=("wait-1",)),
    poll(),
    RequestRetried(
        request="GET /path", attempt=2, delay=1.5, error=RequestTimeoutError("no answer")
    ),
    Throttled(code=430, retry_after=None),
    Paused(duration=10.0, reason="code 430"),
    Resumed(),
    TaskFinished(
        task_id="a",
        status=TaskStatus.SUCCESS,
        type=SeparationType.SPLIT_STEM,
        duration=60.0,
        delay=1.0,
        polls=4,
    ),
    OutcomeDelivered(batch_id="batch-2", outcome=OUTCOME),
    StemStarted(path=PATH, **STEM),
    StemSaved(path=PATH, size=12, was_fetched=True, **STEM),
    StemFailed(path=None, error=RequestTimeoutError("no answer"), **STEM),
    UploadStarted(upload_id="upload-4"),
    UploadFinished(upload_id="upload-4", duration=2.0, size=12, error=None),
    CreationIntended(creation_id="creation-3", type=SeparationType.SEPARATE_VOCAL),
    CreationSent(creation_id="creation-3"),
    CreationConfirmed(creation_id="creation-3", task_id="a"),
    CreationFailed(
        creation_id="creation-3", error=RequestTimeoutError("no answer"), may_exist=True
    ),
    JournalOpened(path=Path("journal.sqlite")),
    JournalWritten(path=Path("journal.sqlite"), duration=0.003),
    JournalClosed(path=Path("journal.sqlite")),
]
