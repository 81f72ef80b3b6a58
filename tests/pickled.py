"""One of each public value, policy and error, and their pickles as each release made them.

``python tests/pickled.py``, on the oldest supported Python, writes those of this version: once,
when it is released. Pickles wait in queues and caches, so later versions have to load them.
"""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from event_values import EVENTS

import vocalsep_async
from vocalsep_async import (
    KIE,
    SUNOAPI,
    Adaptive,
    Backoff,
    BatchStats,
    Bid,
    ClientStats,
    DownloadOptions,
    DownloadProgress,
    DownloadReport,
    ErrorAction,
    ErrorRule,
    Event,
    Intent,
    Interval,
    LimiterSnapshot,
    OriginTrack,
    PollDone,
    PollPending,
    RateLimit,
    RetryPolicy,
    SeparationTask,
    SeparationType,
    SlotResult,
    Song,
    SongProgress,
    SongStats,
    StemFile,
    Stems,
    TaskOutcome,
    TaskRef,
    TaskStatus,
    UploadedFile,
    UploadProgress,
)

FOLDER = Path(__file__).with_name("pickles")
WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
TASK = SeparationTask(
    task_id="a",
    status=TaskStatus.SUCCESS,
    type=SeparationType.SPLIT_STEM,
    stems=Stems(vocal="https://cdn.example/v.mp3"),
    created_at=WHEN,
    origin_tracks=(OriginTrack(url="https://cdn.example/o.mp3"),),
    raw={"taskId": "a"},
)
FILE = StemFile(
    stem="vocal", path=Path("a.mp3"), size=1, sha256=None, was_fetched=True, verified=True
)
VALUES: list[Any] = [
    TASK,
    TASK.stems,
    TASK.origin_tracks[0],
    TaskRef("a", type="split_stem", created_at=WHEN),
    TaskOutcome(
        task_id="a",
        status=TaskStatus.SUCCESS,
        task=TASK,
        error=None,
        polls=1,
        elapsed=2.0,
        files={"vocal": Path("a.mp3")},
    ),
    PollDone(TASK),
    PollPending(delay=1.0, state={"polls": 1}, status=TaskStatus.PENDING),
    ClientStats(requests=1, throttled=0, in_flight=0, rate=2.0, paused_for=0.0),
    BatchStats(
        pending=1,
        finished=0,
        succeeded=0,
        failed=0,
        polls=1,
        throttled=0,
        retried=0,
        rate=2.0,
        mean_delay=None,
        eta=1.0,
    ),
    DownloadProgress(task_id="a", stem="vocal", path=Path("a.mp3"), done=1, total=None),
    UploadProgress(name="song.mp3", sent=1, total=2),
    UploadedFile(
        url="https://uploads.example/song.mp3",
        name="song.mp3",
        size=2,
        content_type="audio/mpeg",
        expires_at=WHEN,
        sha256="00",
    ),
    FILE,
    DownloadReport(task_id="a", files=(FILE,)),
    Song("a.mp3", label="a", type="split_stem"),
    SongProgress(song=Song("a.mp3", label="a"), state="uploading", task_id=None, sent=1, total=2),
    SongStats(
        songs=3,
        pending=0,
        succeeded=1,
        failed=0,
        uncertain=1,
        not_begun=1,
        created=1,
        joined=0,
        known=0,
        credits_spent=20.0,
    ),
    Intent(began_at=WHEN, request={"type": "split_stem"}, error=None),
    DownloadOptions("stems", stems=["vocal"]),
    RateLimit(20, 10.0),
    RetryPolicy(),
    Adaptive(),
    Backoff(),
    Interval(5),
    ErrorRule(vocalsep_async.APIError),
    SUNOAPI,
    KIE,
    TaskStatus.PENDING,
    SeparationType.SPLIT_STEM,
    ErrorAction.RETRY,
    SlotResult.ANSWERED,
    Bid(worth=1.5, growth=0.5),
    LimiterSnapshot(rate=2.0, ceiling=2.0, in_flight=0, sent=1, throttled=0),
    *EVENTS,
]


def path_of(version: str, value: object) -> Path:
    """Where the pickle of *value* is that *version* made."""
    name = type(value).__name__
    if isinstance(value, Event):
        return FOLDER / version / name
    return FOLDER / version / f"{name}.{getattr(value, 'name', '')}".rstrip(".")


def write(values: list[Any]) -> None:
    """Write the pickles of this version."""
    for value in values:
        path = path_of(vocalsep_async.__version__, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(value, 4))


if __name__ == "__main__":
    from test_errors import FAMILY, example

    write([*VALUES, *(example(cast("Any", error)) for error in FAMILY)])
