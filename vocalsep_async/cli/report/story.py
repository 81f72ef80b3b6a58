"""What the page tells of each task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from attrs import frozen

from vocalsep_async import TaskOutcome
from vocalsep_async.cli.report.ending import Ending, ending_of, last_record, reason_of
from vocalsep_async.cli.report.links import link
from vocalsep_async.cli.report.run import Arrival, Run


@frozen
class StemLink:
    """A stem on disk.

    Attributes:
        name: the stem.
        path: the file.
        href: the address of the file, for a page in the folder of the report.
    """

    name: str
    path: Path
    href: str

    @property
    def label(self) -> str:
        """The name as a person writes it."""
        return self.name.replace("_", " ")


@frozen
class Story:
    """One task, from its creation until its end was known.

    Attributes:
        number: its place in the order of arrival, from 1.
        arrival: what was known of it, and when.
        ending: what became of it.
        reason: why it has no stems, or not all of them on disk; None if it has.
        created_at: by the provider's clock; None if not known.
        completed_at: by the provider's clock; None if it has not ended, or that is not known.
        took: seconds from the one to the other; None if not known.
        delay: seconds from its end, or from the start of the run if it had ended before, until
            that was known; 0 if the clocks differ by more; None if its end is not known.
        is_skewed: whether the delay is 0 for that reason.
        stems: the files.
        unfetched: the names of stems that are not on disk.
    """

    number: int
    arrival: Arrival
    ending: Ending
    reason: str | None
    created_at: datetime | None
    completed_at: datetime | None
    took: float | None
    delay: float | None
    is_skewed: bool
    stems: tuple[StemLink, ...]
    unfetched: tuple[str, ...]

    @property
    def outcome(self) -> TaskOutcome:
        """What was known of it."""
        return self.arrival.outcome

    @property
    def name(self) -> str:
        """Its title, or its id."""
        return self.arrival.title or self.outcome.task_id


def stories(run: Run, folder: Path) -> tuple[Story, ...]:
    """Every task of *run* that has an outcome, for a page in *folder*."""
    return tuple(
        _story(number, arrival, run.began_at, folder)
        for number, arrival in enumerate(run.arrivals, start=1)
    )


def _story(number: int, arrival: Arrival, began_at: datetime, folder: Path) -> Story:
    outcome = arrival.outcome
    record = last_record(outcome)
    completed_at = record.completed_at if record is not None and record.is_final else None
    delay = _delay(arrival.at, completed_at, began_at)
    return Story(
        number=number,
        arrival=arrival,
        ending=ending_of(outcome),
        reason=reason_of(outcome),
        created_at=None if record is None else record.created_at,
        completed_at=completed_at,
        took=None if record is None else record.duration,
        delay=None if delay is None else max(0.0, delay),
        is_skewed=delay is not None and delay < 0,
        stems=_stem_links(outcome.files, folder),
        unfetched=_unfetched(outcome),
    )


def _delay(at: datetime, completed_at: datetime | None, began_at: datetime) -> float | None:
    if completed_at is None:
        return None
    # Nobody can have known it before the run began: that is not the schedule's delay.
    return (at - max(completed_at, began_at)).total_seconds()


def _stem_links(files: Mapping[str, Path], folder: Path) -> tuple[StemLink, ...]:
    return tuple(StemLink(name, path, link(path, folder)) for name, path in files.items())


def _unfetched(outcome: TaskOutcome) -> tuple[str, ...]:
    if outcome.task is None:
        return ()
    return tuple(name for name, _ in outcome.task.stems if name not in outcome.files)
