"""The emulated tasks: their life from creation to end, and how they are drawn and stored."""

from __future__ import annotations

import hashlib
import math
import random
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from attrs import define, field, frozen

from vocalsep_async.emulator import audio
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType, TaskStatus

_SAFE_IN_LINKS = re.compile(r"[A-Za-z0-9_-]{1,128}")
Failure = tuple[int, str]
"""A code, and the message that comes with it."""
FAILURE_MESSAGE = "The separation failed, please try again later."
"""The error message of a failed task unless another one is given."""

# Nine tasks of ten take between these seconds; the rest take less or more, in equal shares.
_USUAL_SECONDS: Mapping[SeparationType, tuple[float, float]] = MappingProxyType(
    {
        SeparationType.SEPARATE_VOCAL: (20.0, 90.0),
        SeparationType.SPLIT_STEM: (60.0, 240.0),
        SeparationType.SPLIT_STEM_ADVANCED: (60.0, 240.0),
    }
)
_LEAD_VOCAL = "Lead Vocal"
_GROUPS = MappingProxyType({"vocal": "Vocals", "fx": "FX"})
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9 _-]")
_DEVIATIONS = 1.6449  # 95 percent of a normal distribution lie below mean + 1.6449 deviations


def _offset() -> float:
    return time.time() - time.monotonic()


@frozen
class Clock:
    """Monotonic seconds, and the wall time that belongs to them."""

    # Read once: printed times are monotonic ones plus a constant, so that the difference of two
    # of them stays a true duration when the wall clock is set in between.
    _offset: float = field(factory=_offset, init=False)

    def now(self) -> float:
        """Return monotonic seconds; every deadline is in these."""
        return time.monotonic()

    def wall(self, at: float) -> float:
        """Return the seconds since 1970 that belong to the monotonic time *at*."""
        return at + self._offset

    def milliseconds(self, at: float) -> int:
        """Return `wall` in milliseconds, as the records print it."""
        return round(self.wall(at) * 1000)


@frozen
class Ending:
    """How a task ends.

    Attributes:
        status: any but PENDING.
        code: error code of a failure; None if the task has stems.
        message: error message of a failure; None if the task has stems.
        posted: code and message in the callback of a failure; None for those above.
    """

    status: TaskStatus
    code: int | None = None
    message: str | None = None
    posted: Failure | None = None

    @property
    def has_stems(self) -> bool:
        """Whether there is anything to download."""
        return self.code is None


@frozen
class Track:
    """One file that a task has made.

    Attributes:
        mix: what it holds, one of `audio.MIXES`.
        track_id: its id, a UUID.
        group: what the service calls it, such as "Backing Vocals".
        file_name: the last part of its link.
    """

    mix: str
    track_id: str
    group: str
    file_name: str


@define(kw_only=True, eq=False)
class Task:
    """One separation.

    Attributes:
        task_id: any string.
        type: the kind of separation.
        created_at: monotonic seconds.
        ends_at: monotonic seconds; ``math.inf`` for never.
        ending: how the task will end; decided at its creation.
        stem_name: instrument that a split_stem_advanced extracts; None if not given.
        music_id: id of the source track; None if not given.
        callback_url: URL that is notified of the end; None for none.
        is_job: whether it is on the jobs route; the routes do not know each other's tasks.
        param: the creation as the jobs route repeats it; "" if no request created the task.
    """

    task_id: str
    type: SeparationType
    created_at: float
    ends_at: float
    ending: Ending
    stem_name: str | None = None
    music_id: str | None = None
    callback_url: str | None = None
    is_job: bool = False
    param: str = ""
    _tracks: dict[str, Track] = field(factory=dict, init=False)

    @property
    def folder(self) -> str:
        """The task's part of the path in links: its id, or a digest of an unusual id."""
        # An id may hold anything, such as ../x, and clients quote that in more ways than one.
        if _SAFE_IN_LINKS.fullmatch(self.task_id):
            return self.task_id
        return hashlib.sha256(self.task_id.encode("utf-8", "surrogatepass")).hexdigest()

    def ended(self, now: float) -> Ending | None:
        """Return how the task has ended by the monotonic time *now*; None while it is pending."""
        return self.ending if now >= self.ends_at else None

    def callback_failed(self) -> None:
        """Turn a success into CALLBACK_EXCEPTION; a failure stays what it is."""
        if self.ending.status is TaskStatus.SUCCESS:
            self.ending = Ending(TaskStatus.CALLBACK_EXCEPTION)

    @property
    def mixes(self) -> dict[str, str]:
        """The mix behind each stem; empty for split_stem_advanced, see `pair`."""
        if self.type is SeparationType.SEPARATE_VOCAL:
            return {"vocal": "vocals", "instrumental": "instrumental"}
        if self.type is SeparationType.SPLIT_STEM:
            return {track: track for track in audio.TRACKS}
        return {}

    @property
    def pair(self) -> dict[str, str]:
        """The mixes of a split_stem_advanced: the instrument, and everything else."""
        track = audio.track_named(self.stem_name)
        if track is None:
            return {"extract": "silence", "remove": "original"}
        return {"extract": track, "remove": f"without_{track}"}

    def track(self, mix: str) -> Track:
        """The file of one of its mixes."""
        # Each poll asks for it.
        if mix not in self._tracks:
            self._tracks[mix] = self._new_track(mix)
        return self._tracks[mix]

    def _new_track(self, mix: str) -> Track:
        group = self._group(mix)
        # An id given to `add_task` may hold lone surrogates.
        named = f"{self.task_id}/{mix}".encode("utf-8", "surrogatepass")
        track_id = str(uuid.UUID(bytes=hashlib.sha256(named).digest()[:16]))
        # The services leave the blank of an instrument that a request has named.
        words = group.replace(" ", "_") if self.mixes else _UNSAFE_IN_NAMES.sub("_", group)
        return Track(mix, track_id, group, f"{track_id}_{words}.wav")

    def track_in(self, file_name: str) -> Track | None:
        """The file of that name; None if the task has none."""
        mixes = (*self.mixes.values(), *self.pair.values())
        tracks = map(self.track, mixes)
        return next((track for track in tracks if track.file_name == file_name), None)

    def _group(self, mix: str) -> str:
        if not self.mixes:
            return self.stem_name or _LEAD_VOCAL
        return _GROUPS.get(mix) or mix.replace("_", " ").title()


class TaskStore:
    """All tasks by id, in the order they were added."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._by_folder: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        """Add *task*.

        Raises:
            InvalidArgumentError: a task of that id exists.
        """
        # In one step, as tests may add tasks in several threads.
        if self._tasks.setdefault(task.task_id, task) is not task:
            raise InvalidArgumentError(f"a task {task.task_id!r} exists already")
        self._by_folder[task.folder] = task

    def find(self, task_id: str) -> Task | None:
        """Return the task of that id; None if there is none."""
        return self._tasks.get(task_id)

    def in_folder(self, folder: str) -> Task | None:
        """Return the task whose links contain *folder*; None if there is none."""
        return self._by_folder.get(folder)

    @property
    def all(self) -> tuple[Task, ...]:
        """All tasks."""
        return tuple(self._tasks.values())

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all tasks."""
        return tuple(self._tasks)


class Sampler:
    """The random source of new tasks; the same seed gives the same values in the same order.

    Args:
        seed: any whole number.
        speed: divisor of the durations.
        failure_rate: share of tasks that fail, from 0 to 1.
    """

    def __init__(self, seed: int, *, speed: float, failure_rate: float) -> None:
        self._random = random.Random(seed)
        # Of its own, so that ids and durations do not depend on how many tasks fail.
        self._random_failure = random.Random(seed)
        self._speed = speed
        self._failure_rate = failure_rate

    def task_id(self) -> str:
        """Return a new id: 32 hexadecimal digits."""
        return f"{self._random.getrandbits(128):032x}"

    def duration(self, type: SeparationType) -> float:  # noqa: A002
        """Return seconds from the creation to the end of a task of *type*."""
        # Log-normal: durations are positive, and long ones stand out more than short ones.
        low, high = map(math.log, _USUAL_SECONDS[type])
        deviation = (high - low) / 2 / _DEVIATIONS
        return self._random.lognormvariate((low + high) / 2, deviation) / self._speed

    def ending(self, failures: Sequence[Failure]) -> Ending:
        """Return a success or, with the probability of the failure rate, a failure.

        Args:
            failures: what the callback of a failure may say.
        """
        if self._random.random() < self._failure_rate:
            posted = self._random_failure.choice(failures)
            return Ending(TaskStatus.GENERATE_AUDIO_FAILED, 500, FAILURE_MESSAGE, posted)
        return Ending(TaskStatus.SUCCESS)
