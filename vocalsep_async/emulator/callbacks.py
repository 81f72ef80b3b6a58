"""Callbacks: posted to URLs of this machine only."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from yarl import URL

from vocalsep_async.emulator.callback_log import CallbackLog, CallbackRecord
from vocalsep_async.emulator.loopback import LoopbackResolver, loopback_url
from vocalsep_async.emulator.settings import EmulatorSettings
from vocalsep_async.emulator.tasks import Clock, Task

_ATTEMPTS = 3
_PAUSE = 1.0  # seconds between two attempts at speed 1; the services document none
_TIMEOUT = aiohttp.ClientTimeout(total=15.0)  # the documented time for a response
_JSON = {"Content-Type": "application/json"}
_logger = logging.getLogger("vocalsep_async.emulator")


def signature_headers(key: str | None, task_id: str) -> dict[str, str]:
    """Return the headers that kie.ai documents for signed callbacks; none if *key* is None."""
    if key is None:
        return {}
    timestamp = str(int(time.time()))
    message = f"{task_id}.{timestamp}".encode("utf-8", "surrogatepass")
    digest = hmac.new(key.encode(), message, hashlib.sha256).digest()
    return {
        "X-Webhook-Timestamp": timestamp,
        "X-Webhook-Signature": base64.b64encode(digest).decode(),
    }


class CallbackSender:
    """Posts a callback at the end of each scheduled task.

    It belongs to one event loop; all methods must be called in that loop.

    Args:
        settings: the options.
        clock: the clock of the tasks.
        payload: returns the body to post for a task.
        log: receives a record of each attempt.
    """

    def __init__(
        self,
        settings: EmulatorSettings,
        clock: Clock,
        payload: Callable[[Task], dict[str, Any]],
        log: CallbackLog,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._payload = payload
        self._log = log
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=LoopbackResolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMEOUT,
        )
        self._deliveries: dict[str, asyncio.Task[None]] = {}

    def schedule(self, task: Task) -> None:
        """Post a callback when *task* ends, if its callback URL is one of this machine.

        A second call for a task replaces the first, as the end of the task may have moved.
        """
        url = loopback_url(task.callback_url)
        if url is None:
            return
        previous = self._deliveries.get(task.task_id)
        if previous is not None:
            previous.cancel()
        # The dictionary also keeps the asyncio tasks from being garbage-collected.
        self._deliveries[task.task_id] = asyncio.create_task(self._deliver_at_end(task, url))

    async def aclose(self) -> None:
        """Cancel all deliveries."""
        deliveries = self._deliveries.values()
        for delivery in deliveries:
            delivery.cancel()
        if deliveries:
            await asyncio.wait(deliveries)
        await self._session.close()

    async def _deliver_at_end(self, task: Task, url: URL) -> None:
        # A loop, because a timer may fire a little early; no event could replace the sleep.
        while (left := task.ends_at - self._clock.now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        if not await self._deliver(task, url):
            task.callback_failed()

    async def _deliver(self, task: Task, url: URL) -> bool:
        for attempts_made in range(_ATTEMPTS):
            if attempts_made:
                await asyncio.sleep(_PAUSE / self._settings.speed)
            if await self._post(task, url):
                return True
        return False

    async def _post(self, task: Task, url: URL) -> bool:
        """Post once; return whether the response was HTTP 200, the only documented success."""
        headers = signature_headers(self._settings.webhook_key, task.task_id)
        body = json.dumps(self._payload(task)).encode()
        at = self._clock.now()
        status = await self._status(task, url, body, headers)
        self._log.write(
            CallbackRecord(
                at=at,
                task_id=task.task_id,
                url=str(url),
                headers=headers,
                body=body,
                http_status=status,
            )
        )
        return status == 200

    async def _status(
        self, task: Task, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> int | None:
        """Post *body*; return the HTTP status, or None if there was no answer in time."""
        try:
            # Without redirects, which could lead to another machine.
            async with self._session.post(
                url, data=body, headers={**_JSON, **headers}, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            _logger.info("callback of task %r: %r", task.task_id, error)
            return None
        _logger.info("callback of task %r: HTTP %d", task.task_id, status)
        return status
