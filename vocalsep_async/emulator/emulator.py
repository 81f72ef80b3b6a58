"""The emulator as its users see it: options, start and stop, and what tests do with it."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self

import anyio
import attrs
from aiohttp import web
from attrs import define, evolve, field, frozen

from vocalsep_async import _validation
from vocalsep_async._text import counted
from vocalsep_async.emulator import audio
from vocalsep_async.emulator.app import App
from vocalsep_async.emulator.backend import Backend
from vocalsep_async.emulator.callbacks import CallbackSender
from vocalsep_async.emulator.faults import Fault, FaultQueue
from vocalsep_async.emulator.request_log import RequestLog, RequestRecord
from vocalsep_async.emulator.settings import Settings, one_of
from vocalsep_async.emulator.tasks import Clock, Ending
from vocalsep_async.errors import ConfigurationError, InvalidArgumentError
from vocalsep_async.models import SeparationType, TaskStatus

_LONGEST_AGE = 10 * 365 * 86_400  # seconds; a record prints the time of creation
_SHUTDOWN = 1.0  # seconds for downloads under way when the emulator closes
_WITH_STEMS = (TaskStatus.SUCCESS, TaskStatus.CALLBACK_EXCEPTION)
_WITHOUT_STEMS = (
    TaskStatus.GENERATE_AUDIO_FAILED,
    TaskStatus.CREATE_TASK_FAILED,
    TaskStatus.CALLBACK_EXCEPTION,
)


@frozen
class _Running:
    """What there is between start and stop."""

    loop: asyncio.AbstractEventLoop
    callbacks: CallbackSender
    door: App
    runner: web.AppRunner

    async def aclose(self) -> None:
        # Shielded: who cancels the block of an emulator still wants its sockets closed.
        with anyio.CancelScope(shield=True):
            self.door.close()
            await self.runner.cleanup()
            await self.callbacks.aclose()
            await self.door.remove_files()


@define(kw_only=True, on_setattr=attrs.setters.frozen, slots=False, eq=False, repr=False, str=False)
class Emulator(Settings):
    """A server on this machine that speaks the API.

    Use it as ``async with Emulator(...) as emulator``, or call `start` and `aclose` in the same
    event loop. All else may be called from any thread, before the start too. It starts once,
    also if the start fails: make a new one then.

    The options have to be named. They can be read under the same names, and not be changed.

    Args:
        api_key: the key that is accepted, any string that is not blank and holds no lone
            surrogate. None, the default, accepts every key that is not blank.
        dialect: whose codes and shapes to speak, "sunoapi" (the default) or "kie".
        speed: how many times faster than life the tasks and the pauses between two tries of a
            callback go; more than 0. 1, the default, is life: most tasks take 20 to 240 seconds.
        seed: what the task ids, durations and failures are drawn from, any whole number; 0 by
            default. The same seed draws the same.
        rate_limit: (requests, seconds), at most so many requests to the API in any such time,
            1 or more in more than 0 seconds; (20, 10.0) by default. Files do not count. None
            sets no limit.
        refuse_code: the code for too many requests: 430 or 405 of sunoapi, 429 or 430 of kie.
            None, the default, takes the first.
        refuse_in: whether a refusal comes under HTTP 200 ("body", the default), as all other
            errors do, or under an HTTP status of the same number ("status").
        count_refused: whether refused requests count against the limit too; False by default.
        retry_after: seconds in the ``Retry-After`` header of refusals, 0 or more. None, the
            default, sends no header.
        credits: what the account holds at the start, 0 or more; 1000 by default. A task takes
            10, 50 or 20, by its type.
        failure_rate: the share of tasks that fail, from 0 to 1. 0, the default, lets none fail.
        lookup_lag: seconds after its creation during which a task is still unknown to
            record-info; 0 or more. 0, the default, knows it at once.
        link_lifetime: seconds that the link of a file holds, from the moment it was given;
            0 or more, 14 days by default. 0 gives links that have expired.
        latency: seconds before each answer, 0 or more; 0 by default.
        webhook_key: signs the callbacks as kie.ai describes it, any string that is not blank
            and holds no lone surrogate. None, the default, sends them unsigned.
        port: where to listen, from 0 to 65535. 0, the default, takes a free port.
        host: 127.0.0.1, and nothing else.

    Attributes:
        maintenance: while true, every request to the API is answered with code 455.

    Raises:
        InvalidArgumentError: an option is out of its range.
    """

    maintenance: bool = field(default=False, init=False, on_setattr=attrs.setters.NO_OP)
    _clock: Clock = field(factory=Clock, init=False)
    _log: RequestLog = field(factory=RequestLog, init=False)
    _faults: FaultQueue = field(factory=FaultQueue, init=False)
    _backend: Backend = field(init=False)
    _started: bool = field(default=False, init=False, on_setattr=attrs.setters.NO_OP)
    _url: str | None = field(default=None, init=False, on_setattr=attrs.setters.NO_OP)
    _running: _Running | None = field(default=None, init=False, on_setattr=attrs.setters.NO_OP)

    @_backend.default
    def _new_backend(self) -> Backend:
        return Backend(self, self._clock)

    def __repr__(self) -> str:
        where = "closed" if self._running is None else self._url
        return (
            f"<Emulator of {self.provider}, {where}: {counted(len(self.tasks), 'task')}, "
            f"{counted(len(self.requests), 'request')}, {self.credits_left:g} credits left>"
        )

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
        """Listen.

        Raises:
            ConfigurationError: it was started before, even if that failed or is under way.
            OSError: the port is taken.
        """
        if self._started:
            raise ConfigurationError("an emulator starts once; make a new one")
        self._started = True  # before the first await, so that of two starts at once one wins
        running = self._prepared()
        try:
            await running.runner.setup()
            await web.TCPSite(running.runner, self.host, self.port).start()
        except BaseException:
            await running.aclose()
            raise
        port = running.runner.addresses[0][1]
        self._url = self._backend.base_url = f"http://{self.host}:{port}"
        self._running = running

    async def aclose(self) -> None:
        """Stop listening, cut what is under way and remove the files; again does nothing."""
        running, self._running = self._running, None
        if running is not None:
            await running.aclose()

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:8080``; stays the same after the end.

        Raises:
            ConfigurationError: it was not started.
        """
        if self._url is None:
            raise ConfigurationError("the emulator was not started, so it has no url yet")
        return self._url

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """All requests so far, to the API and for files, in the order they were answered."""
        return self._log.records

    @property
    def tasks(self) -> tuple[str, ...]:
        """The ids of all tasks, in the order they were added."""
        return self._backend.tasks.ids

    @property
    def credits_left(self) -> float:
        """What the account still holds."""
        return self._backend.credits_left

    def add_task(
        self,
        task_id: str | None = None,
        *,
        type: SeparationType | str = SeparationType.SEPARATE_VOCAL,  # noqa: A002
        duration: float | None = None,
        age: float = 0.0,
    ) -> str:
        """Add a task as if it had been created some time ago, free of charge.

        Args:
            task_id: its id, any string that is not blank; None draws one.
            type: what kind of separation, or its name, such as "split_stem".
            duration: seconds from creation to end, whatever the speed; 0 or more, ``math.inf``
                for a task that ends only by `finish` or `fail`. None draws one as for any other
                task.
            age: seconds since its creation, from 0 to ten years of 365 days.

        Returns:
            The id.

        Raises:
            InvalidArgumentError: there is a task of that id, or the id is no string or blank,
                there is no such type, or a number is out of its range.
        """
        if task_id is not None and not isinstance(task_id, str):
            raise InvalidArgumentError(f"a task id is a string, not {task_id.__class__.__name__}")
        if task_id is not None and not task_id.strip():
            raise InvalidArgumentError("a task id is a string that is not blank")
        kind = one_of(SeparationType, type, "type")
        if (seconds := _validation.number(age, "age", minimum=0)) > _LONGEST_AGE:
            raise InvalidArgumentError(
                f"age must be at most {_LONGEST_AGE}, which is ten years, not {seconds:g}"
            )
        if duration is not None and duration != math.inf:
            _validation.number(duration, "duration", minimum=0)
        drawn = self._backend.draw(kind)
        created_at = drawn.created_at - age
        lasts = drawn.ends_at - drawn.created_at if duration is None else duration
        task = evolve(
            drawn,
            task_id=drawn.task_id if task_id is None else task_id,
            created_at=created_at,
            ends_at=created_at + lasts,
        )
        self._backend.tasks.add(task)
        return task.task_id

    def finish(self, task_id: str, *, status: TaskStatus = TaskStatus.SUCCESS) -> None:
        """End a task now, with its stems; its callback is posted.

        Args:
            task_id: the task, which may also have ended before.
            status: SUCCESS or CALLBACK_EXCEPTION.

        Raises:
            InvalidArgumentError: there is no such task, or the status is another.
        """
        self._end(task_id, Ending(one_of(_WITH_STEMS, status, "status")))

    def fail(
        self,
        task_id: str,
        *,
        status: TaskStatus = TaskStatus.GENERATE_AUDIO_FAILED,
        code: int = 500,
        message: str = "The separation failed, please try again later.",
    ) -> None:
        """End a task now, without stems; its callback is posted.

        Args:
            task_id: the task, which may also have ended before.
            status: GENERATE_AUDIO_FAILED, CREATE_TASK_FAILED or CALLBACK_EXCEPTION.
            code: the record's error code.
            message: the record's error message.

        Raises:
            InvalidArgumentError: there is no such task, or the status is another.
        """
        self._end(task_id, Ending(one_of(_WITHOUT_STEMS, status, "status"), code, message))

    def inject(self, fault: Fault, times: int = 1) -> None:
        """Let the next requests to the API meet *fault*, after those that wait already.

        Args:
            fault: what befalls them.
            times: how many requests, from 1 to a million.

        Raises:
            InvalidArgumentError: there is no such fault, or *times* is not from 1 to a million.
        """
        self._faults.add(fault, times)

    def expire_links(self) -> None:
        """End all links given so far; the next answers of record-info carry fresh ones."""
        self._backend.links.expire()

    def original_wav(self) -> bytes:
        """Return the song that every task has separated, as a WAV file."""
        return audio.wav("original")

    def _prepared(self) -> _Running:
        callbacks = CallbackSender(self, self._clock, self._backend.callback)
        door = App(
            self,
            self._backend,
            self._log,
            self._faults,
            on_created=callbacks.watch,
            under_maintenance=lambda: self.maintenance,
        )
        # No access log: the request log is one.
        runner = web.AppRunner(door.application(), access_log=None, shutdown_timeout=_SHUTDOWN)
        return _Running(asyncio.get_running_loop(), callbacks, door, runner)

    def _end(self, task_id: str, ending: Ending) -> None:
        task = self._backend.end(task_id, ending)
        running = self._running
        if running is not None:
            running.loop.call_soon_threadsafe(running.callbacks.watch, task)
