"""The tasks there are, and the clock that they go by."""

from __future__ import annotations

import hashlib
import re
import time

from attrs import define, field, frozen

from vocalsep_async.emulator import audio
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType, TaskStatus

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _offset() -> float:
    return time.time() - time.monotonic()


@frozen
class Clock:
    """Monotonic seconds, with the wall clock read once.

    Printed times are the monotonic ones moved by a fixed offset, so that the difference of two
    printed times is a true duration also when somebody sets the wall clock.
    """

    _offset: float = field(factory=_offset, init=False)

    def now(self) -> float:
        """Return monotonic seconds; every deadline is in these."""
        return time.monotonic()

    def wall(self, at: float) -> float:
        """Return the seconds since 1970 that belong to the monotonic time *at*."""
        return at + self._offset

    def milliseconds(self, at: float) -> int:
        """Return `wall` as the records print it."""
        return round(self.wall(at) * 1000)


@frozen
class Ending:
    """How a task ends.

    Attributes:
        status: any but PENDING.
        code: of a failure; None if it has stems.
        message: of a failure; None if it has stems.
    """

    status: TaskStatus
    code: int | None = None
    message: str | None = None

    @property
    def has_stems(self) -> bool:
        """Whether there is anything to download."""
        return self.code is None


@define(kw_only=True, eq=False)
class Task:
    """One separation.

    Attributes:
        task_id: any string.
        type: what is made.
        created_at: monotonic seconds.
        ends_at: monotonic seconds; ``math.inf`` for never.
        ending: how it will end, decided beforehand.
        stem_name: the instrument that a split_stem_advanced takes out; None if not said.
        music_id: the source; None if not said.
        callback_url: where to tell of the end; None if nowhere.
    """

    task_id: str
    type: SeparationType
    created_at: float
    ends_at: float
    ending: Ending
    stem_name: str | None = None
    music_id: str | None = None
    callback_url: str | None = None

    @property
    def folder(self) -> str:
        """What stands for the task in links: its id, or a digest of an unusual one.

        Ids may hold anything, such as ``../x``, and clients quote that in more ways than one.
        """
        if _PLAIN.fullmatch(self.task_id):
            return self.task_id
        return hashlib.sha256(self.task_id.encode("utf-8", "surrogatepass")).hexdigest()

    def ended(self, now: float) -> Ending | None:
        """Return how it has ended by the monotonic time *now*; None while it is pending."""
        return self.ending if now >= self.ends_at else None

    def callback_failed(self) -> None:
        """Note that nobody took the callback; a failure stays a failure."""
        if self.ending.status is TaskStatus.SUCCESS:
            self.ending = Ending(TaskStatus.CALLBACK_EXCEPTION)

    @property
    def mixes(self) -> dict[str, str]:
        """The mix behind each stem; nothing for split_stem_advanced, see `pair`."""
        if self.type is SeparationType.SEPARATE_VOCAL:
            return {"vocal": "vocals", "instrumental": "instrumental"}
        if self.type is SeparationType.SPLIT_STEM:
            return {track: track for track in audio.TRACKS}
        return {}

    @property
    def pair(self) -> dict[str, str]:
        """The mixes of a split_stem_advanced: the instrument, and the rest."""
        track = audio.track_named(self.stem_name)
        if track is None:
            return {"extract": "silence", "remove": "original"}
        return {"extract": track, "remove": f"without_{track}"}


class TaskStore:
    """All tasks by id, in the order they were added."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._by_folder: dict[str, str] = {}

    def add(self, task: Task) -> None:
        """Take *task* in.

        Raises:
            InvalidArgumentError: there is one of that id.
        """
        if task.task_id in self._tasks:
            raise InvalidArgumentError(f"there is a task {task.task_id!r} already")
        self._tasks[task.task_id] = task
        self._by_folder[task.folder] = task.task_id

    def find(self, task_id: str) -> Task | None:
        """Return the task of that id; None if there is none."""
        return self._tasks.get(task_id)

    def at_folder(self, folder: str) -> str | None:
        """Return the id of the task whose links name *folder*; None if there is none."""
        return self._by_folder.get(folder)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all."""
        return tuple(self._tasks)
