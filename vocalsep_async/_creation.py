"""Creating a task is billed each time: it is sent again only where nothing can have come of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vocalsep_async._sender import RequestSender
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
from vocalsep_async._transport.api import Request

_GENERATE = "/api/v1/vocal-removal/generate"
_PERHAPS_CREATED = "The task may have been created and billed; it is not sent again."
_LINKS = frozenset({"audioUrl", "callBackUrl"})
"""What a journal is not told: links may hold secrets."""


class TaskCreator:
    """Creates tasks.

    Args:
        asker: sends the requests.
        decoder: reads the answers.
        base_url: which API it is, for journals.
    """

    def __init__(self, sender: RequestSender, decoder: Decoder, base_url: str) -> None:
        self._base_url = base_url
        self._sender = sender
        self._decoder = decoder

    async def create(
        self, body: Mapping[str, Any], kind: SeparationType | None, journal: JournalFile | None
    ) -> TaskRef:
        """Create a task of *kind*, as *body* says it.

        Raises:
            VocalSepError: what the last try met; with a note where the task may be there.
        """
        if journal is None:
            return await self._send(body, kind)
        await journal.belongs_to(self._base_url)
        told = {name: value for name, value in body.items() if name not in _LINKS}
        # Whatever ends this but an answer leaves the intent as it is: nobody knows.
        number = await journal.intend(told)
        try:
            ref = await self._send(body, kind)
        except VocalSepError as error:
            await _tell(journal, number, error)
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
                error.add_note(_PERHAPS_CREATED)
            raise
        return TaskRef(task_id, type=kind, created_at=datetime.now(UTC))


async def _tell(journal: JournalFile, number: int, error: VocalSepError) -> None:
    """Write down what a creation met; the intent stays as it is where that cannot be done."""
    try:
        await journal.not_created(number, str(error) if _may_have_created(error) else None)
    except JournalError as failure:
        # Whoever called must hear of the creation, which may have been billed.
        error.add_note(f"The journal was not told: {failure}")


def _cannot_have_created(error: VocalSepError) -> bool:
    """Whether a billed call that met *error* may be sent again."""
    if isinstance(error, TransportError):
        return not error.may_have_arrived and error.action is ErrorAction.RETRY
    return error.action is ErrorAction.THROTTLE and not _is_bare_refusal(error)


def _may_have_created(error: VocalSepError) -> bool:
    """Whether a billed call that met *error* may have been carried out."""
    if isinstance(error, (TransportError, ClientClosedError)):
        return error.may_have_arrived
    return isinstance(error, (DecodeError, ServerError)) or _is_bare_refusal(error)


def _is_bare_refusal(error: VocalSepError) -> bool:
    """Whether something else than the API may have said "too many requests".

    A gateway that says so has hardly passed the request on; but nothing tells that it has not.
    """
    is_bare = isinstance(error, APIError) and not error.in_envelope
    return is_bare and error.action is ErrorAction.THROTTLE
