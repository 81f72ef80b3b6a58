"""Posts the callbacks of tasks, with the faults that the settings name."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any

import aiohttp
from attrs import evolve
from yarl import URL

from vocalsep_async.emulator.backend import Backend
from vocalsep_async.emulator.callback_faults import CallbackKind
from vocalsep_async.emulator.callback_log import CallbackLog
from vocalsep_async.emulator.callback_order import CallbackOrder
from vocalsep_async.emulator.callback_plan import PlannedCallback, plan
from vocalsep_async.emulator.callback_posts import CallbackPost, callback_post
from vocalsep_async.emulator.loopback import LoopbackResolver, loopback_url
from vocalsep_async.emulator.settings import EmulatorSettings
from vocalsep_async.emulator.tasks import Task

_ATTEMPTS = 3
_PAUSE = 1.0  # seconds between two attempts at speed 1; the services document none
_TIMEOUT = aiohttp.ClientTimeout(total=15.0)  # the documented time for a response
_JSON = {"Content-Type": "application/json"}
_logger = logging.getLogger("vocalsep_async.emulator")


class CallbackSender:
    """Posts the callbacks of each scheduled task, the last one at its end.

    It belongs to one event loop; all methods must be called in that loop.

    Args:
        settings: the options.
        backend: has the clock of the tasks, and the bodies of their callbacks.
        log: receives a record of each attempt.
    """

    def __init__(self, settings: EmulatorSettings, backend: Backend, log: CallbackLog) -> None:
        self._settings = settings
        self._backend = backend
        self._clock = backend.clock
        self._log = log
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=LoopbackResolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMEOUT,
        )
        self._order = CallbackOrder()
        self._plans: dict[str, deque[PlannedCallback]] = {}
        """The callbacks that a task still gets, of which its end is the last and stays."""
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        """All asyncio tasks, which would otherwise be garbage-collected."""

    def schedule(self, task: Task) -> None:
        """Post the callbacks of *task* when they are due, if its URL is one of this machine.

        A second call for a task replaces the first, as the end of the task may have moved;
        callbacks that were posted before its end are not posted again.
        """
        url = loopback_url(task.callback_url)
        if url is None:
            return
        previous = self._followed.get(task.task_id)
        if previous is not None:
            previous.cancel()
        self._followed[task.task_id] = self._start(self._follow(task, url))

    def post_now(self, task: Task, url: URL, kind: CallbackKind) -> None:
        """Post a callback of *task* once, whatever the answer."""
        self._start(self._post_once(task, url, PlannedCallback(kind=kind)))

    async def aclose(self) -> None:
        """Cancel all deliveries."""
        running = tuple(self._running)
        for each in running:
            each.cancel()
        if running:
            await asyncio.wait(running)
        await self._session.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        started = asyncio.create_task(work)
        self._running.add(started)
        started.add_done_callback(self._running.discard)
        return started

    async def _follow(self, task: Task, url: URL) -> None:
        planned = self._plans.setdefault(task.task_id, deque(self._planned(task)))
        while not planned[0].reports_end:
            await self._sleep_until(planned[0].due_at(task))
            await self._send_in_order(task, url, planned.popleft())
        await self._sleep_until(task.ends_at)
        await self._send_in_order(task, url, planned[0])

    def _planned(self, task: Task) -> tuple[PlannedCallback, ...]:
        return plan(self._settings.callbacks, self._settings.seed, task.task_id)

    async def _sleep_until(self, at: float) -> None:
        # A loop, because a timer may fire a little early; no event could replace the sleep.
        while (left := at - self._clock.now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)

    async def _send_in_order(self, task: Task, url: URL, planned: PlannedCallback) -> None:
        """Send a callback; return at once if those that are due later must not wait for it."""
        sending = self._send(task, url, planned)
        if planned.is_late:
            # Of its own: it must not end with the call of `schedule` that is replaced.
            self._start(sending)
        else:
            await sending

    async def _send(self, task: Task, url: URL, planned: PlannedCallback) -> None:
        await asyncio.sleep(planned.delay)
        post = await self._deliver(task, url, planned)
        if post is None:
            if planned.reports_end:
                task.callback_failed()
        elif planned.repeat_after is not None:
            await asyncio.sleep(planned.repeat_after)
            await self._post(evolve(post, kind=CallbackKind.REPEATED))

    async def _post_once(self, task: Task, url: URL, planned: PlannedCallback) -> None:
        async with self._order.turn(is_reordered=False):
            await self._post(self._new_post(task, url, planned))

    async def _deliver(self, task: Task, url: URL, planned: PlannedCallback) -> CallbackPost | None:
        """Attempt to post a callback; return it as it was accepted, or None."""
        for attempts_made in range(1 if planned.is_forged else _ATTEMPTS):
            if attempts_made:
                await asyncio.sleep(_PAUSE / self._settings.speed)
            async with self._order.turn(is_reordered=planned.is_reordered and not attempts_made):
                post = self._new_post(task, url, planned)
                if await self._post(post):
                    return post
        return None

    def _new_post(self, task: Task, url: URL, planned: PlannedCallback) -> CallbackPost:
        return callback_post(
            task.task_id,
            CallbackKind.LOST if planned.is_lost else planned.kind,
            url,
            self._content(task, planned),
            key=self._settings.webhook_key,
            now=self._clock.wall(self._clock.now()) + self._settings.callbacks.clock_skew,
        )

    def _content(self, task: Task, planned: PlannedCallback) -> dict[str, Any]:
        match planned.kind:
            case CallbackKind.IN_PROGRESS:
                return self._backend.progress_callback(task)
            case CallbackKind.CHANGED:
                return self._backend.forged_callback(task)
            case _:
                return self._backend.callback(task, has_data=planned.has_data)

    async def _post(self, post: CallbackPost) -> bool:
        """Post once; return whether the response was HTTP 200, the only documented success."""
        at = self._clock.now()
        is_lost = post.kind is CallbackKind.LOST
        status = None if is_lost else await self._status(post)
        self._log.write(at, post, status)
        # What loses it on the way has answered the service.
        return is_lost or status == 200

    async def _status(self, post: CallbackPost) -> int | None:
        """Send *post*; return the HTTP status, or None if there was no answer in time."""
        headers = {**_JSON, **post.headers}
        try:
            # Without redirects, which could lead to another machine.
            async with self._session.post(
                post.url, data=post.body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            _logger.info("callback of task %r: %r", post.task_id, error)
            return None
        _logger.info("callback of task %r: HTTP %d", post.task_id, status)
        return status
