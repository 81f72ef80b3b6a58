"""The `Emulator` class: starts and stops the server, and lets tests steer and inspect it."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, Unpack
from weakref import WeakSet

import anyio
import attrs
from aiohttp import web
from anyio.lowlevel import checkpoint
from attrs import define, evolve, field, frozen

from vocalsep_async import _validation
from vocalsep_async._text import counted
from vocalsep_async.client import ClientOptions, VocalSepClient
from vocalsep_async.emulator import audio
from vocalsep_async.emulator.app import App
from vocalsep_async.emulator.backend import Backend
from vocalsep_async.emulator.callback_faults import POSTABLE, CallbackKind, check_key
from vocalsep_async.emulator.callback_log import CallbackLog, CallbackRecord
from vocalsep_async.emulator.callbacks import CallbackSender
from vocalsep_async.emulator.faults import Fault, FaultQueue, UploadFault
from vocalsep_async.emulator.loopback import loopback_url
from vocalsep_async.emulator.request_log import RequestLog, RequestRecord
from vocalsep_async.emulator.serving_thread import ServingThread
from vocalsep_async.emulator.settings import EmulatorSettings, one_of
from vocalsep_async.emulator.tasks import FAILURE_MESSAGE, Clock, Ending, Task
from vocalsep_async.errors import ConfigurationError, InvalidArgumentError
from vocalsep_async.models import SeparationType, TaskStatus
from vocalsep_async.providers import KIE, KIE_JOBS, SUNOAPI

_MAX_AGE = 10 * 365 * 86_400  # seconds; keeps the printed time of creation a plausible date
_ACCEPTING = 3  # rounds of the event loop after which what it has accepted is handed over
_SHUTDOWN = 1.0  # seconds that downloads in progress are given when the emulator closes
_PROVIDERS = {each.name: each for each in (SUNOAPI, KIE, KIE_JOBS)}
_WITH_STEMS = (TaskStatus.SUCCESS, TaskStatus.CALLBACK_EXCEPTION)
_WITHOUT_STEMS = (
    TaskStatus.GENERATE_AUDIO_FAILED,
    TaskStatus.CREATE_TASK_FAILED,
    TaskStatus.CALLBACK_EXCEPTION,
)
_listening: WeakSet[socket.socket] = WeakSet()


def _stop_listening() -> None:
    # A process that was forked would keep the port, and answer nothing on it.
    for each in _listening:
        each.close()


# Windows has no fork.
_at_fork: Callable[..., object] = getattr(os, "register_at_fork", dict)
_at_fork(after_in_child=_stop_listening)


def _in_its_process(emulator: Any, _attribute: object, value: Any) -> Any:
    emulator._check_process()  # noqa: SLF001 - the same module
    return value


@frozen
class _Server:
    """The parts of an emulator that is started."""

    loop: asyncio.AbstractEventLoop
    listening: socket.socket
    callbacks: CallbackSender
    app: App
    runner: web.AppRunner

    async def aclose(self) -> None:
        # Shielded, so that sockets are closed even when the caller is cancelled.
        with anyio.CancelScope(shield=True):
            # Before the clean-up of the runner, which waits for the requests in progress.
            self.app.close()
            await self._finish_accepting()
            await self.runner.cleanup()
            await self.callbacks.aclose()
            await self.app.remove_files()

    async def _finish_accepting(self) -> None:
        # A connection that asyncio has accepted, but not handed over, when its server closes stays
        # open for good.
        with suppress(NotImplementedError):  # Windows waits in another way
            self.loop.remove_reader(self.listening)
        for _ in range(_ACCEPTING):
            await checkpoint()


@define(kw_only=True, on_setattr=attrs.setters.frozen, slots=False, eq=False, repr=False, str=False)
class Emulator(EmulatorSettings):
    """A local server that emulates the API of one provider.

    Use it as ``async with Emulator(...) as emulator``, or call `start` and `aclose` in the same
    event loop. In code without an event loop, ``with Emulator(...) as emulator`` runs it in a
    thread of its own. Everything else may be called from any thread, and before the start too. An
    emulator starts once, even if that start fails. In a process forked from the emulator's own,
    only `url` and `client` work; everything else raises a `ConfigurationError`.

    All options are keyword-only and can be read, but not changed, as attributes.

    Args:
        api_key: the only key that is accepted, any string that is not blank and contains no lone
            surrogate. None, the default, accepts every key that is not blank.
        provider: the provider whose codes and formats are emulated, "sunoapi" (the default),
            "kie" or "kie_jobs". Both of kie serve both routes, which do not know each other's
            tasks; they differ in the route of the tasks of `add_task`.
        speed: factor by which tasks, and the pauses between two attempts of a callback, are
            faster than real ones; more than 0. At 1, the default, most tasks take 20 to 240
            seconds.
        seed: seed of task ids, durations and failures, any whole number; 0 by default. The same
            seed gives the same values.
        rate_limit: (requests, seconds): at most that many requests to the API in any window of
            that length; 1 or more requests, more than 0 seconds; (20, 10.0) by default.
            Uploads and downloads of files do not count. None sets no limit.
        creation_limit: likewise for creations, which are throttled beyond it, not queued; None,
            the default, sets no limit of their own. kie documents (20, 10.0).
        throttle_code: code of throttled requests: 430 or 405 for sunoapi, 429 or 430 for both of
            kie. None, the default, takes the first.
        throttle_in: place of that code: "body", the default, sends it under HTTP 200, as all other
            errors; "status" makes it the HTTP status too.
        count_throttled: whether throttled requests count against the limit too; False by
            default.
        retry_after: seconds in the ``Retry-After`` header of throttled requests, 0 or more. None,
            the default, sends no header.
        credits: credits of the account at the start, 0 or more; 1000 by default. A task costs
            10 (separate_vocal), 50 (split_stem) or 20 (split_stem_advanced).
        failure_rate: share of tasks that fail, from 0 to 1; 0 by default.
        lookup_lag: seconds after its creation during which a task is unknown to record-info, 0
            or more; 0 by default.
        link_lifetime: seconds for which the link of a file is valid from the moment it is
            issued, 0 or more; 14 days by default. At 0, every link has expired already. A file
            keeps its link until it expires.
        upload_lifetime: seconds for which an upload is kept, 0 or more; 3 days by default. A task
            whose audio is an upload that was deleted is created and charged, and fails.
        latency: seconds by which each response is delayed, 0 or more; 0 by default.
        cors: whether pages of any origin may call the emulator from a browser, and read its answers
            and files; False by default. Never put the key of an account into a page.
        webhook_key: key that signs the callbacks as kie.ai documents it, any string that is not
            blank and contains no lone surrogate. None, the default, sends them unsigned.
        callbacks: what goes wrong with callbacks, see `CallbackFaults`; nothing by default.
        port: port to listen on, from 0 to 65535. 0, the default, takes a free port.
        host: address to listen on; 127.0.0.1 is the only one allowed.

    Attributes:
        maintenance: while it is true, every request to the API is answered with code 455.

    Raises:
        InvalidArgumentError: an option is out of its range.
    """

    maintenance: bool = field(default=False, init=False, on_setattr=_in_its_process)
    _clock: Clock = field(factory=Clock, init=False)
    _log: RequestLog = field(factory=RequestLog, init=False)
    _posted: CallbackLog = field(factory=CallbackLog, init=False)
    _faults: FaultQueue = field(factory=FaultQueue, init=False)
    _backend: Backend = field(init=False)
    _started: bool = field(default=False, init=False, on_setattr=attrs.setters.NO_OP)
    _url: str | None = field(default=None, init=False, on_setattr=attrs.setters.NO_OP)
    _server: _Server | None = field(default=None, init=False, on_setattr=attrs.setters.NO_OP)
    _process: int | None = field(default=None, init=False, on_setattr=attrs.setters.NO_OP)
    _thread: ServingThread | None = field(default=None, init=False, on_setattr=attrs.setters.NO_OP)

    @_backend.default
    def _new_backend(self) -> Backend:
        return Backend(self, self._clock)

    def __repr__(self) -> str:
        where = "closed" if self._server is None else self._url
        return (
            f"<Emulator of {self.provider}, {where}: "
            f"{counted(len(self._backend.tasks.ids), 'task')}, "
            f"{counted(len(self._log.records), 'request')}, "
            f"{self._backend.credits_left:g} credits left>"
        )

    def __enter__(self) -> Self:
        thread = ServingThread(lambda: self, "vocalsep-emulator")
        thread.open()
        self._thread = thread
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        # A process that was forked in the block has no such thread.
        if thread is not None and self._is_here:
            thread.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Start listening.

        Raises:
            ConfigurationError: `start` was called before, even if it failed or is not done yet.
            OSError: the port is in use.
        """
        if self._started:
            raise ConfigurationError("an emulator starts only once; create a new one")
        # Set before the first await, so that one of two simultaneous starts fails.
        self._started = True
        self._process = os.getpid()
        server = self._new_server(socket.create_server((self.host, self.port)))
        _listening.add(server.listening)
        try:
            await server.runner.setup()
            await web.SockSite(server.runner, server.listening).start()
        except BaseException:
            await server.aclose()
            server.listening.close()
            raise
        port = server.listening.getsockname()[1]
        self._url = self._backend.base_url = f"http://{self.host}:{port}"
        self._server = server
        for task in self._backend.tasks.all:
            server.callbacks.schedule(task)

    async def aclose(self) -> None:
        """Stop listening, abort requests and callbacks, and remove the files.

        Further calls do nothing, and neither do calls in a forked process.

        Raises:
            ConfigurationError: the emulator was started in another event loop, such as that of a
                ``with`` block.
        """
        server = self._server
        if server is None or not self._is_here:
            return
        if server.loop is not asyncio.get_running_loop():
            raise ConfigurationError(
                "the emulator was started in another event loop: close it there, or leave the "
                "block that started it"
            )
        # Before the await, so that a second call does nothing.
        self._server = None
        await server.aclose()

    @property
    def url(self) -> str:
        """Base URL, such as ``http://127.0.0.1:8080``; the same after the end.

        Raises:
            ConfigurationError: the emulator was not started.
        """
        if self._url is None:
            raise ConfigurationError("the emulator has no url, because it was not started")
        return self._url

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """All requests so far, to the API and for files, in the order of their responses."""
        self._check_process()
        return self._log.records

    @property
    def posted(self) -> tuple[CallbackRecord, ...]:
        """All attempts so far to post a callback, in the order of their answers."""
        self._check_process()
        return self._posted.records

    @property
    def tasks(self) -> tuple[str, ...]:
        """The ids of all tasks, in the order they were added."""
        self._check_process()
        return self._backend.tasks.ids

    @property
    def credits_left(self) -> float:
        """Credits that the account has left."""
        self._check_process()
        return self._backend.credits_left

    def add_task(
        self,
        task_id: str | None = None,
        *,
        type: SeparationType | str = SeparationType.SEPARATE_VOCAL,  # noqa: A002
        duration: float | None = None,
        age: float = 0.0,
        callback_url: str | None = None,
    ) -> str:
        """Add a task, without a request and without taking credits.

        Args:
            task_id: its id, any string that is not blank; None draws a random one.
            type: the kind of separation, or its name, such as "split_stem".
            duration: seconds from creation to end, whatever the speed; 0 or more, ``math.inf``
                for a task that ends only by `finish` or `fail`. None draws a random duration,
                as for a task that a request creates.
            age: seconds since its creation, from 0 to ten years of 365 days.
            callback_url: URL that is notified of its end, if it is on this machine; None for none.

        Returns:
            The id.

        Raises:
            InvalidArgumentError: a task with that id exists, the id is blank or not a string, the
                type is unknown, *callback_url* is not a string, or a number is out of its range.
        """
        self._check_process()
        _check_id(task_id, "task_id")
        _check_callback_url(callback_url)
        kind = one_of(SeparationType, type, "type")
        if (seconds := _validation.number(age, "age", minimum=0)) > _MAX_AGE:
            raise InvalidArgumentError(
                f"age must be at most {_MAX_AGE}, which is ten years, not {seconds:g}"
            )
        if duration is not None and duration != math.inf:
            _validation.number(duration, "duration", minimum=0)
        drawn = self._backend.new_task(kind)
        created_at = drawn.created_at - age
        lasts = drawn.ends_at - drawn.created_at if duration is None else duration
        task = evolve(
            drawn,
            task_id=drawn.task_id if task_id is None else task_id,
            created_at=created_at,
            ends_at=created_at + lasts,
            callback_url=callback_url,
        )
        self._backend.tasks.add(task)
        self._schedule(task)
        return task.task_id

    def add_song(self, task_id: str | None = None, audio_id: str | None = None) -> tuple[str, str]:
        """Add a song that the provider itself made, which creations name by two ids.

        Until the first song is added, a creation may name any song. From then on, a creation that
        names another song is refused: "Record does not exist", with code 422 for kie and 400 for
        sunoapi.

        Args:
            task_id: id of the task that made the song; None generates one.
            audio_id: id of the song itself; None generates one.

        Returns:
            Both ids, as `VocalSepClient.separate` takes them.

        Raises:
            InvalidArgumentError: an id is blank or not a string.
        """
        self._check_process()
        _check_id(task_id, "task_id")
        _check_id(audio_id, "audio_id")
        return self._backend.add_song(task_id, audio_id)

    def finish(self, task_id: str, *, status: TaskStatus = TaskStatus.SUCCESS) -> None:
        """End a task now with stems, and post its callback.

        Args:
            task_id: the task; it may have ended before.
            status: SUCCESS or CALLBACK_EXCEPTION.

        Raises:
            InvalidArgumentError: there is no such task, or *status* is another.
        """
        self._end(task_id, Ending(one_of(_WITH_STEMS, status, "status")))

    def fail(
        self,
        task_id: str,
        *,
        status: TaskStatus = TaskStatus.GENERATE_AUDIO_FAILED,
        code: int = 500,
        message: str = FAILURE_MESSAGE,
    ) -> None:
        """End a task now without stems, and post its callback.

        Args:
            task_id: the task; it may have ended before.
            status: GENERATE_AUDIO_FAILED, CREATE_TASK_FAILED or CALLBACK_EXCEPTION.
            code: error code in the record and in the callback.
            message: error message in the record and in the callback.

        Raises:
            InvalidArgumentError: there is no such task, or *status* is another.
        """
        self._end(task_id, Ending(one_of(_WITHOUT_STEMS, status, "status"), code, message))

    def post_callback(self, task_id: str, kind: CallbackKind = CallbackKind.GENUINE) -> None:
        """Post a callback of a task now, once, besides those that come by themselves.

        Args:
            task_id: the task; for one that is pending, the callback says what it will end with.
            kind: GENUINE, IN_PROGRESS or a forged one, or its name, such as "stale".

        Raises:
            ConfigurationError: the emulator is not running.
            InvalidArgumentError: there is no such task, its callback URL is not one of this
                machine, *kind* is another, or it needs a ``webhook_key`` and there is none.
        """
        self._check_process()
        task = self._backend.task(task_id)
        known = one_of(POSTABLE, kind, "kind")
        check_key(known, self.webhook_key)
        url, server = loopback_url(task.callback_url), self._server
        if url is None:
            raise InvalidArgumentError(
                f"the task {task_id!r} has no callback URL of this machine: "
                "add_task(callback_url=...) gives it one"
            )
        if server is None:
            raise ConfigurationError("only an emulator that is running posts callbacks")
        server.loop.call_soon_threadsafe(server.callbacks.post_now, task, url, known)

    def client(self, **options: Unpack[ClientOptions]) -> VocalSepClient:
        """Make a client that uses this emulator as its API and its upload host.

        Args:
            options: options of `VocalSepClient`; they take precedence over those for the emulator.

        Raises:
            ConfigurationError: the emulator was not started, or an option is unusable.
        """
        given: ClientOptions = {
            "base_url": self.url,
            "upload_url": self.url,
            "provider": _PROVIDERS[self.provider],
        }
        return VocalSepClient(self.api_key or "any-key", **(given | options))

    def inject(self, fault: Fault | UploadFault, times: int = 1) -> None:
        """Inject *fault* into the next requests to the API, after the faults injected before.

        Args:
            fault: the fault, or its name, such as "html"; an `UploadFault` is for the next uploads.
            times: number of requests, from 1 to a million.

        Raises:
            InvalidArgumentError: *fault* is unknown, or *times* is not from 1 to a million.
        """
        self._check_process()
        self._faults.add(fault, times)

    def expire_links(self) -> None:
        """Invalidate all links issued so far; later responses of record-info hold new ones."""
        self._check_process()
        self._backend.links.revoke_all()

    def expire_uploads(self) -> None:
        """Delete all uploads, as the upload host does after three days."""
        self._check_process()
        self._backend.uploads.revoke_all()

    def original_wav(self) -> bytes:
        """Return the song whose stems every task has, as a WAV file."""
        return audio.wav("original")

    @property
    def _is_here(self) -> bool:
        return self._process in {None, os.getpid()}

    def _check_process(self) -> None:
        if not self._is_here:
            raise ConfigurationError(
                "the emulator runs in the process that this one was forked from: here, only its "
                "url and client() work"
            )

    def _new_server(self, listening: socket.socket) -> _Server:
        callbacks = CallbackSender(self, self._backend, self._posted)
        app = App(
            self,
            self._backend,
            self._log,
            self._faults,
            on_created=callbacks.schedule,
            under_maintenance=lambda: self.maintenance,
        )
        # Without aiohttp's access log: the emulator keeps its own.
        runner = web.AppRunner(app.routes(), access_log=None, shutdown_timeout=_SHUTDOWN)
        return _Server(asyncio.get_running_loop(), listening, callbacks, app, runner)

    def _end(self, task_id: str, ending: Ending) -> None:
        self._check_process()
        self._schedule(self._backend.end(task_id, ending))

    def _schedule(self, task: Task) -> None:
        """Schedule the callback of *task*; before the start, `start` does it for all tasks."""
        server = self._server
        # Most tests add tasks without one: their loop need not wake up.
        if server is None or task.callback_url is None:
            return
        # By way of the loop, as tests may call this in another thread.
        server.loop.call_soon_threadsafe(server.callbacks.schedule, task)


def _check_id(given: object, name: str) -> None:
    if given is not None and not isinstance(given, str):
        raise InvalidArgumentError(f"{name} must be a string, not {type(given).__name__}")
    if given is not None and not given.strip():
        raise InvalidArgumentError(f"{name} must be a string that is not blank")


def _check_callback_url(url: object) -> None:
    if url is not None and not isinstance(url, str):
        raise InvalidArgumentError(
            f"callback_url must be a string or None, not {type(url).__name__}"
        )
