"""Creates tasks. Each creation is billed, so it is sent again only if it cannot have succeeded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vocalsep_async._sender import RequestSender
from vocalsep_async._transport.api import Request
from vocalsep_async.errors import (
    APIError,
    ClientClosedError,
    DecodeError,
    ErrorAction,
    JournalError,
    ServerError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.models import SeparationType, TaskRef
from vocalsep_async.providers._decoder import Decoder

if TYPE_CHECKING:
    from vocalsep_async._journal.journal import JournalFile

_GENERATE = "/api/v1/vocal-removal/generate"
_MAY_BE_CREATED = "The task may have been created and billed; it is not sent again."
_LINKS = frozenset({"audioUrl", "callBackUrl"})
"""Parameters that are left out of a journal: links may hold secrets."""


class TaskCreator:
    """Creates tasks.

    Args:
        sender: sends the requests.
        decoder: reads the answers.
        base_url: where the API is; a journal belongs to one API.
    """

    def __init__(self, sender: RequestSender, decoder: Decoder, base_url: str) -> None:
        self._base_url = base_url
        self._sender = sender
        self._decoder = decoder

    async def create(
        self, body: Mapping[str, Any], kind: SeparationType | None, journal: JournalFile | None
    ) -> TaskRef:
        """Create a task of *kind* with the request *body*; a *journal* records the intent first.

        Raises:
            VocalSepError: the last try failed; a note says so where the task may exist.
        """
        if journal is None:
            return await self._send(body, kind)
        await journal.check_owner(self._base_url)
        recorded = {name: value for name, value in body.items() if name not in _LINKS}
        # Only an answer settles the intent. After a cancellation or a crash it stays open,
        # because the task may exist.
        number = await journal.intend(recorded)
        try:
            ref = await self._send(body, kind)
        except VocalSepError as error:
            await _record_failure(journal, number, error)
            raise
        try:
            await journal.created(number, ref)
        except JournalError as error:
            raise JournalError(
                f"{error}; the task was created, with the id {ref.task_id}"
            ) from error
        return ref

    async def _send(self, body: Mapping[str, Any], kind: SeparationType | None) -> TaskRef:
        request = Request("POST", _GENERATE, json=body)
        try:
            task_id = await self._sender.send_with_retries(
                request, self._decoder.created, _cannot_have_created
            )
        except VocalSepError as error:
            if _may_have_created(error):
                error.add_note(_MAY_BE_CREATED)
            raise
        return TaskRef(task_id, type=kind, created_at=datetime.now(UTC))


async def _record_failure(journal: JournalFile, number: int, error: VocalSepError) -> None:
    try:
        await journal.not_created(number, str(error) if _may_have_created(error) else None)
    except JournalError as failure:
        # The caller must get the error of the creation, which may have been billed.
        error.add_note(f"The journal could not record this: {failure}")


def _cannot_have_created(error: VocalSepError) -> bool:
    """Whether a billed request that failed with *error* may be sent again."""
    if isinstance(error, TransportError):
        return not error.may_have_arrived and error.action is ErrorAction.RETRY
    return error.action is ErrorAction.THROTTLE and not _is_bare_throttling(error)


def _may_have_created(error: VocalSepError) -> bool:
    """Whether the task of a billed request that failed with *error* may exist."""
    if isinstance(error, (TransportError, ClientClosedError)):
        return error.may_have_arrived
    # A server can fail after it has created the task, and an unreadable answer may hold its id.
    return isinstance(error, (DecodeError, ServerError)) or _is_bare_throttling(error)


def _is_bare_throttling(error: VocalSepError) -> bool:
    # Without the API's envelope, "too many requests" may come from a gateway. A gateway that
    # throttles has hardly passed the request on, but nothing proves that it has not.
    is_bare = isinstance(error, APIError) and not error.in_envelope
    return is_bare and error.action is ErrorAction.THROTTLE
