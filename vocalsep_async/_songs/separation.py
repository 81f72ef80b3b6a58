"""The way of one song: from its source to its stems."""

from __future__ import annotations

import asyncio
import copy
import math
import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import evolve, frozen

from vocalsep_async._creation import Creation, Gate, TaskCreator
from vocalsep_async._downloads.downloader import Downloader
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._journals import JournalLike, OpenJournals
from vocalsep_async._polling.doubts import lacks_links
from vocalsep_async._polling.poller import Poller
from vocalsep_async._songs.budget import Budget
from vocalsep_async._songs.claims import Caller, Claimed, Claims, Origin
from vocalsep_async._songs.identity import KEY_BYTES, again, identity
from vocalsep_async._songs.records import SongRecords
from vocalsep_async._text import MaskedLink, printable
from vocalsep_async._uploads.uploader import Uploader, UploadPlan
from vocalsep_async.errors import (
    CreationUncertainError,
    ErrorAction,
    InsufficientCreditsError,
    NotBegunError,
    UploadError,
    VocalSepError,
)
from vocalsep_async.models import (
    STEMS_READY,
    SeparationTask,
    SeparationType,
    TaskOutcome,
    TaskRef,
    TaskStatus,
)
from vocalsep_async.policies import CREATION_GAP, MAX_UPLOAD_BYTES, USABLE_UPLOAD, PollPolicy
from vocalsep_async.providers import Provider, Request
from vocalsep_async.songs import OnSongProgress, OnUncertain, Song, SongProgress, SongStep
from vocalsep_async.uploads import OnUploadProgress, UploadProgress

if TYPE_CHECKING:
    from vocalsep_async._journal.journal import Claim, JournalFile

_PREPARED = 8
"""Songs of one run that are uploaded and created at a time."""


@frozen(kw_only=True)
class SongOptions:
    """How songs are separated; `VocalSepClient.separate` says what it means."""

    type: SeparationType
    stem_name: str | None
    timeout: float | None
    policy: PollPolicy
    plan: DownloadPlan | None
    callback_url: str | None
    expects_callback: bool
    on_uncertain: OnUncertain
    resubmit: int = 0
    creation_patience: float = 0.0
    on_progress: OnSongProgress | None = None


@frozen
class IdentifiedSong:
    """A song, and what is to be made of it.

    Attributes:
        song: the song.
        type: the kind of separation.
        stem_name: the instrument; None for none.
        identity: what it shares with those that are the same.
        content: the SHA-256 of its file, in hexadecimal; None for what is not uploaded, and where
            a key takes the place of its content.
    """

    song: Song
    type: SeparationType
    stem_name: str | None
    identity: str
    content: str | None

    @property
    def label(self) -> str | None:
        """What it is called; None if it has no name."""
        return self.song.name


class _Link(NamedTuple):
    """The link to a song, and when it is too old to be named to the API."""

    url: str
    stale_at: datetime | None = None

    @property
    def is_stale(self) -> bool:
        return self.stale_at is not None and datetime.now(UTC) >= self.stale_at


class _StaleLinkError(Exception):
    """The link has become too old while its creation waited."""


class _Patience:
    """How long a song that provably has no task waits for better times, from its first failure."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def allows(self, error: VocalSepError) -> bool:
        """Whether to try again after *error*; never after a creation of unknown fate."""
        now = asyncio.get_running_loop().time()
        self._until = self._until or now + self._seconds
        return error.action is not ErrorAction.RAISE and now < self._until


@frozen(kw_only=True)
class Parts:
    """The parts of a client that songs pass on their way."""

    provider: Provider
    creator: TaskCreator
    poller: Poller
    downloader: Downloader
    uploader: Uploader
    journals: OpenJournals
    base_url: str


class Separations:
    """Separates songs for one client.

    Args:
        parts: of the client.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.claims = Claims()
        self._secret = secrets.token_bytes(KEY_BYTES)

    async def separate(
        self, song: Song, options: SongOptions, journal: JournalLike | None
    ) -> TaskOutcome:
        """Separate one song; see `VocalSepClient.separate`."""
        async with self.parts.journals.use(journal) as file, self.claims.caller() as caller:
            way = Way(self.parts, options, await self.records_in(file))
            identified = await way.identified(song)
            outcome = await way.ended(identified, caller)
            return await way.saved(identified, outcome)

    async def records_in(self, file: JournalFile | None) -> SongRecords:
        """The songs of an open journal; of none without one.

        Raises:
            JournalError: it belongs to another API or account.
        """
        if file is not None:
            await file.check_owner(self.parts.base_url)
        return SongRecords(file, self.parts.poller.routes.restored, self._secret)


class Way:
    """The way of songs of one call or run.

    Args:
        parts: of the client.
        options: of the call.
        records: the journal.
        budget: says whether more tasks may be created; None for any number.

    Attributes:
        created: tasks that were created for the call.
        joined: songs that share the task of another call.
        known: songs whose task the journal had.
    """

    def __init__(
        self,
        parts: Parts,
        options: SongOptions,
        records: SongRecords,
        budget: Budget | None = None,
    ) -> None:
        self._parts = parts
        self._options = options
        self._records = records
        self._budget = budget or Budget(parts.provider.prices)
        self._preparing = asyncio.Semaphore(_PREPARED)
        self.created = 0
        self.joined = 0
        self.known = 0

    # Which song it is

    async def identified(self, song: Song) -> IdentifiedSong:
        """Find out which song it is, and check what can be checked before anything is sent.

        Raises:
            InvalidArgumentError: it cannot be separated, or its file cannot be uploaded.
            UploadError: its file cannot be read.
        """
        kind = song.type or self._options.type
        stem_name = song.stem_name or self._options.stem_name
        self._request(song, kind, stem_name, "https://upload.invalid/song.mp3")
        content = None
        if isinstance(song.source, (bytes, Path)) and song.key is None:
            content = await self._parts.uploader.digest(_upload_plan(song))
        known_by = identity(song, kind, stem_name, content, await self._records.secret())
        return IdentifiedSong(song, kind, stem_name, known_by, content)

    def _request(
        self, song: Song, kind: SeparationType, stem_name: str | None, link: str
    ) -> Request:
        given = {"audio_url": link}
        if isinstance(song.source, tuple):
            given = dict(zip(("source_task_id", "audio_id"), song.source, strict=True))
        return self._parts.provider.creation_request(
            type=kind, callback_url=self._options.callback_url, stem_name=stem_name, **given
        )

    # Its task

    async def ended(self, song: IdentifiedSong, caller: Caller) -> TaskOutcome:
        """Find or create the task of a song, which *caller* claims, and wait for its end.

        Raises:
            CreationUncertainError: the task may have been created.
            VocalSepError: there is no task.
        """
        outcome, origin = await self._ended(song, song.identity, caller)
        for times in range(1, self._options.resubmit + 1):
            # Anything else, such as a song that is too long, would fail again.
            if outcome.status is not TaskStatus.GENERATE_AUDIO_FAILED:
                break
            try:
                outcome, origin = await self._ended(song, again(song.identity, times), caller)
            except NotBegunError:
                break  # the song itself was begun, and has failed
        self.joined += origin == "joined"
        self.known += origin == "known"
        return evolve(outcome, label=song.label)

    async def _ended(
        self, song: IdentifiedSong, identity_: str, caller: Caller
    ) -> tuple[TaskOutcome, Origin]:
        key = (self._records.place, identity_)
        claimed = await caller.task_of(key, partial(self._task_of, song, identity_))
        if claimed.outcome is not None:
            return claimed.outcome, claimed.origin
        self._tell(song, "waiting", task_id=claimed.ref.task_id)
        outcome = await self._waited(claimed)
        await self._records.save_outcome(outcome)
        return outcome, claimed.origin

    async def _task_of(self, song: IdentifiedSong, identity_: str, gate: Gate) -> Claimed:
        found = await self._records.find(identity_, song.type, song.label)
        if isinstance(found, Claimed) and not self._lacked_credits(found):
            return found
        replaces = self._replaceable(song, found)
        async with self._preparing:
            await self._budget.reserve(song.type)
            is_spent = False
            try:
                ref = await self._created(song, identity_, replaces, gate)
            except CreationUncertainError:
                is_spent = True
                raise
            finally:
                self._budget.settle(song.type, is_spent=is_spent or gate.is_sending)
        self.created += 1
        return Claimed(ref, "created")

    def _lacked_credits(self, claimed: Claimed) -> bool:
        """Whether the account had too few credits for a task of an earlier run."""
        refusal = None if claimed.outcome is None else self.refusal_in(claimed.outcome)
        return isinstance(refusal, InsufficientCreditsError)

    def _replaceable(self, song: IdentifiedSong, found: Claimed | Claim | None) -> int | None:
        """The intent that another creation may take the place of; None if there is none.

        Raises:
            CreationUncertainError: it may not, because that task may exist.
        """
        if found is None:
            return None
        if isinstance(found, Claimed):
            return found.intent
        if self._options.on_uncertain == "report":
            raise CreationUncertainError.of(song.label, found.began_at, found.error)
        return found.number

    async def _created(
        self, song: IdentifiedSong, identity_: str, replaces: int | None, gate: Gate
    ) -> TaskRef:
        link: _Link | None = None
        patience = _Patience(self._options.creation_patience)
        while True:
            try:
                if link is None or link.is_stale:
                    link = await self._link(song)
                creation = self._creation(song, link, identity_, replaces)
                gate.check = partial(self._check, link)
                self._tell(song, "creating")
                return await self._parts.creator.create_for_song(creation, self._records.file, gate)
            except _StaleLinkError:
                continue
            except VocalSepError as error:
                if not patience.allows(error):
                    raise
            await asyncio.sleep(CREATION_GAP)

    def _check(self, link: _Link) -> None:
        self._budget.check()
        if link.is_stale:
            raise _StaleLinkError

    def _creation(
        self, song: IdentifiedSong, link: _Link, identity_: str, replaces: int | None
    ) -> Creation:
        callback_url = self._options.callback_url
        links: Collection[str] = [each for each in (callback_url, link.url) if each]
        return Creation(
            self._request(song.song, song.type, song.stem_name, link.url),
            song.type,
            links,
            expects_callback=self._options.expects_callback,
            identity=identity_,
            label=song.label,
            replaces=replaces,
        )

    async def _link(self, song: IdentifiedSong) -> _Link:
        """The link that the API is to fetch; "" for a song of the provider's own."""
        source = song.song.source
        if isinstance(source, tuple):
            return _Link("")
        if isinstance(source, str):
            return _Link(MaskedLink(source))
        uploaded_at = datetime.now(UTC)
        self._tell(song, "uploading")
        on_progress = partial(self._on_upload, song) if self._options.on_progress else None
        uploaded = await self._parts.uploader.upload(_upload_plan(song.song, on_progress))
        if song.content is not None and uploaded.sha256 != song.content:
            raise UploadError(
                f"the file {printable(uploaded.name)} was changed since it was first read, and "
                "another file is another song: separate it again"
            )
        lifetime = uploaded.expires_at - uploaded_at
        return _Link(MaskedLink(uploaded.url), uploaded_at + lifetime * USABLE_UPLOAD)

    # Its end

    async def _waited(self, claimed: Claimed) -> TaskOutcome:
        """Wait for the end of a task; what ends the wait is in the outcome, as in a batch."""
        ref = claimed.ref
        poller = self._parts.poller
        if claimed.status in STEMS_READY:
            # An earlier run has waited for its links.
            poller.doubts.give_up(poller.routes.ref(ref))
        waiter = poller.waiter(ref, self._options.policy, self._time_left(claimed))
        task: SeparationTask | None = None
        error: VocalSepError | None = None
        try:
            task = await poller.wait(ref, waiter)
            if lacks_links(task):
                task, error = None, waiter.unfinished_error()
        except VocalSepError as failure:
            # Without its traceback, which would keep the frames of the wait alive.
            error = copy.copy(failure).with_traceback(None)
        return TaskOutcome(
            task_id=ref.task_id,
            status=waiter.status,
            task=task,
            error=error,
            polls=waiter.polls,
            elapsed=waiter.elapsed,
            label=ref.label,
        )

    def _time_left(self, claimed: Claimed) -> float | None:
        timeout, created_at = self._options.timeout, claimed.ref.created_at
        if timeout is None or claimed.origin != "known" or created_at is None:
            return timeout
        # One whose time is over gets one more poll, because it may have ended between the runs.
        return max(0.0, timeout - (datetime.now(UTC) - created_at).total_seconds())

    def refusal_in(self, outcome: TaskOutcome) -> VocalSepError | None:
        """The error of an outcome that is one of the account; None if there is none."""
        task = outcome.task
        if task is None or task.status is not TaskStatus.CREATE_TASK_FAILED:
            return outcome.error
        code = task.error_code if isinstance(task.error_code, int) else 0
        words = task.error_message or ""
        rule = self._parts.provider.classify(code, words, in_envelope=True, is_creation=True)
        if not issubclass(rule.error, InsufficientCreditsError):
            return None
        return InsufficientCreditsError(words, code=code, http_status=200, task_id=task.task_id)

    async def saved(self, song: IdentifiedSong, outcome: TaskOutcome) -> TaskOutcome:
        """Save the stems of a task that has some, if that was asked for."""
        plan = self._options.plan
        if plan is None or not outcome.succeeded:
            return outcome
        self._tell(song, "saving", task_id=outcome.task_id)
        report = await self._parts.downloader.save_present(
            outcome.result(), self._end_of_wait(outcome), outcome.label, plan
        )
        outcome = evolve(outcome, files=report.paths, download_error=report.error)
        await self._records.save_files(outcome)
        return outcome

    def _end_of_wait(self, outcome: TaskOutcome) -> float:
        # Without a timeout there is no such moment, and a file host is not waited for without end.
        if self._options.timeout is None:
            return -math.inf
        return asyncio.get_running_loop().time() + self._options.timeout - outcome.elapsed

    # Its progress

    def _tell(self, song: IdentifiedSong, state: SongStep, **more: Any) -> None:
        if self._options.on_progress is not None:
            self._options.on_progress(SongProgress(song=song.song, state=state, **more))

    def _on_upload(self, song: IdentifiedSong, progress: UploadProgress) -> None:
        self._tell(song, "uploading", sent=progress.sent, total=progress.total)


def _upload_plan(song: Song, on_progress: OnUploadProgress | None = None) -> UploadPlan:
    return UploadPlan(
        file=song.source,  # type: ignore[arg-type]
        name=None,
        max_bytes=MAX_UPLOAD_BYTES,
        on_progress=on_progress,
        timeout=None,
    )
