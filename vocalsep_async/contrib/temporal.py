"""A Temporal activity that separates a song; install ``vocalsep-async[temporal]``.

A worker makes one `SeparationActivity` with its client, and registers ``separate``.
docs/how-to/temporal.md shows a worker and a workflow, and says what is promised if a worker dies.
"""

from __future__ import annotations

import asyncio
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, cast

from vocalsep_async.client import VocalSepClient
from vocalsep_async.errors import (
    APIError,
    ClientClosedError,
    CreationUncertainError,
    ErrorAction,
    InvalidArgumentError,
    TaskFailedError,
    VocalSepError,
)
from vocalsep_async.models import SeparationTask, TaskRef, separation_type
from vocalsep_async.policies import HEARTBEAT_CANCEL_PATIENCE
from vocalsep_async.songs import OnUncertain, Song

try:
    from temporalio import activity
    from temporalio.exceptions import ApplicationError

    from vocalsep_async.contrib._temporal_heartbeats import (
        VERSION,
        Heartbeats,
        Progress,
        UnknownVersionError,
        journal_in,
    )
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "temporalio":
        raise
    raise ImportError(
        "vocalsep_async.contrib.temporal needs temporalio: install the extra temporal, "
        "as vocalsep-async[temporal]",
        name=_error.name,
    ) from None

__all__ = ["SeparationActivity", "SeparationInput", "SeparationResult"]


@dataclass(frozen=True)
class SeparationInput:
    """A song, as plain data for the history of a workflow.

    Attributes:
        source: the path of a file on the worker's machine, or an http(s) URL; None if
            *source_task_id* or *task_id* is given.
        source_task_id: the provider's music task that made the song, with *audio_id*.
        audio_id: the id of the song among the tracks of that task.
        task_id: a task that already exists: the activity waits for it, and creates nothing.
        type: what to make of the song, such as "split_stem".
        stem_name: the instrument for ``split_stem_advanced``; None leaves it out.
        label: the name of the song in errors; None takes the name of its file.
        callback_url: as for `VocalSepClient.create_task`.
        on_uncertain: what happens to a song whose task may exist: "report" fails the activity,
            with "create" the next attempt creates it again, **and it may be billed twice**.
        version: the version of this data; leave it at its default.
    """

    source: str | None = None
    _: KW_ONLY
    source_task_id: str | None = None
    audio_id: str | None = None
    task_id: str | None = None
    # As strings, so that a wrong one is an error of this package and not one of the converter,
    # which is tried again without end.
    type: str = "separate_vocal"
    stem_name: str | None = None
    label: str | None = None
    callback_url: str | None = None
    on_uncertain: str = "report"
    version: int = VERSION


@dataclass(frozen=True, kw_only=True)
class SeparationResult:
    """A song that was separated, as plain data; its stems are fetched by the task's id.

    Attributes:
        task_id: id of the task.
        label: the label of the input.
        status: how the task ended.
        stems: the names of the task's stems.
        version: the version of this data.
    """

    task_id: str
    label: str | None
    status: str
    stems: list[str]
    version: int = VERSION


class SeparationActivity:
    """The activity, with the client that all songs of a worker share.

    Args:
        client: open while the worker runs, and used in the worker's event loop.

    Raises:
        InvalidArgumentError: *client* is not a `VocalSepClient`.
    """

    def __init__(self, client: VocalSepClient) -> None:
        if not isinstance(client, VocalSepClient):
            raise InvalidArgumentError(
                f"client must be a VocalSepClient, not {type(client).__name__}"
            )
        self._client = client

    @activity.defn(name="vocalsep_separate")
    async def separate(self, song: SeparationInput) -> SeparationResult:
        """Create the task of a song, **billed, at most once**, and wait for its end.

        Heartbeats record the progress: a later attempt, on any worker, waits for the task of an
        earlier one. The request is sent only after Temporal has recorded that it is about to be. If
        an attempt dies between that and the answer, the next one creates nothing, but fails with a
        `CreationUncertainError`. Neither a cancellation nor a timeout affects the task at the
        provider.

        Args:
            song: the song.

        Returns:
            The id and status of the task, and the names of its stems.

        Raises:
            ApplicationError: an error of this package; its type is the name of the class. It is not
                retryable if no repetition would help. Its details are ``{"task_id": ...}`` and so
                on, as far as they are known.
        """
        try:
            return await self._attempt(song)
        except UnknownVersionError as error:
            failure = ApplicationError(str(error), type="UnknownVersionError")
        except VocalSepError as error:
            failure = _failure(error, may_repeat=song.on_uncertain == "create")
        # Without a cause: histories are read by many, and causes may name links.
        raise failure

    async def _attempt(self, song: SeparationInput) -> SeparationResult:
        info = activity.info()
        if song.version != VERSION:
            raise UnknownVersionError("the song", song.version)
        if info.is_local:
            raise InvalidArgumentError(
                "a local activity has no heartbeats, in which the task of a song is kept: execute "
                "vocalsep_separate as an ordinary activity"
            )
        progress = Progress.of(info.heartbeat_details)
        source = _source(song)
        ref = progress.ref if isinstance(source, Song) else source
        handle = activity.client().get_async_activity_handle(task_token=info.task_token)
        heartbeats = Heartbeats(handle, progress, info.heartbeat_timeout)
        async with heartbeats.sent():
            try:
                if ref is None:
                    task = await self._separated(song, cast("Song", source), heartbeats)
                else:
                    task = await self._waited(song, ref)
            except VocalSepError:
                if heartbeats.is_refused:
                    # If it was refused because of a cancellation, that is how it has to end.
                    await asyncio.sleep(HEARTBEAT_CANCEL_PATIENCE)
                raise
        stems = [name for name, _ in task.stems]
        return SeparationResult(
            task_id=task.task_id, label=song.label, status=str(task.status), stems=stems
        )

    async def _separated(
        self, song: SeparationInput, source: Song, heartbeats: Heartbeats
    ) -> SeparationTask:
        outcome = await self._client.separate(
            source,
            # Temporal has the timeouts.
            timeout=None,
            journal=journal_in(heartbeats),
            callback_url=song.callback_url,
            on_uncertain=cast("OnUncertain", song.on_uncertain),
        )
        return outcome.result()

    async def _waited(self, song: SeparationInput, ref: TaskRef) -> SeparationTask:
        kind = separation_type(song.type)
        known = TaskRef(ref.task_id, type=kind, created_at=ref.created_at, route=ref.route)
        return (await self._client.wait_for_task(known, timeout=None)).raise_for_failure()


def _source(song: SeparationInput) -> Song | TaskRef:
    """The song, or its task if that is given.

    Raises:
        InvalidArgumentError: there is not exactly one source, or it is unusable.
    """
    pair = (song.source_task_id, song.audio_id)
    given = [each for each in (song.source, pair, song.task_id) if each not in (None, (None, None))]
    if len(given) != 1:
        raise InvalidArgumentError(
            "a song has a source, or a source_task_id with an audio_id, or a task_id"
        )
    if song.task_id is not None:
        return TaskRef(song.task_id)
    return Song(
        cast("Any", given[0]),
        label=song.label,
        type=separation_type(song.type),
        stem_name=song.stem_name,
        # An activity has one song, so its file need not be hashed to know which it is.
        key="the song of the activity",
    )


def _failure(error: VocalSepError, *, may_repeat: bool) -> ApplicationError:
    # A client is closed because its worker stops: another one goes on.
    is_final = error.action is ErrorAction.RAISE and not isinstance(error, ClientClosedError)
    if isinstance(error, CreationUncertainError):
        is_final = not may_repeat
    delay = error.retry_after if isinstance(error, APIError) else None
    return ApplicationError(
        "\n".join([str(error), *getattr(error, "__notes__", ())]),
        _details(error),
        type=type(error).__name__,
        non_retryable=is_final,
        next_retry_delay=None if delay is None else timedelta(seconds=delay),
    )


def _details(error: VocalSepError) -> dict[str, Any]:
    details: dict[str, Any] = {"version": VERSION}
    task = error.task.task_id if isinstance(error, TaskFailedError) else None
    task = getattr(error, "task_id", task)
    if task is not None:
        details["task_id"] = task
    if isinstance(error, APIError):
        details["code"] = error.code
    if isinstance(error, CreationUncertainError):
        details["began_at"] = error.began_at.isoformat()
    return details
