"""The heartbeats of an activity of Temporal, and a journal that is kept in them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NoReturn

from attrs import frozen
from temporalio import activity
from temporalio.client import AsyncActivityHandle

from vocalsep_async._journal.codec import without_queries
from vocalsep_async._journal.journal import Claim, JournalFile
from vocalsep_async._tasks import run_to_completion
from vocalsep_async._text import printable
from vocalsep_async.errors import ErrorAction, InvalidArgumentError, JournalError
from vocalsep_async.journal import Journal
from vocalsep_async.models import TaskOutcome, TaskRef
from vocalsep_async.policies import HEARTBEAT_GAP

VERSION = 1
"""The version of what this module writes for other workers."""


class UnknownVersionError(Exception):
    """It was written by a later version of this package, which can read it."""

    def __init__(self, what: str, version: object) -> None:
        super().__init__(
            f"{what} has the version {version!r:.20}, but this worker reads version {VERSION}: a "
            "worker with a later version of vocalsep-async has to take it"
        )


@frozen(kw_only=True)
class Progress:
    """How far the creation of a song is, as plain data that another worker can read.

    Attributes:
        step: "preparing" proves that no request was sent; from "creating" on one may have been.
        began_at: when that creation began; None while preparing.
        error: why its result is not known; None if nothing was heard of it.
        ref: the task; None unless it was created.
    """

    step: Literal["preparing", "creating", "created"] = "preparing"
    began_at: datetime | None = None
    error: str | None = None
    ref: TaskRef | None = None

    @property
    def details(self) -> dict[str, Any]:
        """The details of a heartbeat."""
        ref = self.ref
        return {
            "version": VERSION,
            "step": self.step,
            "began_at": _text(self.began_at),
            "error": self.error,
            "task_id": None if ref is None else ref.task_id,
            "created_at": None if ref is None else _text(ref.created_at),
            "route": None if ref is None else ref.route,
        }

    @classmethod
    def of(cls, details: Sequence[Any]) -> Progress:
        """Read the last heartbeat of an earlier attempt; none is as good as preparing.

        Raises:
            UnknownVersionError: a later version of the package wrote it.
            InvalidArgumentError: it is no heartbeat of this activity.
        """
        if not details:
            return cls()
        kept = details[0]
        if not isinstance(kept, Mapping) or kept.get("step") not in _STEPS:
            raise InvalidArgumentError(
                f"the heartbeat of the last attempt is not one of this package: {kept!r:.60}"
            )
        if kept.get("version") != VERSION:
            raise UnknownVersionError("the heartbeat of the last attempt", kept.get("version"))
        ref = None
        if kept["task_id"] is not None:
            created_at = _time(kept["created_at"])
            ref = TaskRef(kept["task_id"], created_at=created_at, route=kept["route"])
        return cls(
            step=kept["step"], began_at=_time(kept["began_at"]), error=kept["error"], ref=ref
        )


_STEPS = ("preparing", "creating", "created")


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


class Heartbeats:
    """The heartbeats of one attempt, each of which says how far its song is.

    They are not left to the worker, which sends the newest one when its turn comes, and does not
    say when it arrived: here, each is answered before the next one is sent. A heartbeat of an
    attempt that Temporal has given up is refused, so it cannot create what another attempt creates.

    Args:
        handle: of the activity.
        progress: how far the attempts before this one came.
        patience: seconds after which Temporal takes an attempt without heartbeats for dead; None
            for never.

    Attributes:
        progress: how far the song is.
        failure: why a heartbeat was not accepted; None if all were.
        is_refused: whether the last one was not.
    """

    def __init__(
        self, handle: AsyncActivityHandle, progress: Progress, patience: timedelta | None
    ) -> None:
        self._handle = handle
        self._gap = HEARTBEAT_GAP if patience is None else patience.total_seconds() / 3
        self._gap = min(self._gap, HEARTBEAT_GAP)
        self._turn = asyncio.Lock()
        self.progress = progress
        self.failure: Exception | None = None
        self.is_refused = False

    @asynccontextmanager
    async def sent(self) -> AsyncIterator[None]:
        """A block during which they are sent, in equal distances."""
        task = asyncio.create_task(self._send_for_ever(), name="vocalsep heartbeats")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _send_for_ever(self) -> NoReturn:
        while True:
            async with self._turn:
                await self._send(self.progress)
            await asyncio.sleep(self._gap)

    async def record(self, progress: Progress) -> bool:
        """Have the server write down how far the song is; returns whether it has.

        If it has not, the next heartbeats try it again.
        """
        async with self._turn:
            self.progress = progress
            return await self._send(progress)

    async def announce(self, progress: Progress) -> bool:
        """Have the server write down what is about to begin; returns whether it may begin."""
        async with self._turn:
            # One that was not answered may arrive late, and take the place of this one.
            if self.failure is not None or not await self._send(progress):
                return False
            self.progress = progress
            return True

    async def _send(self, progress: Progress) -> bool:
        try:
            await self._handle.heartbeat(progress.details, rpc_timeout=timedelta(seconds=self._gap))
            self.is_refused = False
        # A codec of the application may raise anything.
        except Exception as error:  # noqa: BLE001
            activity.logger.warning("a heartbeat was not accepted: %s", error)
            self.failure, self.is_refused = error, True
        if self.failure is not None:
            # The worker learns the same, and cancels the activity if that is the reason. From
            # then on it has to know what is newest, because it sends that once more at the end.
            activity.heartbeat(self.progress.details)
        return not self.is_refused


class HeartbeatFile(JournalFile):
    """What a journal keeps of one song, in the heartbeats of the activity that separates it.

    Args:
        place: a name that no other attempt has; there is no such file.
        heartbeats: of the attempt.
    """

    def __init__(self, place: Path, heartbeats: Heartbeats) -> None:
        super().__init__(place)
        self._heartbeats = heartbeats
        self._before = heartbeats.progress

    async def check_owner(self, base_url: str) -> None:
        """Accept any: an activity has one client."""

    async def secret(self) -> bytes:
        """The same everywhere: the identity of the song is not written down."""
        return b"temporal"

    async def claim(self, identity: str) -> Claim | None:  # noqa: ARG002 - there is one song
        """The creation that may have been carried out; None if there is none."""
        progress = self._heartbeats.progress
        if progress.began_at is None:
            return None
        return Claim(1, progress.began_at, None, progress.error)

    async def intend(
        self,
        request: Mapping[str, Any],  # noqa: ARG002 - it is an argument of the activity
        *,
        identity: str | None = None,  # noqa: ARG002
        label: str | None = None,  # noqa: ARG002
        replaces: int | None = None,  # noqa: ARG002
    ) -> int:
        """Have the server write down that a task is about to be created.

        Raises:
            JournalError: it did not, so the task must not be created.
        """
        self._before = self._heartbeats.progress
        creating = Progress(step="creating", began_at=datetime.now(UTC))
        if not await self._heartbeats.announce(creating):
            raise _not_recorded(self._heartbeats.failure)
        return 1

    async def created(self, number: int, ref: TaskRef) -> None:  # noqa: ARG002
        """Have the server write down which task was created; if it does not, the log has it."""
        progress = Progress(step="created", ref=ref)
        if not await run_to_completion(self._heartbeats.record(progress)):
            activity.logger.warning(
                "the task %s was created, and Temporal does not know it yet", ref.task_id
            )

    async def not_created(
        self,
        number: int,  # noqa: ARG002
        error: str | None,
        *,
        before: tuple[int, str | None] | None = None,  # noqa: ARG002
    ) -> None:
        """Have the server write down that nothing was created, or why that is not known.

        Raises:
            JournalError: it did not, so the task counts as perhaps created.
        """
        heartbeats = self._heartbeats
        progress = self._before
        if error is not None:
            began_at = heartbeats.progress.began_at
            text = printable(without_queries(error))
            progress = Progress(step="creating", began_at=began_at, error=text)
        if not await run_to_completion(heartbeats.record(progress)):
            raise _not_recorded(heartbeats.failure)

    async def save_outcome(self, outcome: TaskOutcome) -> None:
        """Keep nothing: the activity ends with it."""


def _not_recorded(failure: Exception | None) -> JournalError:
    error = JournalError(f"Temporal did not record the progress of the song: {failure}")
    # In this attempt nothing more can be done; in the next one it can.
    error.action = ErrorAction.RETRY
    return error


def journal_in(heartbeats: Heartbeats) -> Journal:
    """A journal of one song, for the calls of a client, that is kept in heartbeats."""
    # Calls that use one journal share what they create. An attempt shares nothing: what another one
    # creates would be in the heartbeats of that one alone.
    place = Path(f"temporal-{secrets.token_hex(8)}")
    journal = Journal(place)
    journal._opened = HeartbeatFile(place, heartbeats)  # noqa: SLF001 - the machinery behind it
    return journal
