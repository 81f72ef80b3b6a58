"""What the API does with an admitted request: the account and its tasks, without HTTP."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import evolve

from vocalsep_async.emulator import jobs, records, responses
from vocalsep_async.emulator.records import Link
from vocalsep_async.emulator.responses import ApiResponse
from vocalsep_async.emulator.settings import EmulatorSettings, one_of
from vocalsep_async.emulator.stems import LinkSigner
from vocalsep_async.emulator.tasks import Clock, Ending, Sampler, Task, TaskStore
from vocalsep_async.emulator.uploads import UploadStore
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType, TaskStatus

# Credits that a task of each type costs.
_COSTS: Mapping[SeparationType, int] = MappingProxyType(
    {
        SeparationType.SEPARATE_VOCAL: 10,
        SeparationType.SPLIT_STEM: 50,
        SeparationType.SPLIT_STEM_ADVANCED: 20,
    }
)


# Which error the API gives is not known; the task is billed all the same.
_NO_SONG = Ending(TaskStatus.GENERATE_AUDIO_FAILED, 400, "The audio could not be fetched.")


class _BadRequestError(Exception):
    """A parameter is invalid; the text goes into the response."""


class Backend:
    """The account, its tasks and its links.

    Args:
        settings: the options.
        clock: times the tasks and the links.
    """

    def __init__(self, settings: EmulatorSettings, clock: Clock) -> None:
        self.clock = clock
        self.links: LinkSigner = LinkSigner(clock, settings.link_lifetime)
        self.uploads: UploadStore = UploadStore(clock, settings.upload_lifetime)
        self.tasks: TaskStore = TaskStore()
        self.songs: set[tuple[str, str]] = set()
        self._sampler = Sampler(
            settings.seed, speed=settings.speed, failure_rate=settings.failure_rate
        )
        self.credits_left: float = settings.credits
        self.base_url = ""
        self._settings = settings

    def create(self, content: bytes) -> tuple[ApiResponse, Task | None]:
        """Create the task that a request body describes, and charge its credits.

        Returns:
            The response and the task; None in place of the task if none was created.
        """
        try:
            body = _json_object(content)
            task = evolve(self._asked_for(body), callback_url=_callback_of(body), is_job=False)
        except _BadRequestError as error:
            return responses.bad_request(self._settings, str(error)), None
        if not self._has_song(body):
            return responses.unknown_song(self._settings), None
        if not self._charge(task):
            return responses.no_credits(self._settings), None
        return responses.success({"taskId": task.task_id}), task

    def create_job(self, content: bytes) -> tuple[ApiResponse, Task | None]:
        """Create a task on the jobs route, likewise."""
        try:
            body = _json_object(content)
            older = jobs.as_older(body)
            task = evolve(
                self._asked_for(older),
                callback_url=_text(body, "callBackUrl"),
                is_job=True,
                param=jobs.param(body),
            )
        except (_BadRequestError, InvalidArgumentError) as error:
            return responses.bad_job(str(error)), None
        if not self._has_song(older):
            return responses.unknown_song(self._settings), None
        if not self._charge(task):
            return responses.no_credits(self._settings), None
        return responses.success({"taskId": task.task_id, "recordId": task.task_id}), task

    def _asked_for(self, body: Mapping[str, Any]) -> Task:
        """Return the task that *body* describes; it is not stored yet."""
        type_, music_id = _type_of(body), _source_of(body)
        task = evolve(self.new_task(type_), music_id=music_id, stem_name=_text(body, "stemName"))
        url = _text(body, "audioUrl") or ""
        return evolve(task, ending=_NO_SONG) if self.uploads.is_dead(url, self.base_url) else task

    def _has_song(self, body: Mapping[str, Any]) -> bool:
        """Whether the song that *body* names exists; any does until one was added."""
        given = _text(body, "taskId"), _text(body, "audioId")
        return not self.songs or given == (None, None) or given in self.songs

    def add_song(self, task_id: str | None, audio_id: str | None) -> tuple[str, str]:
        """Add a song of the provider's own, and return its ids; random ones for None."""
        music_id = self._sampler.task_id() if task_id is None else task_id
        track_id = str(uuid.UUID(self._sampler.task_id())) if audio_id is None else audio_id
        self.songs.add((music_id, track_id))
        return music_id, track_id

    def _charge(self, task: Task) -> bool:
        """Charge the credits of *task* and store it; False if there are too few."""
        # After the parameters: an invalid request is an error of its own on an empty account, too.
        if self.credits_left < _COSTS[task.type]:
            return False
        self.credits_left -= _COSTS[task.type]
        self.tasks.add(task)
        return True

    def record_info(self, task_id: str) -> ApiResponse:
        """Return the record of a task; null for an unknown task and during the lookup lag."""
        if not task_id:
            return responses.bad_request(self._settings, "taskId is missing.")
        now = self.clock.now()
        task = self._known(task_id, now, is_job=False)
        if task is None:
            return responses.success(None)
        profile = self._settings.profile
        return responses.success(records.record(task, now, self.clock, profile, self._link))

    def job_info(self, task_id: str) -> ApiResponse:
        """Return the record of a task on the jobs route; an error for an unknown task."""
        if not task_id:
            return responses.failure(400, "taskId parameter is required")
        now = self.clock.now()
        task = self._known(task_id, now, is_job=True)
        if task is None:
            return responses.unknown_job()
        return responses.success(jobs.record(task, now, self.clock, self._link))

    def _known(self, task_id: str, now: float, *, is_job: bool) -> Task | None:
        """Return the task, if its route is asked and the lookup lag is over."""
        task = self.tasks.find(task_id)
        if task is None or task.is_job is not is_job:
            return None
        return None if now < task.created_at + self._settings.lookup_lag else task

    def credits(self) -> ApiResponse:
        """Return the remaining credits."""
        return responses.success(self._settings.profile.credits_type(self.credits_left))

    def callback(self, task: Task, *, has_data: bool = True) -> dict[str, Any]:
        """Return the body of the callback that reports the end of *task*.

        Args:
            task: the task.
            has_data: whether a failure names its task.
        """
        return self._callback(task, self._link, has_data=has_data)

    def progress_callback(self, task: Task) -> dict[str, Any]:
        """Return the body of a callback that comes before the end of *task*."""
        if task.is_job:
            return jobs.progress(task, self.clock)
        return records.progress(task, self._settings.profile)

    def forged_callback(self, task: Task) -> dict[str, Any]:
        """Return the body of a callback that claims a success, with links to another host."""
        return self._callback(evolve(task, ending=Ending(TaskStatus.SUCCESS)), _forged_link)

    def _callback(self, task: Task, link: Link, *, has_data: bool = True) -> dict[str, Any]:
        # A test may have the end of a pending task posted, which then claims to have ended now.
        task = evolve(task, ends_at=min(task.ends_at, self.clock.now()))
        if task.is_job:
            return jobs.callback(task, self.clock, link, has_data=has_data)
        return records.callback(task, self._settings.profile, link, has_data=has_data)

    def new_task(self, type_: SeparationType) -> Task:
        """Return a random task of *type_* that begins now; it is not stored yet."""
        now = self.clock.now()
        return Task(
            task_id=self._sampler.task_id(),
            type=type_,
            created_at=now,
            ends_at=now + self._sampler.duration(type_),
            ending=self._sampler.ending(self._settings.profile.failures),
            is_job=self._settings.profile.adds_jobs,
        )

    def task(self, task_id: str) -> Task:
        """Return a task.

        Raises:
            InvalidArgumentError: there is no such task.
        """
        task = self.tasks.find(task_id)
        if task is None:
            raise InvalidArgumentError(f"there is no task {task_id!r}")
        return task

    def end(self, task_id: str, ending: Ending) -> Task:
        """End a task now with *ending* in place of its own, and return it.

        Raises:
            InvalidArgumentError: there is no such task.
        """
        task = self.task(task_id)
        # In this order, so that a poll in between (this may run in another thread) sees a pending
        # task and never the ending that is replaced.
        task.ending = ending
        task.ends_at = self.clock.now()
        return task

    def _link(self, task: Task, mix: str) -> str:
        return self.base_url + self.links.issue(task.folder, task.track(mix).file_name)


def _forged_link(_task: Task, mix: str) -> str:
    # A name that is reserved, so that it leads nowhere.
    return f"https://stems.invalid/{mix}.wav"


def _json_object(content: bytes) -> Mapping[str, Any]:
    # RFC 8259 allows no encoding but UTF-8, so the charset of the request is ignored.
    try:
        body = json.loads(content.decode())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _BadRequestError("The body is not a JSON object.")
    return body


def _text(body: Mapping[str, Any], key: str) -> str | None:
    """Return a string that is not blank; None for anything else."""
    value = body.get(key)
    return value if isinstance(value, str) and value.strip() else None


def _type_of(body: Mapping[str, Any]) -> SeparationType:
    try:
        return one_of(SeparationType, body.get("type", SeparationType.SEPARATE_VOCAL), "type")
    except InvalidArgumentError:
        raise _BadRequestError(f"type is one of {', '.join(SeparationType)}.") from None


def _source_of(body: Mapping[str, Any]) -> str | None:
    """Return the id of the source track; None if the source is a URL."""
    task_id, audio_id, url = (_text(body, key) for key in ("taskId", "audioId", "audioUrl"))
    if url and not task_id and not audio_id:
        return None
    if task_id and audio_id and not url:
        return audio_id
    raise _BadRequestError("Give either taskId and audioId, or audioUrl alone.")


def _callback_of(body: Mapping[str, Any]) -> str:
    url = _text(body, "callBackUrl")
    if url is None:
        raise _BadRequestError("Please enter callBackUrl.")
    return url
