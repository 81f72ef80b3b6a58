"""The uploads of one client: each in several tries, without a slot of the rate limit.

Whether the providers count uploads is not documented. They go to another host and are free.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType

from attrs import field, frozen

from vocalsep_async._downloads.content import extension_of
from vocalsep_async._downloads.patience import Rests
from vocalsep_async._events import Events, new_id
from vocalsep_async._failures import FailureStreak, may_help
from vocalsep_async._text import printable
from vocalsep_async._transport.api import Transport
from vocalsep_async._transport.uploads import UploadBody
from vocalsep_async._uploads.content import Content, Reader, check_size, content_of, held
from vocalsep_async._uploads.names import FOLDER, NO_NAME, media_type, stored_name, suffix_of
from vocalsep_async.errors import (
    ClientClosedError,
    ConfigurationError,
    InvalidArgumentError,
    RequestTimeoutError,
    UploadError,
    VocalSepError,
)
from vocalsep_async.instrumentation import RequestRetried, UploadFinished, UploadStarted
from vocalsep_async.policies import UPLOAD_LIFETIME, RetryPolicy
from vocalsep_async.providers import Provider, Request
from vocalsep_async.providers._envelope import decoded
from vocalsep_async.providers._uploads import UPLOAD_PATH, stored_file
from vocalsep_async.uploads import OnUploadProgress, Uploadable, UploadedFile, UploadProgress

# Seconds between two reports: nine a second, so that the one at the end makes ten at most.
_REPORT_INTERVAL = 1 / 9


@frozen(kw_only=True)
class UploadPlan:
    """How one file is uploaded; `VocalSepClient.upload` says what it means."""

    file: Uploadable = field(repr=False)
    name: str | None
    max_bytes: int
    on_progress: OnUploadProgress | None
    timeout: float | None


class Uploader:
    """Uploads files for one client.

    Args:
        connect: makes what sends the requests to the upload host; None if there is no host.
        provider: knows what its codes mean.
        retry: how often a failed upload is repeated, and after what delays.
        events: of the client.
    """

    def __init__(
        self,
        connect: Callable[[], Transport] | None,
        provider: Provider,
        retry: RetryPolicy,
        events: Events,
    ) -> None:
        self.provider = provider
        self.retry = retry
        self.events = events
        self.rests = Rests("a file was uploaded")
        self._connect = connect
        self._transport: Transport | None = None
        self._is_closed = False

    @property
    def needs_closing(self) -> bool:
        """Whether a session is open."""
        return self._transport is not None and self._transport.needs_closing

    async def upload(self, plan: UploadPlan) -> UploadedFile:
        """Upload the file of *plan*.

        Raises:
            ConfigurationError: there is no upload host.
            InvalidArgumentError: the file cannot be uploaded; nothing was sent.
            VocalSepError: the last try failed, or the client was closed.
            Exception: reading a stream, or ``on_progress``, raised it.
        """
        transport = self._host()
        upload = _Upload(plan, self)
        with _UploadEvents(self.events, upload):
            return await self._in_time(upload, transport, plan.timeout)

    async def digest(self, plan: UploadPlan) -> str:
        """The SHA-256 of the file of *plan*, in hexadecimal, which is read once.

        Raises:
            InvalidArgumentError: the file cannot be uploaded.
            UploadError: it cannot be read to its end.
        """
        return await _Upload(plan, self).digest()

    async def _in_time(
        self,
        upload: _Upload,
        transport: Transport,
        timeout: float | None,  # noqa: ASYNC109 - the field's name for a whole call
    ) -> UploadedFile:
        try:
            async with asyncio.timeout(timeout) as timer:
                return await upload.run(transport)
        except TimeoutError as error:
            # Not a `RequestTimeoutError`, nor one that a stream of the user raised.
            if type(error) is TimeoutError and timer.expired():
                raise upload.timeout_error() from None
            raise

    def _host(self) -> Transport:
        if self._is_closed:
            raise ClientClosedError("the client is closed; make a new one")
        if self._connect is None:
            raise ConfigurationError(
                "this client has no upload host: it is known for api.sunoapi.org and api.kie.ai "
                "only. Pass upload_url= to the client, or upload the song elsewhere and pass its "
                "link to create_task(audio_url=...)"
            )
        if self._transport is None:
            self._transport = self._connect()
        return self._transport

    async def aclose(self) -> None:
        """End the uploads under way; may be called again."""
        self._is_closed = True
        self.rests.close()
        if self._transport is not None:
            await self._transport.aclose()

    def abandon(self) -> None:
        """Drop the session, whose event loop was closed."""
        if self._transport is not None:
            self._transport.abandon()


class _Upload:
    """One file, until it is at its host.

    Attributes:
        size: bytes of the file; None before they are known.
    """

    def __init__(self, plan: UploadPlan, uploader: Uploader) -> None:
        self._plan = plan
        self._uploader = uploader
        self._last_error: VocalSepError | None = None
        self._where = "the file was being read"
        self._was_sent = False
        self.size: int | None = None

    async def digest(self) -> str:
        async with content_of(self._plan.file, self._plan.max_bytes) as content:
            return await self._digest(content)

    async def run(self, transport: Transport) -> UploadedFile:
        async with content_of(self._plan.file, self._plan.max_bytes) as content:
            if not content.may_change:
                return await self._tries(content, transport)
            return await self._unchanged(content, transport)

    async def _unchanged(self, content: Content, transport: Transport) -> UploadedFile:
        # Read three times: neither the time of the last change nor the size tells of every one.
        before = await self._digest(content)
        try:
            uploaded = await self._tries(content, transport)
            after = await self._digest(content)
        except InvalidArgumentError as error:
            raise UploadError(f"{error}. It could be read before it was sent") from error
        if {before, after} != {uploaded.sha256}:
            raise UploadError(
                f"the file {printable(uploaded.name)} changed while it was sent: upload it again"
            )
        return uploaded

    async def _digest(self, content: Content) -> str:
        async with held(content.open) as reader:
            self._check(content, reader)
            return await reader.digest()

    async def _tries(self, content: Content, transport: Transport) -> UploadedFile:
        streak = FailureStreak()
        while True:
            try:
                async with held(content.open) as reader:
                    return await self._once(content, reader, transport)
            except VocalSepError as error:
                streak = streak.record(error)
                if streak.failures >= self._uploader.retry.attempts or not may_help(error):
                    # The frames below hold the answer and the name at the host, and tracebacks may
                    # show local variables.
                    raise error.with_traceback(None) from error.__cause__
                delay = self._delay(streak, error)
                self._on_failure(streak, error, delay)
            await self._uploader.rests.rest(delay)

    def _delay(self, streak: FailureStreak, error: VocalSepError) -> float:
        # Without a slot of the limiter there is no pause either.
        delay = self._uploader.retry.delay(streak.failures, random.random())
        return max(delay, getattr(error, "retry_after", None) or 0.0)

    def _on_failure(self, streak: FailureStreak, error: VocalSepError, delay: float) -> None:
        self._where = "another try was waited for"
        # Without its traceback, which would keep the frames of the request alive.
        self._last_error = error.with_traceback(None)
        self._uploader.events.emit(
            RequestRetried(
                request=f"POST {UPLOAD_PATH}",
                attempt=streak.failures,
                delay=delay,
                error=self._last_error,
            )
        )

    async def _once(self, content: Content, reader: Reader, transport: Transport) -> UploadedFile:
        name = self._check(content, reader)
        suffix = suffix_of(self._plan.name, content.name)
        suffix = suffix or extension_of(reader.beginning, None) or ""
        stored = stored_name(self._plan.name, suffix)
        progress = _Progress(self._plan.on_progress, name, reader.size)
        body = UploadBody(
            reader,
            {"uploadPath": FOLDER, "fileName": stored},
            stored,
            media_type(suffix),
            on_sent=progress.on_sent,
        )
        self._where, self._was_sent = "it was being sent", True
        answer = await transport.exchange(Request("POST", UPLOAD_PATH, headers=body.headers), body)
        found = decoded(partial(stored_file, self._uploader.provider, name=stored), *answer)
        expires_at = datetime.now(UTC) + timedelta(seconds=UPLOAD_LIFETIME)
        return UploadedFile(
            url=found.url,
            name=name,
            size=reader.size,
            content_type=found.content_type or media_type(suffix),
            expires_at=min(expires_at, found.expires_at or expires_at),
            sha256=reader.sha256,
        )

    def _check(self, content: Content, reader: Reader) -> str:
        """Check that the content can be uploaded, and return its name."""
        name = self._plan.name or content.name or NO_NAME
        self.size = reader.size
        if reader.size == 0:
            raise InvalidArgumentError(f"{printable(name)} is empty")
        check_size(reader.size, self._plan.max_bytes, printable(name))
        return name

    def timeout_error(self) -> RequestTimeoutError:
        """The error of this upload if it runs out of time now."""
        failed = "" if self._last_error is None else f" The last try failed: {self._last_error}"
        return RequestTimeoutError(
            f"the upload did not end within the {self._plan.timeout:g} s of the call, while "
            f"{self._where}.{failed} Allow more time",
            may_have_arrived=self._was_sent,
            last_error=self._last_error,
        )


class _Progress:
    """Reports the progress of one try, ten times a second at most."""

    def __init__(self, on_progress: OnUploadProgress | None, name: str, total: int) -> None:
        self._on_progress = on_progress
        self._name = name
        self._total = total
        self._reported_at = -math.inf

    def on_sent(self, sent: int) -> None:
        """*sent* bytes were handed over."""
        if self._on_progress is None:
            return
        now = asyncio.get_running_loop().time()
        if now - self._reported_at >= _REPORT_INTERVAL or sent == self._total:
            self._reported_at = now
            self._on_progress(UploadProgress(name=self._name, sent=sent, total=self._total))


class _UploadEvents:
    """The events of one upload, as a block that fails where the upload does."""

    def __init__(self, events: Events, upload: _Upload) -> None:
        self._events = events
        self._upload = upload
        self._id = new_id("upload")
        self._began = asyncio.get_running_loop().time()

    def __enter__(self) -> None:
        self._events.emit(UploadStarted(upload_id=self._id))

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        duration = asyncio.get_running_loop().time() - self._began
        self._events.emit(
            UploadFinished(
                upload_id=self._id, duration=duration, size=self._upload.size, error=error
            )
        )
