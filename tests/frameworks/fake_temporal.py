"""What a server and a worker of Temporal do with one activity, without either of them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import deque
from datetime import timedelta
from typing import Any

from temporalio.client import AsyncActivityCancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from vocalsep_async import VocalSepClient
from vocalsep_async.contrib.temporal import (
    SeparationActivity,
    SeparationInput,
    SeparationResult,
)

ROUND_TRIP = 0.01
"""Seconds until the server answers a heartbeat."""


def unavailable(message: str = "unavailable") -> RPCError:
    return RPCError(message, RPCStatusCode.UNAVAILABLE, b"")


class FakeTemporal:
    """A server with one activity, as the client of a worker.

    Attributes:
        details: the details of the last heartbeat, which the next attempt gets.
        accepted: those of all heartbeats that were accepted.
        worker: those of the heartbeats that the worker was asked to send.
        answers: errors for the next heartbeats; None accepts one.
        is_away: whether no heartbeat arrives.
        is_cancelled: whether the workflow has cancelled the activity.
        heartbeat_timeout: of the activity.
    """

    def __init__(self) -> None:
        self.details: tuple[Any, ...] = ()
        self.accepted: list[dict[str, Any]] = []
        self.worker: list[dict[str, Any]] = []
        self.answers: deque[Exception | None] = deque()
        self.is_away = False
        self.is_cancelled = False
        self.heartbeat_timeout: timedelta | None = timedelta(seconds=6)
        self._attempt = 0
        self._environment: ActivityEnvironment | None = None

    def attempt(self, **changed: Any) -> ActivityEnvironment:
        """Begin an attempt; heartbeats of those before it are refused from now on."""
        self._attempt += 1
        environment = ActivityEnvironment(client=self)  # type: ignore[arg-type]
        environment.info = dataclasses.replace(
            environment.info,
            attempt=self._attempt,
            heartbeat_details=self.details,
            heartbeat_timeout=self.heartbeat_timeout,
            task_token=str(self._attempt).encode(),
            **changed,
        )
        environment.on_heartbeat = lambda details: self._on_worker(environment, details)
        self._environment = environment
        return environment

    def _on_worker(self, environment: ActivityEnvironment, details: dict[str, Any]) -> None:
        self.worker.append(details)
        asyncio.get_running_loop().call_later(ROUND_TRIP, self._from_worker, environment, details)

    def _from_worker(self, environment: ActivityEnvironment, details: dict[str, Any]) -> None:
        is_stale = environment is not self._environment
        if self.is_cancelled or is_stale:
            environment.cancel()
        if not is_stale and not self.is_away:
            self.details = (details,)

    def get_async_activity_handle(self, *, task_token: bytes) -> Handle:
        return Handle(self, task_token)

    async def on_heartbeat(self, task_token: bytes, details: dict[str, Any]) -> None:
        plain = json.loads(json.dumps(details))
        await asyncio.sleep(ROUND_TRIP)
        if task_token != str(self._attempt).encode():
            raise RPCError("no such attempt", RPCStatusCode.NOT_FOUND, b"")
        if self.is_away:
            raise unavailable()
        error = self.answers.popleft() if self.answers else None
        if error is not None:
            raise error
        self.details = (plain,)
        self.accepted.append(plain)
        if self.is_cancelled:
            raise AsyncActivityCancelledError

    @property
    def steps(self) -> list[str]:
        """How far the song was, each step once."""
        all_of_them = [each["step"] for each in self.accepted]
        return [step for n, step in enumerate(all_of_them) if not n or step != all_of_them[n - 1]]


class Handle:
    def __init__(self, server: FakeTemporal, task_token: bytes) -> None:
        self._server = server
        self._task_token = task_token

    async def heartbeat(self, details: dict[str, Any], *, rpc_timeout: timedelta) -> None:
        assert rpc_timeout <= timedelta(seconds=10)
        await self._server.on_heartbeat(self._task_token, details)


async def separate(
    server: FakeTemporal, client: VocalSepClient, song: SeparationInput, **changed: Any
) -> SeparationResult:
    """Make one attempt."""
    environment = server.attempt(**changed)
    return await environment.run(SeparationActivity(client).separate, song)
