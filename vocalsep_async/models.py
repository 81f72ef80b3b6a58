"""What the API's answers mean, as frozen values. No I/O, no decoding."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from attrs import field, fields, frozen

from vocalsep_async import _validation
from vocalsep_async._text import bare_url, printable, short_url
from vocalsep_async.errors import (
    DownloadError,
    InvalidArgumentError,
    TaskFailedError,
    VocalSepError,
)

SeparationTypeName = Literal["separate_vocal", "split_stem", "split_stem_advanced"]
"""The names of `SeparationType`, for arguments."""


class TaskStatus(enum.StrEnum):
    """The statuses the API documents, in its own words."""

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    CREATE_TASK_FAILED = "CREATE_TASK_FAILED"
    GENERATE_AUDIO_FAILED = "GENERATE_AUDIO_FAILED"
    CALLBACK_EXCEPTION = "CALLBACK_EXCEPTION"
    """Only the webhook failed: with URLs the task succeeded, without them it failed."""


FINAL_STATUSES = frozenset(TaskStatus) - {TaskStatus.PENDING}
STEMS_READY = frozenset({TaskStatus.SUCCESS, TaskStatus.CALLBACK_EXCEPTION})
_KNOWN_STATUSES = frozenset(TaskStatus)
NO_ERROR = frozenset({None, 0, 200, "0", "200"})
"""Error codes that report no error."""


class SeparationType(enum.StrEnum):
    """What to make of the song.

    ``separate_vocal`` gives the stems ``vocal`` and ``instrumental``, ``split_stem`` up to twelve
    stems, one an instrument, and ``split_stem_advanced`` two tracks: one named instrument alone,
    and all but it.
    """

    SEPARATE_VOCAL = "separate_vocal"
    """Two stems: vocal and instrumental."""
    SPLIT_STEM = "split_stem"
    """Up to twelve stems, one an instrument."""
    SPLIT_STEM_ADVANCED = "split_stem_advanced"
    """One named instrument: a track with it alone and a track without it."""


def as_status(word: str) -> TaskStatus | str:
    """A status by its word; one that this package does not know stays as it is."""
    # A set, because Python 3.11 raises a TypeError for a string that is no member of an enum.
    return TaskStatus(word) if word in set(TaskStatus) else word


def separation_type(
    value: SeparationTypeName | SeparationType | str | None,
) -> SeparationType | None:
    """Return *value* as a `SeparationType`, None as None.

    Raises:
        InvalidArgumentError: there is no such type; the message names those there are.
    """
    if value is None:
        return None
    try:
        return SeparationType(value)
    except ValueError:
        pass
    # Raised outside the handler, so that the error of the enum is not chained.
    known = ", ".join(SeparationType)
    raise InvalidArgumentError(f"unknown separation type {value!r}; the API knows: {known}")


# attrs gives the constructor's argument the annotation of this converter. It has no plain str, so
# that type checkers reject a misspelt name.
def _separation_type(value: SeparationTypeName | SeparationType | None) -> SeparationType | None:
    return separation_type(value)


@frozen(slots=False)
class TaskRef:
    """A task id, with what the caller knows about the task.

    Attributes:
        task_id: the id that the API gave; opaque, sent unchanged.
        type: the type it was created with; None if not known. The API does not state it while
            the task is pending, and knowing it lets the schedule choose better moments to poll.
        created_at: when it was created, with a time zone; None if not known.
        route: the name of the provider whose route the task is on, such as "kie_jobs", where one
            host serves several; None is the route of the client's provider.
        label: the caller's name for it, such as the title of the song; None for none. It is not
            sent, and comes back in outcomes, journals, events, reports and names of files.
        expects_callback: whether `VocalSepClient.notify` will be called at its end, as by a
            receiver of webhooks in this process. With the policy `Adaptive` the task is then polled
            only where that is worth a request although the callback may come, the first time, too.

    Raises:
        InvalidArgumentError: the id is not a string, blank, longer than 512 characters or not
            encodable, it has blanks around it or a character that cannot be printed, such as a
            line end; the type is unknown, the time has no zone, or the route is blank; the label is
            blank, longer than 255 characters, or holds a control character; or *expects_callback*
            is not True or False.
    """

    task_id: str = field(validator=_validation.usable_task_id)
    type: SeparationType | None = field(default=None, converter=_separation_type, kw_only=True)
    created_at: datetime | None = field(
        default=None, validator=_validation.aware_time, kw_only=True
    )
    route: str | None = field(default=None, validator=_validation.usable_route, kw_only=True)
    label: str | None = field(default=None, validator=_validation.usable_label, kw_only=True)
    expects_callback: bool = field(default=False, validator=_validation.flag, kw_only=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of version 0.1.0 have none of these.
        self.__dict__.update({"route": None, "label": None, "expects_callback": False} | state)

    @classmethod
    def of(cls, task: str | TaskRef) -> TaskRef:
        """Return *task* itself if it is a ref, or a ref of that id."""
        if isinstance(task, TaskRef):
            return task
        return cls(task)

    def merged(self, other: TaskRef) -> TaskRef:
        """Return what this ref and *other*, of the same task, know together; this one first."""
        return TaskRef(
            self.task_id,
            type=self.type or other.type,
            created_at=self.created_at or other.created_at,
            route=self.route or other.route,
            label=self.label or other.label,
            expects_callback=self.expects_callback or other.expects_callback,
        )


@frozen(kw_only=True, repr=False, slots=False)
class Stems:
    """The URLs of the stems that are there.

    Every attribute but `others` is a URL or None. Iterating gives ``(name, url)`` of those present,
    so ``dict(stems)`` is a dictionary; ``stems["vocal"]``, ``"vocal" in stems`` and ``len(stems)``
    do what they say. The links expire: in 14 days at best. `others` are stems that are not
    documented, each with its name and URL: ``harpUrl`` is ``harp`` there.
    """

    origin: str | None = None
    instrumental: str | None = None
    vocal: str | None = None
    backing_vocals: str | None = None
    drums: str | None = None
    bass: str | None = None
    guitar: str | None = None
    piano: str | None = None
    keyboard: str | None = None
    percussion: str | None = None
    strings: str | None = None
    synth: str | None = None
    fx: str | None = None
    brass: str | None = None
    woodwinds: str | None = None
    others: tuple[tuple[str, str], ...] = ()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of version 0.1.0 have no others.
        self.__dict__.update({"others": ()} | state)

    def __repr__(self) -> str:
        present = ", ".join(f"{name}={short_url(url)}" for name, url in self)
        return f"Stems({present})"

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name in STEM_NAMES:
            url = getattr(self, name)
            if url is not None:
                yield name, url
        yield from self.others

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        # Asked for each final record, and mostly answered by the first stem.
        return next(iter(self), None) is not None

    def __contains__(self, name: object) -> bool:
        return any(name == present for present, _ in self)

    def __getitem__(self, name: str) -> str:
        present = dict(self)
        if name in present:
            return present[name]
        there = ", ".join(present) or "none"
        raise KeyError(f"no stem {printable(str(name))!r}; there are: {there}")


STEM_NAMES = tuple(each.name for each in fields(Stems) if each.name != "others")


@frozen(kw_only=True)
class OriginTrack:
    """One separated track as the provider's own engine lists it.

    Attributes:
        name: the instrument group, such as "Vocals"; None if not given.
        url: where the audio is; expires like the stems.
        id: the provider's id of the track; None if not given.
        duration: seconds of audio; None if not given.
        part: "extract" (the instrument alone) or "remove" (all but it) in a
            split_stem_advanced pair; None elsewhere.
    """

    name: str | None = None
    url: str = field(repr=short_url)
    id: str | None = None
    duration: float | None = None
    part: Literal["extract", "remove"] | None = None


@frozen(kw_only=True, slots=False)
class SeparationTask:
    """One record of the API.

    Attributes:
        task_id: the task.
        status: a `TaskStatus`, or the API's word verbatim if it is a new one; `is_final` and
            `succeeded` then go by the rest of the record. PENDING if the record has no status,
            unless the rest of a second record shows an end, too.
        type: what kind of separation; inferred from the stems where the API does not say, None
            where that is not possible.
        stems: the URLs.
        created_at: when the provider created it, aware UTC; None if not said. A time that came
            without a zone is taken as UTC; the API does not document its zone.
        completed_at: when it ended, aware UTC, with the same reservation; None if it has not.
        music_id: the source song; None if not said.
        music_index: which of the song's two tracks; None if not said.
        audio_id: the source track; None if not said.
        callback_url: the webhook it was created with, its token masked if `CallbackUrl` made it;
            None if not said.
        error_code: the API's code for a failure; None if there is none.
        error_message: the API's words for a failure, made printable and without the queries of
            links; None if there are none.
        origin_tracks: the tracks as the provider's engine lists them; may be fewer than the stems.
        raw: the record as received, nothing left out. It takes no part in comparisons.
        route: the name of the provider whose route the task is on, where its host serves several
            (see `TaskRef.route`); None elsewhere.
    """

    task_id: str
    status: TaskStatus | str
    type: SeparationType | None = None
    stems: Stems = Stems()
    created_at: datetime | None = None
    completed_at: datetime | None = None
    music_id: str | None = None
    music_index: int | None = None
    audio_id: str | None = None
    callback_url: str | None = field(default=None, repr=short_url)
    error_code: str | int | None = None
    error_message: str | None = None
    origin_tracks: tuple[OriginTrack, ...] = ()
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)
    route: str | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of version 0.1.0 have no route.
        self.__dict__.update({"route": None} | state)

    @property
    def is_final(self) -> bool:
        """Whether the task has ended.

        A status that is not a `TaskStatus` says nothing; the task has then ended if the record has
        a completion time with links or with an error code other than 0 and 200. A success without
        links is final here, but the waiting calls poll it again for a minute: its links may come.
        """
        return self.status in FINAL_STATUSES or self._has_ended_by_evidence

    @property
    def succeeded(self) -> bool:
        """Whether the task has ended with stems, even if only the webhook failed."""
        if self.status in STEMS_READY:
            return self._has_links
        # Beside an error code, a link to the song itself is no result.
        absent = set() if self.error_code in NO_ERROR else {"origin"}
        results = self.origin_tracks or dict(self.stems).keys() - absent
        return self._has_ended_by_evidence and bool(results)

    @property
    def _has_ended_by_evidence(self) -> bool:
        return (
            self.completed_at is not None
            and self.status not in _KNOWN_STATUSES
            and (self.error_code not in NO_ERROR or self._has_links)
        )

    @property
    def _has_links(self) -> bool:
        # A split_stem_advanced has no named stems, only a pair of tracks.
        return bool(self.stems or self.origin_tracks)

    @property
    def duration(self) -> float | None:
        """Seconds from creation to completion by the provider's clock; None if not known."""
        if self.created_at is None or self.completed_at is None:
            return None
        seconds = (self.completed_at - self.created_at).total_seconds()
        # A completion before the creation says nothing about how long it took.
        return seconds if seconds >= 0 else None

    def raise_for_failure(self) -> SeparationTask:
        """Return the task if its stems are there.

        Raises:
            TaskFailedError: the task has ended without stems, or has not ended.
        """
        if self.succeeded:
            return self
        raise TaskFailedError(str(self.reason), self)

    @property
    def reason(self) -> str | None:
        """Why the stems are not there, in a sentence; None if they are."""
        if self.succeeded:
            return None
        task = f"task {printable(self.task_id)!r}"
        if not self.is_final:
            return f"{task} has not ended: {printable(str(self.status))}"
        code = f" (code {self.error_code})" if self.error_code is not None else ""
        reason = self.error_message or "the API gave no reason"
        if self.status == TaskStatus.SUCCESS:
            # A message of the API about a success does not explain missing URLs.
            reason = "the record holds no URL"
        return f"{task} ended with status {printable(str(self.status))}{code}: {reason}"


@frozen(kw_only=True, slots=False)
class TaskOutcome:
    """How waiting for one task of many ended.

    Attributes:
        task_id: the task.
        status: the last status seen; None if no poll succeeded.
        task: the final record; None if the wait ended without one.
        error: what ended the wait; None if a final record was seen. A `TaskFailedError`, which has
            the record, where a success came without links and none have come since.
        polls: polls made for it.
        elapsed: seconds from the start of the wait to its end.
        files: where each stem was saved, by its name; empty if that was not asked for.
        download_error: why a stem was not saved; None if all were, or none was to be.
        label: that of its `TaskRef`; None if it has none.
    """

    task_id: str
    status: TaskStatus | str | None
    task: SeparationTask | None
    error: VocalSepError | None
    polls: int
    elapsed: float
    files: Mapping[str, Path] = field(factory=dict)
    download_error: DownloadError | None = None
    label: str | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of version 0.1.0 have no label.
        self.__dict__.update({"label": None} | state)

    @property
    def succeeded(self) -> bool:
        """Whether the stems are there, and on disk if that was asked for."""
        return self.task is not None and self.task.succeeded and self.download_error is None

    @property
    def reason(self) -> str | None:
        """Why the task did not succeed, in a sentence; None if it did."""
        if self.succeeded:
            return None
        if self.task is not None and not self.task.succeeded:
            return self.task.reason
        error = self.error or self.download_error
        return "nothing is known of the task" if error is None else str(error)

    @property
    def not_saved(self) -> dict[str, DownloadError]:
        """Why stems that were to be saved are not, by their names; empty if all are."""
        first = self.download_error
        if first is None:
            return {}
        return {each.stem: each for each in (first.report.errors if first.report else (first,))}

    def result(self) -> SeparationTask:
        """Return the task with its stems.

        Raises:
            VocalSepError: what ended the wait, `TaskFailedError`, or `DownloadError`.
        """
        if self.task is not None and self.download_error is None:
            return self.task.raise_for_failure()
        error = self.error or self.download_error
        # A copy: raising one error again and again would pile up its traceback.
        raise copy.copy(error or InvalidArgumentError("an outcome without task and error"))

    def to_dict(self, *, keep_links: bool = False) -> dict[str, Any]:
        """The outcome as plain JSON values, as ``vocalsep track --json`` prints it.

        Args:
            keep_links: whether links are kept whole. Their queries may be signatures that let
                every reader fetch the files.
        """
        stems = {} if self.task is None else dict(self.task.stems)
        return {
            "task_id": self.task_id,
            "label": self.label,
            "status": None if self.status is None else str(self.status),
            "succeeded": self.succeeded,
            "reason": self.reason,
            "stems": stems if keep_links else {name: bare_url(url) for name, url in stems.items()},
            "files": {stem: str(path) for stem, path in self.files.items()},
            "not_saved": {stem: str(error) for stem, error in self.not_saved.items()},
            "polls": self.polls,
            "elapsed": self.elapsed,
        }


@frozen
class PollDone:
    """The task has ended.

    Attributes:
        task: the final record.
    """

    task: SeparationTask


@frozen(kw_only=True)
class PollPending:
    """The task has not ended, as far as is known.

    Attributes:
        delay: seconds after which to call again; an earlier call may find no room in the rate
            limit.
        state: what to pass to the next call as ``state=``; plain JSON.
        status: the last status seen; None if no poll succeeded.
    """

    delay: float
    state: dict[str, Any]
    status: TaskStatus | str | None


@frozen(kw_only=True)
class ClientStats:
    """What a client has done and may do now.

    Attributes:
        requests: requests sent, each counted once on the wire; not those that cannot have reached
            the API, because no connection was made or a proxy rejected them.
        throttled: how many of them the API throttled (405/430 and their equivalents).
        in_flight: requests sent and not answered yet.
        rate: requests per second that are allowed now; infinity while no limit is known.
        paused_for: seconds for which nothing is sent, after throttling, in maintenance or in an
            outage; 0 if the client is not paused.
    """

    requests: int
    throttled: int
    in_flight: int
    rate: float
    paused_for: float


@frozen(kw_only=True)
class BatchStats:
    """What a batch has done so far, at one moment.

    Attributes:
        pending: tasks taken in whose outcome is not known yet.
        finished: tasks with an outcome, whether or not it was fetched; succeeded and failed.
        succeeded: those whose stems are there, until one of them cannot be saved.
        failed: the others: failed at the provider, ended by an error, out of time, not saved.
        polls: polls that the batch made or shared.
        throttled: how many of them the API throttled (405/430 and their equivalents).
        retried: how many of them failed with another error and were retried.
        rate: requests per second that are allowed now, for the whole client; infinity while no
            limit is known.
        mean_delay: seconds from the end of a task until it was known, on average over those that
            ended after they were taken in; None until there is one whose times are known. Tasks
            that had ended before, and those restored from a journal, do not count.
        eta: seconds until all outcomes will be known, roughly, as tasks of this type go, and no
            fewer than a pause of the client lasts; infinity before a poll of the batch succeeded,
            and after ten seconds without an answer.
        last_error: why the last poll of the batch failed, without its traceback; None if a poll
            has succeeded since, or none has failed.
    """

    pending: int
    finished: int
    succeeded: int
    failed: int
    polls: int
    throttled: int
    retried: int
    rate: float
    mean_delay: float | None
    eta: float
    last_error: VocalSepError | None = None


@frozen(kw_only=True)
class DownloadProgress:
    """How far one file is.

    Attributes:
        task_id: the task.
        stem: the stem's name.
        path: where it will be; if the link has no suffix, that is known once all has arrived.
        done: bytes that have arrived, those of an earlier try included.
        total: bytes in all; None if the host does not say.
    """

    task_id: str
    stem: str
    path: Path
    done: int
    total: int | None


@frozen(kw_only=True)
class StemFile:
    """One stem on disk.

    Attributes:
        stem: its name.
        path: where it is.
        size: bytes.
        sha256: of its content, in hexadecimal; None for a file that was left as it stood
            (``overwrite="never"``).
        was_fetched: whether this call fetched it; False if it was there already.
        verified: whether it is known to be whole: the host said how long it is, or where it ends.
    """

    stem: str
    path: Path
    size: int
    sha256: str | None
    was_fetched: bool
    verified: bool


@frozen(kw_only=True)
class DownloadReport:
    """What became of the stems of one task.

    Attributes:
        task_id: the task.
        files: the stems that are on disk now.
        errors: why the others are not.
    """

    task_id: str
    files: tuple[StemFile, ...]
    errors: tuple[DownloadError, ...] = ()

    @property
    def paths(self) -> dict[str, Path]:
        """Where each stem is, by its name."""
        return {file.stem: file.path for file in self.files}

    @property
    def error(self) -> DownloadError | None:
        """The first error, which carries this report; None if all stems are on disk."""
        if not self.errors:
            return None
        # A copy: a report and its errors that hold each other could not be pickled.
        error = copy.copy(self.errors[0])
        error.report, error.__cause__ = self, self.errors[0].__cause__
        return error


@frozen(kw_only=True, slots=False)
class Intent:
    """A creation that may have been carried out without its task id being known.

    Attributes:
        began_at: when it was asked for, aware UTC.
        request: what it asked for, without links.
        error: what went wrong; None if the program ended before anything was known.
        label: the label of the task; None for none.
    """

    began_at: datetime
    request: Mapping[str, Any]
    error: str | None
    label: str | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of version 0.1.0 have no label.
        self.__dict__.update({"label": None} | state)
