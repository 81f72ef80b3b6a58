"""Creates tasks. Each creation is billed, so it is sent again only if it cannot have succeeded."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from vocalsep_async._events import Events, new_id
from vocalsep_async._request_queue import RequestSlot
from vocalsep_async._sender import RequestSender
from vocalsep_async._text import unescaped
from vocalsep_async.errors import (
    ClientClosedError,
    ErrorAction,
    JournalError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.instrumentation import (
    CreationConfirmed,
    CreationFailed,
    CreationIntended,
    CreationSent,
    JournalClosed,
    JournalOpened,
)
from vocalsep_async.journal import Journal
from vocalsep_async.models import SeparationType, TaskRef
from vocalsep_async.providers import Request
from vocalsep_async.providers._creations import Evidence
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
        expects_callback: whether the callback will reach this client.
    """

    request: Request
    kind: SeparationType | None
    links: Collection[str]
    expects_callback: bool

    @property
    def texts(self) -> set[str]:
        """The texts and links in the body of the request, which an answer may repeat."""
        return {*_texts(self.request.json), *self.links}

    @property
    def recorded(self) -> dict[str, Any]:
        """The body of the request as a journal keeps it, without the links."""
        return _without(self.request.json or {}, self.links)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)


def _without(body: Mapping[str, Any], links: Collection[str]) -> dict[str, Any]:
    kept = {}
    for name, value in body.items():
        if isinstance(value, Mapping):
            kept[name] = _without(value, links)
        elif not (isinstance(value, str) and any(_holds(value, link) for link in links)):
            kept[name] = value
    return kept


def _holds(text: str, link: str) -> bool:
    # A provider may send a link within JSON or within another link.
    return link in text or unescaped(link) in unescaped(text)


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

    async def create(
        self, creation: Creation, journal: Journal | str | os.PathLike[str] | None
    ) -> TaskRef:
        """Create a task; a *journal* records the intent first.

        Raises:
            InvalidArgumentError: *journal* cannot be the path of one; nothing has begun.
            VocalSepError: the last try failed; a note says so where the task may exist.
        """
        events = self._sender.events
        opening = _opening(journal, events)
        with CreationEvents(events, creation.kind) as emitted:
            async with opening as file:
                if file is None:
                    return await self._send(creation, emitted)
                return await self._send_recorded(creation, emitted, file)

    async def _send_recorded(
        self, creation: Creation, emitted: CreationEvents, journal: JournalFile
    ) -> TaskRef:
        await journal.check_owner(self._base_url)
        # Only an answer settles the intent. After a cancellation or a crash it stays open,
        # because the task may exist.
        number = await journal.intend(creation.recorded)
        try:
            ref = await self._send(creation, emitted)
        except VocalSepError as error:
            await _record_failure(journal, number, error, may_exist=emitted.may_exist)
            raise
        try:
            await journal.created(number, ref)
        except JournalError as error:
            raise JournalError(
                f"{error}; the task was created, with the id {ref.task_id}"
            ) from error
        return ref

    async def _send(self, creation: Creation, emitted: CreationEvents) -> TaskRef:
        decoder = self._routes.decoder()

        def decode(status: int, headers: Mapping[str, str], body: bytes) -> str:
            emitted.on_answer(decoder.evidence(body))
            return decoder.created(status, headers, body, sent=creation.texts)

        async def send(slot: RequestSlot, _attempt: int) -> str:
            emitted.on_sent()
            return await self._sender.send(slot, creation.request, decode)

        try:
            task_id = await self._sender.send_with_retries(
                creation.request, send, emitted.may_retry
            )
        except VocalSepError as error:
            emitted.on_error(error)
            if emitted.may_exist:
                error.add_note(_MAY_BE_CREATED)
            raise
        emitted.on_confirmed(task_id)
        return TaskRef(
            task_id,
            type=creation.kind,
            created_at=datetime.now(UTC),
            route=self._routes.name,
            expects_callback=creation.expects_callback,
        )


class CreationEvents:
    """The events of one creation, as a block that fails where the creation does."""

    def __init__(self, events: Events, kind: SeparationType | None) -> None:
        self._events = events
        self._kind = kind
        self._id = new_id("creation")
        self._is_confirmed = False
        # Nothing was sent so far.
        self._evidence = Evidence.REFUSED

    @property
    def may_exist(self) -> bool:
        """Whether a task may have been created whose id is not known."""
        return self._evidence is Evidence.NONE

    def __enter__(self) -> Self:
        self._events.emit(CreationIntended(creation_id=self._id, type=self._kind))
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # What fails after the confirmation is the journal's part.
        if error is not None and not self._is_confirmed:
            self._events.emit(
                CreationFailed(creation_id=self._id, error=error, may_exist=self.may_exist)
            )

    def on_sent(self) -> None:
        """The request is about to be sent."""
        self._evidence = Evidence.NONE
        self._events.emit(CreationSent(creation_id=self._id))

    def on_answer(self, evidence: Evidence) -> None:
        """The API, or something in between, answered."""
        self._evidence = evidence

    def on_error(self, error: VocalSepError) -> None:
        """A try failed. What an answer proves is known already."""
        if isinstance(error, (TransportError, ClientClosedError)):
            self._evidence = _evidence_without_answer(error)

    def may_retry(self, error: VocalSepError) -> bool:
        """Whether the request may be sent again after *error*."""
        self.on_error(error)
        return self._evidence is Evidence.REPEATABLE

    def on_confirmed(self, task_id: str) -> None:
        """The API gave the id of the task."""
        self._is_confirmed = True
        self._events.emit(CreationConfirmed(creation_id=self._id, task_id=task_id))


def _evidence_without_answer(error: TransportError | ClientClosedError) -> Evidence:
    if error.may_have_arrived:
        return Evidence.NONE
    return Evidence.REPEATABLE if error.action is ErrorAction.RETRY else Evidence.REFUSED


def _opening(
    journal: Journal | str | os.PathLike[str] | None, events: Events
) -> AbstractAsyncContextManager[JournalFile | None]:
    """A block with the file of *journal*, which opens and closes it if only a path was given."""
    if journal is None:
        return nullcontext()
    if isinstance(journal, Journal):
        return nullcontext(journal._file)  # noqa: SLF001 - the machinery behind what users hold
    return _opened(Journal(journal)._file, events)  # noqa: SLF001


@asynccontextmanager
async def _opened(journal: JournalFile, events: Events) -> AsyncIterator[JournalFile]:
    await journal.open()
    events.emit(JournalOpened(path=journal.path))
    try:
        try:
            yield journal
        finally:
            await journal.aclose()
    finally:
        events.emit(JournalClosed(path=journal.path))


async def _record_failure(
    journal: JournalFile, number: int, error: VocalSepError, *, may_exist: bool
) -> None:
    try:
        await journal.not_created(number, str(error) if may_exist else None)
    except JournalError as failure:
        # The caller must get the error of the creation, which may have been billed.
        error.add_note(f"The journal could not record this: {failure}")
