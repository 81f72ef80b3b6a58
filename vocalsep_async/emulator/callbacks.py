"""Callbacks: posted for real, but never to another machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from vocalsep_async.emulator.settings import Settings
from vocalsep_async.emulator.tasks import Clock, Task

_TRIES = 3
_PAUSE = 1.0  # seconds of life between two tries; nobody documents the real ones
_PATIENCE = aiohttp.ClientTimeout(total=15.0)  # the documented time to answer in
_log = logging.getLogger(__name__)


def loopback_url(text: str | None) -> URL | None:
    """Return *text* as a URL if it is one of this machine; None if it is not, or is no URL."""
    try:
        url = URL(text or "")
        host = url.host or ""
        is_ours = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return None
    return url if is_ours and url.scheme in {"http", "https"} else None


def signature_headers(key: str | None, task_id: str) -> dict[str, str]:
    """Return the headers that kie.ai documents for signed callbacks; none without a key."""
    if key is None:
        return {}
    timestamp = str(int(time.time()))
    message = f"{task_id}.{timestamp}".encode("utf-8", "surrogatepass")
    digest = hmac.new(key.encode(), message, hashlib.sha256).digest()
    return {
        "X-Webhook-Timestamp": timestamp,
        "X-Webhook-Signature": base64.b64encode(digest).decode(),
    }


class _LoopbackResolver(AbstractResolver):
    """Says that every name is this machine, so no odd hosts file leads elsewhere."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=found,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address, found in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))
            if family in {socket.AF_UNSPEC, found}
        ]

    async def close(self) -> None:
        """Nothing is held."""


class CallbackSender:
    """Tells the callback URLs of tasks that they have ended.

    It lives in one event loop; everything here has to be called in it.

    Args:
        settings: the options.
        clock: the one of the tasks.
        payload: what to post for a task.
    """

    def __init__(
        self, settings: Settings, clock: Clock, payload: Callable[[Task], dict[str, Any]]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._payload = payload
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_LoopbackResolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_PATIENCE,
        )
        self._watches: dict[str, asyncio.Task[None]] = {}

    def watch(self, task: Task) -> None:
        """Post when *task* ends, if its callback URL is one of this machine.

        A task that is watched already is watched anew, as its end may have moved.
        """
        url = loopback_url(task.callback_url)
        if url is None:
            return
        former = self._watches.get(task.task_id)
        if former is not None:
            former.cancel()
        self._watches[task.task_id] = asyncio.create_task(self._deliver_at_end(task, url))

    async def aclose(self) -> None:
        """Give up what is under way."""
        watches = self._watches.values()
        for watch in watches:
            watch.cancel()
        if watches:
            await asyncio.wait(watches)
        await self._session.close()

    async def _deliver_at_end(self, task: Task, url: URL) -> None:
        # In a loop, because timers may go off a little early. It is no event that is waited for.
        while (left := task.ends_at - self._clock.now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        if not await self._deliver(task, url):
            task.callback_failed()

    async def _deliver(self, task: Task, url: URL) -> bool:
        for tries_made in range(_TRIES):
            if tries_made:
                await asyncio.sleep(_PAUSE / self._settings.speed)
            if await self._post(task, url):
                return True
        return False

    async def _post(self, task: Task, url: URL) -> bool:
        """Try once; return whether the answer was HTTP 200, as is documented to be due."""
        headers = signature_headers(self._settings.webhook_key, task.task_id)
        try:
            async with self._session.post(
                url, json=self._payload(task), headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.info("callback of task %r: %r", task.task_id, error)
            return False
        _log.info("callback of task %r: HTTP %d", task.task_id, status)
        return status == 200
