"""Limiters on a real store in virtual time: the script reads the event loop's clock.

A `Link` is the connection of one process: it may be slow, lose answers, or be cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import anyio
import pytest
import redis
from anyio.lowlevel import checkpoint
from store_histories import CONTROLLED, set_clock
from stores import StoreServer

from vocalsep_async.contrib import redis as contrib
from vocalsep_async.contrib._redis.learning import LEARNED
from vocalsep_async.contrib._redis.store import StoreLostError, StoreRefusedError

EPOCH = 1_700_000_000


class Network:
    """The store as all processes of a test reach it.

    Attributes:
        calls: how many calls were run.
        is_up: whether the store can be reached.
        is_hung: whether it answers only after all patience.
        delay: seconds on the way to the store, and as many back.
        lose: how many of the next answers get lost.
        learned: how many calls about durations were run.
        lose_learned: how many of their next answers get lost.
        refusal: why the store refuses calls; None if it does not.
    """

    def __init__(self, store: StoreServer) -> None:
        self._client = redis.Redis.from_url(store.url)
        self._script = self._client.register_script(CONTROLLED)
        self.learned = self.lose_learned = 0
        self._learned = self._client.register_script(LEARNED)
        self.calls = 0
        self.is_up, self.is_hung = True, False
        self.delay = 0.001
        self.lose = 0
        self.refusal: str | None = None
        self.cut: set[object] = set()

    def run(self, keys: Sequence[str], arguments: Sequence[str | int]) -> Sequence[int]:
        self.calls += 1
        set_clock(self._client, EPOCH + asyncio.get_running_loop().time())
        return cast("Sequence[int]", self._script(keys=keys, args=arguments))

    def run_learned(self, keys: Sequence[str], arguments: Sequence[str | int]) -> Sequence[Any]:
        self.learned += 1
        try:
            result = self._learned(keys=keys, args=arguments)
        except redis.ResponseError as error:
            raise StoreRefusedError(str(error)) from None
        if self.lose_learned:
            self.lose_learned -= 1
            raise StoreLostError("connection reset")
        return cast("Sequence[Any]", result)

    def empty(self) -> None:
        """What a restart does to a store that keeps nothing."""
        self._client.flushall()

    def close(self) -> None:
        self._client.close()


class Link:
    """A `Store` of one process."""

    network: Network

    def __init__(self, client: object, account: str, *, is_borrowed: bool) -> None:
        ends = ("", ":window", ":processes", ":durations-1")
        self._keys = tuple(f"{{vocalsep:{account}}}{end}" for end in ends)
        self.is_borrowed = is_borrowed
        self.client = client

    async def ask(self, arguments: Sequence[str | int]) -> Sequence[int]:
        return await self._run(self.network.run, self._keys, arguments)

    async def learn(self, arguments: Sequence[str | int]) -> Sequence[Any]:
        return await self._run(self.network.run_learned, self._keys[3:], arguments)

    async def _run(
        self,
        run: Callable[[Sequence[str], Sequence[str | int]], Sequence[Any]],
        keys: Sequence[str],
        arguments: Sequence[str | int],
    ) -> Sequence[Any]:
        network = self.network
        if not network.is_up or arguments[0] in network.cut:
            await anyio.sleep(0.01)
            raise StoreLostError("connection refused")
        if network.is_hung:
            await anyio.sleep(1.5)
            raise StoreLostError("no answer within 1.5 s")
        await anyio.sleep(network.delay)
        if network.refusal is not None:
            raise StoreRefusedError(network.refusal)
        result = run(keys, arguments)
        await anyio.sleep(network.delay)
        if network.lose:
            network.lose -= 1
            raise StoreLostError("connection reset")
        return result

    async def aclose(self) -> None:
        await checkpoint()


@contextmanager
def network_in_place(store: StoreServer, patch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Have every `RedisLimiter` reach *store* through a network of the test's."""
    network = Network(store)
    patch.setattr(contrib, "Store", type("TestLink", (Link,), {"network": network}))
    yield network
    network.close()
