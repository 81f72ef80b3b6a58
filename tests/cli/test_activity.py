"""What a run is doing, gathered from events: without a loop, and at times that a test chooses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cli.stats import batch
from event_values import failed_poll, poll
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import (
    DownloadError,
    DownloadProgress,
    DownloadReport,
    MaintenanceError,
    RateLimitedError,
    TaskOutcome,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
    TransportError,
)
from vocalsep_async.cli.activity import Activity, Pause, Silence, Snapshot, StemCounts
from vocalsep_async.instrumentation import (
    CreationSent,
    Event,
    JournalOpened,
    OutcomeDelivered,
    Paused,
    PollStarted,
    Resumed,
    StemFailed,
    StemSaved,
    TaskFinished,
    Throttled,
)

CUT = TransportError("cut")


class Watched:
    """An activity with a clock for tests."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.activity = Activity(lambda: self.now)

    def get(self, *events: Event, after: float = 0.0) -> None:
        """Have events happen *after* so many seconds."""
        self.now += after
        for each in events:
            self.activity(each)

    def snapshot(self, after: float = 0.0) -> Snapshot:
        self.now += after
        return self.activity.snapshot(batch())


@pytest.fixture
def watched() -> Watched:
    return Watched()


def started(task_id: str = "a") -> PollStarted:
    return PollStarted(task_id=task_id, attempt=1, wait_ids=("batch-1",))


def failed(error: BaseException = CUT, task_id: str = "a", **fields: Any) -> Event:
    return evolve(failed_poll(error, task_id), **({"duration": 0.0} | fields))


def ended(task_id: str = "a") -> TaskFinished:
    return TaskFinished(
        task_id=task_id, status=TaskStatus.SUCCESS, type=None, duration=20.0, delay=1.0, polls=2
    )


def delivered(task_id: str = "a") -> OutcomeDelivered:
    outcome = TaskOutcome(
        task_id=task_id, status=None, task=None, error=None, polls=1, elapsed=20.0
    )
    return OutcomeDelivered(batch_id="batch-1", outcome=outcome)


def unsaved(*stems: str) -> OutcomeDelivered:
    """An outcome of which one stem is saved and *stems* are not."""
    errors = tuple(DownloadError(f"{stem}: cut", task_id="a", stem=stem) for stem in stems)
    report = DownloadReport(task_id="a", files=(), errors=errors)
    outcome = evolve(
        delivered().outcome, files={"vocal": Path("vocal.mp3")}, download_error=report.error
    )
    return OutcomeDelivered(batch_id="batch-1", outcome=outcome)


# Stems


def test_the_stems_of_outcomes_are_counted(watched: Watched) -> None:
    watched.get(delivered())
    assert watched.snapshot().stems == StemCounts()
    watched.get(unsaved())
    assert watched.snapshot().stems == StemCounts(saved=1)
    watched.get(unsaved("drums", "bass"), unsaved("piano"))
    shown = watched.snapshot()
    assert shown.stems == StemCounts(saved=3, missing=3, tasks=2, reason="drums: cut")
    # A task whose stems are missing counts as failed for the batch, and has succeeded.
    assert evolve(shown, batch=batch(succeeded=5, failed=3)).results == "7 succeeded, 1 failed"


def test_a_task_that_ran_out_of_time_is_counted_apart_from_those_that_failed(
    watched: Watched,
) -> None:
    event = delivered()
    error = TaskTimeoutError("late", task_id="a", task=None, polls=1, last_error=None)
    watched.get(evolve(event, outcome=evolve(event.outcome, error=error)), delivered("b"))
    shown = evolve(watched.snapshot(), batch=batch(succeeded=5, failed=3))
    assert shown.results == "5 succeeded, 2 failed, 1 timed out"


# Requests


def test_an_activity_without_events_is_empty(watched: Watched) -> None:
    assert watched.snapshot() == Snapshot(batch=batch(), requests=0, throttled=0, request_rate=0.0)


def test_polls_and_creations_are_requests(watched: Watched) -> None:
    watched.get(started("a"), CreationSent(creation_id="creation-1"), started("b"))
    assert watched.snapshot().requests == 3


def test_other_events_are_no_requests(watched: Watched) -> None:
    watched.get(poll(), JournalOpened(path=Path("j")), ended(), delivered())
    assert watched.snapshot().requests == 0


def test_throttled_requests_are_counted(watched: Watched) -> None:
    watched.get(Throttled(code=430, retry_after=None), Throttled(code=405, retry_after=2.0))
    assert watched.snapshot().throttled == 2


def test_the_request_rate_is_that_of_the_last_ten_seconds(watched: Watched) -> None:
    watched.get(*[started()] * 20)
    assert watched.snapshot(after=9.9).request_rate == 2.0
    watched.get(*[started()] * 5)
    assert watched.snapshot(after=0.1).request_rate == 0.5
    assert watched.snapshot(after=60).request_rate == 0.0


@given(st.lists(st.floats(0, 20), min_size=1))
def test_the_request_rate_counts_each_request_for_ten_seconds(gaps: list[float]) -> None:
    watched = Watched()
    times = []
    for gap in gaps:
        watched.get(started(), after=gap)
        times.append(watched.now)
    recent = sum(at > watched.now - 10 for at in times)
    assert watched.snapshot().request_rate == recent / 10


# Pauses


def test_a_pause_ends_after_its_time_at_the_latest(watched: Watched) -> None:
    watched.get(Paused(duration=8.0, reason="throttled"))
    assert watched.snapshot(after=3).pause == Pause(seconds=5.0, reason="throttled")
    assert watched.snapshot(after=5).pause is None


def test_a_pause_that_becomes_longer_is_one_pause(watched: Watched) -> None:
    watched.get(Paused(duration=8.0, reason="throttled"))
    watched.get(Paused(duration=60.0, reason="maintenance"), after=1)
    assert watched.snapshot().pause == Pause(seconds=60.0, reason="maintenance")


def test_a_pause_ends_when_the_client_resumes(watched: Watched) -> None:
    watched.get(Paused(duration=8.0, reason="throttled"), Resumed())
    assert watched.snapshot().pause is None


# Tasks


def test_the_slowest_tasks_are_those_that_were_polled_first(watched: Watched) -> None:
    for name in "abcde":
        watched.get(started(name), after=10)
    watched.get(started("a"), after=10)
    assert watched.snapshot().slowest == (("a", 50.0), ("b", 40.0), ("c", 30.0))
    watched.get(ended("a"), delivered("c"))
    assert watched.snapshot().slowest == (("b", 40.0), ("d", 20.0), ("e", 10.0))


def test_the_slowest_tasks_have_their_labels(watched: Watched) -> None:
    watched.activity.on_task(TaskRef("a", label="Tin Roof"))
    watched.get(started("a"), started("b"))
    assert [name for name, _ in watched.snapshot().slowest] == ["Tin Roof", "b"]


@pytest.mark.parametrize(
    "tasks, noun",
    [
        ([], "task"),
        ([TaskRef("a", label="Tin Roof")], "song"),
        ([TaskRef("a", label="Tin Roof"), TaskRef("b", label="Apple")], "song"),
        ([TaskRef("a", label="Tin Roof"), "b"], "task"),
        (["a", TaskRef("b")], "task"),
        # The batch keeps the label of a task that is given twice.
        ([TaskRef("a", label="Tin Roof"), "a"], "song"),
    ],
)
def test_tasks_are_songs_where_all_have_labels(
    watched: Watched, tasks: list[str | TaskRef], noun: str
) -> None:
    for each in tasks:
        watched.activity.on_task(each)
    assert watched.snapshot().noun == noun


def test_songs_that_are_expected_are_songs_before_they_come() -> None:
    activity = Activity(lambda: 0.0, expects_songs=True)
    assert activity.snapshot(batch()).noun == "song"
    activity.on_task("a")
    assert activity.snapshot(batch()).noun == "task"


def test_tasks_whose_labels_only_the_journal_knows_are_songs(watched: Watched) -> None:
    restored = delivered("a")
    watched.get(evolve(restored, outcome=evolve(restored.outcome, label="Tin Roof")))
    assert watched.snapshot().noun == "song"
    watched.get(delivered("b"))
    assert watched.snapshot().noun == "task"


def test_the_age_of_an_outcome_counts_from_the_poll_that_found_the_end(watched: Watched) -> None:
    watched.get(ended())
    watched.get(delivered(), after=30)
    assert watched.activity.take_age("a") == 30.0
    assert watched.activity.take_age("a") is None


def test_an_outcome_whose_end_no_poll_found_has_no_age(watched: Watched) -> None:
    watched.get(delivered())
    assert watched.activity.take_age("a") is None


# Silence


def test_ten_seconds_of_failures_are_a_silence(watched: Watched) -> None:
    watched.get(started(), failed(TransportError("first")))
    watched.get(started(), failed(CUT), after=5)
    assert watched.snapshot(after=4.9).silence is None
    assert watched.snapshot(after=0.1).silence == Silence(seconds=10.0, error=CUT, task_id=None)


def test_a_silence_counts_from_the_sending_of_the_first_poll(watched: Watched) -> None:
    watched.get(started())
    watched.get(failed(duration=30.0), after=30)
    silence = watched.snapshot().silence
    assert silence == Silence(seconds=30.0, error=CUT, task_id=None)


def test_a_poll_that_hangs_is_a_silence_without_an_error(watched: Watched) -> None:
    watched.get(started())
    assert watched.snapshot(after=12).silence == Silence(seconds=12.0, error=None, task_id=None)


@pytest.mark.parametrize(
    "answer",
    [
        poll(),
        failed(RateLimitedError("too often", code=430, http_status=200)),
        failed(MaintenanceError("maintenance", code=455, http_status=200)),
    ],
    ids=["record", "throttled", "maintenance"],
)
def test_a_silence_ends_with_an_answer(watched: Watched, answer: Event) -> None:
    watched.get(started(), failed())
    watched.get(started(), answer, after=20)
    assert watched.snapshot(after=60).silence is None


def test_a_silence_begins_anew_while_other_polls_are_under_way(watched: Watched) -> None:
    watched.get(started("a"), started("b"))
    watched.get(poll("a"), after=20)
    assert watched.snapshot(after=9).silence is None
    assert watched.snapshot(after=1).silence == Silence(seconds=10.0, error=None, task_id=None)


def test_a_cancelled_poll_is_no_answer(watched: Watched) -> None:
    watched.get(started())
    watched.get(failed(asyncio.CancelledError()), after=20)
    assert watched.snapshot().silence == Silence(seconds=20.0, error=None, task_id=None)


def test_a_task_whose_polls_alone_fail_is_named(watched: Watched) -> None:
    for name in ("bad", "worse", "good"):
        watched.get(started(name), failed(task_id=name), after=1)
    for _ in range(6):
        watched.get(started("bad"), failed(TransportError("last"), "bad"), after=2)
        watched.get(started("good"), poll("good"))
    silence = watched.snapshot().silence
    assert silence is not None
    assert (silence.task_id, silence.seconds, str(silence.error)) == ("bad", 14.0, "last")
    watched.get(delivered("bad"))
    silence = watched.snapshot().silence
    assert silence is not None
    assert silence.task_id == "worse"
    watched.get(ended("worse"))
    assert watched.snapshot().silence is None


# Files


def progress(done: int, stem: str = "vocal") -> DownloadProgress:
    path = Path("stems", "a", f"{stem}.wav")
    return DownloadProgress(task_id="a", stem=stem, path=path, done=done, total=3)


def test_a_file_is_shown_until_its_stem_is_saved_or_has_failed(watched: Watched) -> None:
    for each in (progress(1), progress(1, "drums"), progress(2)):
        watched.activity.on_progress(each)
    assert watched.snapshot().files == (progress(2), progress(1, "drums"))
    stem: dict[str, Any] = {"download_id": "download-1", "task_id": "a", "path": None}
    watched.get(StemSaved(**stem, stem="vocal", size=3, was_fetched=True))
    assert watched.snapshot().files == (progress(1, "drums"),)
    cut = DownloadError("cut", task_id="a", stem="drums")
    watched.get(StemFailed(**stem, stem="drums", error=cut))
    assert watched.snapshot().files == ()


def test_a_stem_that_was_there_already_needs_no_progress(watched: Watched) -> None:
    stem: dict[str, Any] = {"download_id": "download-1", "task_id": "a", "path": None}
    watched.get(StemSaved(**stem, stem="vocal", size=3, was_fetched=False))
    assert watched.snapshot().files == ()


def test_an_event_from_a_callback_of_the_event_loop_is_counted() -> None:
    activity = Activity()

    async def run() -> Snapshot:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.call_soon(activity, started())
        loop.call_soon(ended.set)
        await ended.wait()
        return activity.snapshot(batch())

    assert asyncio.run(run()).requests == 1
