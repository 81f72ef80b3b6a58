"""Creates tasks. Each creation is billed, so it is sent again only if it cannot have succeeded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from vocalsep_async._events import Events, new_id, timed_write
from vocalsep_async._journals import JournalLike, OpenJournals
from vocalsep_async._request_queue import RequestSlot
from vocalsep_async._sender import Acquire, RequestSender
from vocalsep_async._tasks import run_to_completion
from vocalsep_async._text import unescaped
from vocalsep_async.errors import (
    ClientClosedError,
    CreationUncertainError,
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
)
from vocalsep_async.models import SeparationType, TaskRef
from vocalsep_async.providers import Request
from vocalsep_async.providers._creations import Evidence
from vocalsep_async.providers._decoder import Decoder
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
        identity: the song, of which a journal holds one creation; None for any number.
        label: the label of the task; None for none.
        replaces: the intent whose place in the journal this one takes; None for none.
    """

    request: Request
    kind: SeparationType | None
    links: Collection[str]
    expects_callback: bool
    identity: str | None = None
    label: str | None = None
    replaces: int | None = None

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


class Gate:
    """What stands before the request of a creation.

    Args:
        check: called when the request can be sent; what it raises ends the creation.

    Attributes:
        is_sending: whether a request is under way, or has brought an id.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self.check = check
        self.is_sending = False


class TaskCreator:
    """Creates tasks.

    Args:
        sender: sends the requests.
        routes: of the client, which creates tasks on its own.
        base_url: where the API is; a journal belongs to one API.
        journals: those that the client has open.
    """

    def __init__(
        self, sender: RequestSender, routes: Routes, base_url: str, journals: OpenJournals
    ) -> None:
        self._base_url = base_url
        self._sender = sender
        self._routes = routes
        self._journals = journals

    async def create(self, creation: Creation, journal: JournalLike | None) -> TaskRef:
        """Create a task; a *journal* records the intent first.

        Raises:
            InvalidArgumentError: *journal* cannot be the path of one; nothing has begun.
            VocalSepError: the last try failed; a note says so where the task may exist.
        """
        opening = self._journals.use(journal)
        with CreationEvents(self._sender.events, creation.kind) as emitted:
            async with opening as file:
                if file is not None:
                    await file.check_owner(self._base_url)
                return await self._create(creation, emitted, file)

    async def create_for_song(
        self, creation: Creation, journal: JournalFile | None, gate: Gate
    ) -> TaskRef:
        """Create the task of a song, before other calls and polls.

        Args:
            creation: the task.
            journal: an open one, whose owner was checked; None for none.
            gate: asked when the request can be sent, and told while it is under way.

        Raises:
            CreationUncertainError: the task may have been created.
            VocalSepError: the task was not created.
        """
        with CreationEvents(self._sender.events, creation.kind) as emitted:
            began_at = datetime.now(UTC)
            acquire = self._sender.queue.acquire_for_creation
            try:
                return await self._create(creation, emitted, journal, gate, acquire)
            except JournalError:
                raise  # nothing was sent, or the message has the id
            except VocalSepError as error:
                if not emitted.may_exist:
                    raise
                uncertain = CreationUncertainError.of(creation.label, began_at, str(error))
                for note in getattr(error, "__notes__", ()):
                    uncertain.add_note(note)
                raise uncertain from error

    async def _create(
        self,
        creation: Creation,
        emitted: CreationEvents,
        journal: JournalFile | None,
        gate: Gate | None = None,
        acquire: Acquire | None = None,
    ) -> TaskRef:
        tries = _Tries(
            self._sender,
            creation,
            emitted,
            journal=journal,
            decoder=self._routes.decoder(),
            gate=gate or Gate(),
        )
        try:
            task_id = await self._sender.send_with_retries(
                creation.request, tries.send, emitted.may_retry, acquire=acquire
            )
        except VocalSepError as error:
            if emitted.may_exist:
                error.add_note(_MAY_BE_CREATED)
            raise
        emitted.on_confirmed(task_id)
        ref = TaskRef(
            task_id,
            type=creation.kind,
            created_at=datetime.now(UTC),
            route=self._routes.name,
            label=creation.label,
            expects_callback=creation.expects_callback,
        )
        await tries.record(ref)
        return ref


class _Tries:
    """The tries of one creation, each with an intent in the journal, if there is one."""

    def __init__(
        self,
        sender: RequestSender,
        creation: Creation,
        emitted: CreationEvents,
        *,
        journal: JournalFile | None,
        decoder: Decoder,
        gate: Gate,
    ) -> None:
        self._sender = sender
        self._creation = creation
        self._emitted = emitted
        self._journal = journal
        self._decoder = decoder
        self._gate = gate
        self._intents: list[int] = []
        """The intent of the try that is under way."""

    async def send(self, slot: RequestSlot, _attempt: int) -> str:
        """Send the request in *slot*, and return the id of the task."""
        self._emitted.on_try()
        try:
            self._gate.check()
            # In the slot: a program that ends while it waits for one has created nothing.
            await run_to_completion(self._intend())
        except BaseException as error:
            slot.release()
            await self._write(error, None)
            raise
        self._emitted.on_sent()
        self._gate.is_sending = True
        try:
            return await self._sender.send(slot, self._creation.request, self._decode)
        except BaseException as error:
            self._emitted.on_error(error)
            await self._settle(error)
            self._gate.is_sending = False
            raise

    def _decode(self, status: int, headers: Mapping[str, str], body: bytes) -> str:
        self._emitted.on_answer(self._decoder.evidence(body))
        return self._decoder.created(status, headers, body, sent=self._creation.texts)

    async def _intend(self) -> None:
        if self._journal is not None:
            creation = self._creation
            with timed_write(self._sender.events, self._journal.path):
                number = await self._journal.intend(
                    creation.recorded,
                    identity=creation.identity,
                    label=creation.label,
                    replaces=creation.replaces,
                )
            self._intents.append(number)

    async def _settle(self, error: BaseException) -> None:
        # Only an answer settles the intent. After a cancellation or a crash it stays open,
        # because the task may exist.
        if not self._emitted.may_exist:
            await self._write(error, None)
        elif isinstance(error, VocalSepError):
            await self._write(error, str(error))

    async def _write(self, error: BaseException, text: str | None) -> None:
        """Drop the intent, or keep it with *text*, because of *error*."""
        if self._journal is None or not self._intents:
            return
        try:
            # A song that may exist stays so, if another creation could not take its place.
            creation = self._creation
            before = None if creation.replaces is None else (creation.replaces, creation.identity)
            await self._journal.not_created(self._intents.pop(), text, before=before)
        except JournalError as failure:
            # The caller must get the error of the creation, which may have been billed.
            error.add_note(f"The journal could not record this: {failure}")

    async def record(self, ref: TaskRef) -> None:
        """Write the task that was created to the journal.

        Raises:
            JournalError: it was not written; the message has its id.
        """
        if self._journal is None:
            return
        try:
            # To its end, also where the caller is cancelled: the id is billed.
            with timed_write(self._sender.events, self._journal.path):
                await self._journal.created(self._intents.pop(), ref)
        except JournalError as error:
            raise JournalError(
                f"{error}; the task was created, with the id {ref.task_id}"
            ) from error


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

    def on_try(self) -> None:
        """A try begins; nothing of it was sent so far."""
        self._evidence = Evidence.REFUSED

    def on_sent(self) -> None:
        """The request is about to be sent."""
        self._evidence = Evidence.NONE
        self._events.emit(CreationSent(creation_id=self._id))

    def on_answer(self, evidence: Evidence) -> None:
        """The API, or something in between, answered."""
        self._evidence = evidence

    def on_error(self, error: BaseException) -> None:
        """A try failed. What an answer proves is known already."""
        if isinstance(error, (TransportError, ClientClosedError)):
            self._evidence = _evidence_without_answer(error)
        elif isinstance(error, asyncio.CancelledError) and not _may_have_arrived(error):
            self._evidence = Evidence.REFUSED

    def may_retry(self, _error: VocalSepError) -> bool:
        """Whether the request may be sent again after the error of the last try."""
        return self._evidence is Evidence.REPEATABLE

    def on_confirmed(self, task_id: str) -> None:
        """The API gave the id of the task."""
        self._is_confirmed = True
        self._events.emit(CreationConfirmed(creation_id=self._id, task_id=task_id))


def _evidence_without_answer(error: TransportError | ClientClosedError) -> Evidence:
    if error.may_have_arrived:
        return Evidence.NONE
    return Evidence.REPEATABLE if error.action is ErrorAction.RETRY else Evidence.REFUSED


def _may_have_arrived(cancelled: asyncio.CancelledError) -> bool:
    # The transport marks the cancellation of a request that it did not begin to send.
    return getattr(cancelled, "may_have_arrived", True)
