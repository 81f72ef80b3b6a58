"""Creates tasks. Each creation is billed, so it is sent again only if it cannot have succeeded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from vocalsep_async._sender import RequestSender
from vocalsep_async.errors import (
    APIError,
    ClientClosedError,
    DecodeError,
    ErrorAction,
    InvalidParametersError,
    JournalError,
    ServerError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.models import SeparationType, TaskRef
from vocalsep_async.providers import Request
from vocalsep_async.providers._routes import Routes

if TYPE_CHECKING:
    from vocalsep_async._journal.journal import JournalFile

_MAY_BE_CREATED = "The task may have been created and billed; it is not sent again."


class Creation(NamedTuple):
    """A task to create.

    Attributes:
        request: what is sent.
        kind: the kind of separation.
        links: the links in the request, which are left out of a journal: they may hold secrets.
    """

    request: Request
    kind: SeparationType | None
    links: Collection[str]

    @property
    def recorded(self) -> dict[str, Any]:
        """The body of the request as a journal keeps it, without the links."""
        return _without(self.request.json or {}, self.links)


def _without(body: Mapping[str, Any], links: Collection[str]) -> dict[str, Any]:
    kept = {}
    for name, value in body.items():
        if isinstance(value, Mapping):
            kept[name] = _without(value, links)
        elif not (isinstance(value, str) and any(link in value for link in links)):
            kept[name] = value
    return kept


class TaskCreator:
    """Creates tasks.

    Args:
        sender: sends the requests.
        routes: of the client, which creates tasks on its own.
        base_url: where the API is; a journal belongs to one API.
    """

    def __init__(self, sender: RequestSender, routes: Routes, base_url: str) -> None:
        self._base_url = base_url
        self._sender = sender
        self._routes = routes

    async def create(self, creation: Creation, journal: JournalFile | None) -> TaskRef:
        """Create a task; a *journal* records the intent first.

        Raises:
            VocalSepError: the last try failed; a note says so where the task may exist.
        """
        if journal is None:
            return await self._send(creation)
        await journal.check_owner(self._base_url)
        # Only an answer settles the intent. After a cancellation or a crash it stays open,
        # because the task may exist.
        number = await journal.intend(creation.recorded)
        try:
            ref = await self._send(creation)
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

    async def _send(self, creation: Creation) -> TaskRef:
        try:
            task_id = await self._sender.send_with_retries(
                creation.request, self._routes.decoder().created, _cannot_have_created
            )
        except VocalSepError as error:
            if _may_have_created(error):
                error.add_note(_MAY_BE_CREATED)
            raise
        return TaskRef(
            task_id,
            type=creation.kind,
            created_at=datetime.now(UTC),
            route=self._routes.name,
        )


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
    return (
        isinstance(error, (DecodeError, ServerError))
        or _is_bare_throttling(error)
        or _is_failure_of_server(error)
    )


def _is_failure_of_server(error: VocalSepError) -> bool:
    # A provider may answer wrong parameters with 500, the code of a failure in the middle.
    return isinstance(error, InvalidParametersError) and error.code == 500


def _is_bare_throttling(error: VocalSepError) -> bool:
    # Without the API's envelope, "too many requests" may come from a gateway. A gateway that
    # throttles has hardly passed the request on, but nothing proves that it has not.
    is_bare = isinstance(error, APIError) and not error.in_envelope
    return is_bare and error.action is ErrorAction.THROTTLE
