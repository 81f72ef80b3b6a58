"""Sends polls outside the poll loop, for callers that wait for the answer themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from vocalsep_async._failures import may_help
from vocalsep_async._polling.poll_events import code_of
from vocalsep_async._request_queue import RequestSlot
from vocalsep_async._sender import RequestSender
from vocalsep_async.instrumentation import PollFinished, PollStarted
from vocalsep_async.models import SeparationTask, TaskRef
from vocalsep_async.providers import Request
from vocalsep_async.providers._decoder import age_of
from vocalsep_async.providers._routes import Routes


class DirectPolls:
    """Sends one poll at a time and reports it to listeners; such a poll serves no wait."""

    def __init__(self, sender: RequestSender, routes: Routes) -> None:
        self._sender = sender
        self._events = sender.events
        self._routes = routes

    def request(self, ref: TaskRef) -> Request:
        """The request that polls *ref*."""
        return self._routes.poll_request(ref.task_id, ref.route)

    def _decode(
        self, ref: TaskRef, status: int, headers: Mapping[str, str], body: bytes
    ) -> tuple[SeparationTask, float | None]:
        return self._routes.decoder(ref.route).task(ref, status, headers, body), None

    def _decode_with_age(
        self, ref: TaskRef, status: int, headers: Mapping[str, str], body: bytes
    ) -> tuple[SeparationTask, float | None]:
        task, _ = self._decode(ref, status, headers, body)
        return task, None if task.is_final else age_of(task, headers)

    def send_with_retries(
        self, ref: TaskRef, timeout: float | None
    ) -> Coroutine[Any, Any, tuple[SeparationTask, float | None]]:
        """Poll *ref* once, in as many tries as the `RetryPolicy` and *timeout* allow.

        Raises:
            VocalSepError: the last try failed; maintenance is not waited out.
        """
        request = self.request(ref)
        return self._sender.send_with_retries(
            request,
            lambda slot, attempt: self.send(
                slot, request, ref, attempt=attempt, failures=attempt - 1
            ),
            may_help,
            timeout,
        )

    async def send(
        self,
        slot: RequestSlot,
        request: Request,
        ref: TaskRef,
        *,
        attempt: int,
        failures: int,
        with_age: bool = False,
    ) -> tuple[SeparationTask, float | None]:
        """Send a poll in *slot*; return the record and, of a running task, its age if known.

        Args:
            slot: of the limiter.
            request: as `request` made it.
            ref: the task.
            with_age: whether the age is wanted, for which the answer's date is read.
            attempt: which poll of the task it is for the caller, from 1.
            failures: polls that failed in a row before.

        Raises:
            VocalSepError: the poll failed.
        """
        decode = partial(self._decode_with_age if with_age else self._decode, ref)
        if not self._events:
            return await self._sender.send(slot, request, decode)
        began = asyncio.get_running_loop().time()
        self._events.emit(PollStarted(task_id=ref.task_id, attempt=attempt, wait_ids=()))

        def finish(task: SeparationTask | None, error: BaseException | None) -> None:
            self._events.emit(
                PollFinished(
                    task_id=ref.task_id,
                    attempt=attempt,
                    wait_ids=(),
                    duration=asyncio.get_running_loop().time() - began,
                    code=code_of(error),
                    status=None if task is None else task.status,
                    error=error,
                    failures=0 if error is None else failures + 1,
                    next_poll_in=None,
                )
            )

        try:
            task, age = await self._sender.send(slot, request, decode)
        except BaseException as error:
            finish(None, error)
            raise
        finish(task, None)
        return task, age
