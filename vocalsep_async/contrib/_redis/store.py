"""The connection to the store: an answer or an error, in bounded time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from redis import exceptions as failures
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from vocalsep_async._tasks import closer_of
from vocalsep_async.contrib._redis.learning import LEARNED
from vocalsep_async.contrib._redis.protocol import SCRIPT
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.policies import STORE_ANSWER_PATIENCE

_SHAS = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    for script in (SCRIPT, LEARNED)
}
_UNKNOWN_USER = (failures.AuthenticationError, failures.AuthorizationError)
_PASSING = ("BUSY", "LOADING", "MISCONF", "NOREPLICAS", "READONLY", "OOM", "MASTERDOWN")
"""How answers begin of a store that may serve again as it is."""
_PASSING_ERRORS = (
    failures.BusyLoadingError,
    failures.ClusterError,
    failures.OutOfMemoryError,
    failures.ReadOnlyError,
)
Client = Redis | RedisCluster


class StoreLostError(Exception):
    """The store has not answered; the message says what was observed."""


class StoreRefusedError(Exception):
    """The store does not let this process use it; the message is the store's."""


def client_of(url: object) -> Redis:
    """A client of the store at *url*, which tries nothing twice.

    Raises:
        InvalidArgumentError: *url* is no URL of a store.
    """
    if not isinstance(url, str):
        raise InvalidArgumentError("the store must be a URL, or a client of redis.asyncio")
    try:
        return Redis.from_url(
            url,
            # A question that is asked again is one of ours, and has an id.
            retry=Retry(NoBackoff(), 0),
            # The patience of `Store.ask` is for all of it.
            socket_timeout=None,
            socket_connect_timeout=None,
        )
    except ValueError:
        # Without the reason, which may hold a part of a password.
        raise InvalidArgumentError(
            "the URL of the store must be like redis://host:6379/0, rediss://host or unix:///path"
        ) from None


class Store:
    """Runs the scripts in the store, in the running event loop, with which its connection ends.

    Args:
        client: of the store, bound to this event loop.
        account: name of the account.
        is_borrowed: whether the client stays open.
    """

    def __init__(self, client: Client, account: str, *, is_borrowed: bool) -> None:
        self._client = client
        self._closer = None if is_borrowed else closer_of(self._close)
        # One tag, so that a cluster has all of them in one place.
        tag = f"{{vocalsep:{account}}}"
        # Versions of the package with other bins or another script have a key of their own.
        self._learned = f"{tag}:durations-1"
        self._keys = (tag, f"{tag}:window", f"{tag}:processes", self._learned)

    async def ask(self, arguments: Sequence[str | int]) -> Sequence[int]:
        """Run the script of the budget once; it may have run also if this raises.

        Raises:
            StoreLostError: no answer came, or one of a store that cannot serve at the moment.
            StoreRefusedError: the store refuses the script, or does not know this user.
        """
        answer = await self._answer(SCRIPT, self._keys, arguments)
        return cast("Sequence[int]", answer)

    async def learn(self, arguments: Sequence[str | int]) -> Sequence[Any]:
        """Run the script of what was learned once; it may have run also if this raises.

        Raises:
            StoreLostError: as `ask` does.
            StoreRefusedError: likewise, or its key holds something else.
        """
        return await self._answer(LEARNED, (self._learned,), arguments)

    async def _answer(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Sequence[Any]:
        try:
            async with asyncio.timeout(STORE_ANSWER_PATIENCE):
                return await self._ask_twice(script, keys, arguments)
        except TimeoutError:
            raise StoreLostError(f"no answer within {STORE_ANSWER_PATIENCE:g} s") from None
        except (failures.RedisError, OSError) as error:
            raise _meaning_of(error) from None

    async def _ask_twice(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Sequence[Any]:
        try:
            return await self._run(script, keys, arguments)
        except failures.ConnectionError as error:
            if _is_unknown_user(error) or isinstance(error, failures.BusyLoadingError):
                raise
            # After a restart of the store the connection from before fails once. Asked again, the
            # question has the same number and id, so that it counts once.
            return await self._run(script, keys, arguments)

    async def _run(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Sequence[Any]:
        client = cast("Any", self._client)
        try:
            result = await client.evalsha(_SHAS[script], len(keys), *keys, *arguments)
        except failures.NoScriptError:
            # It stays loaded until the store restarts or forgets its scripts.
            result = await client.eval(script, len(keys), *keys, *arguments)
        return cast("Sequence[Any]", result)

    async def aclose(self) -> None:
        """Close the connection, if it is not borrowed."""
        if self._closer is not None:
            await self._closer.aclose()

    async def _close(self) -> None:
        with suppress(failures.RedisError, OSError):
            await self._client.aclose()


def _is_unknown_user(error: Exception) -> bool:
    # While connecting, the client raises an error of the connection from it.
    return isinstance(error, _UNKNOWN_USER) or isinstance(error.__cause__, _UNKNOWN_USER)


def _meaning_of(error: Exception) -> StoreLostError | StoreRefusedError:
    # A long text is that of an error in a script.
    text = " ".join((str(error) or type(error).__name__).split())[:300]
    passes = isinstance(error, _PASSING_ERRORS) or text.startswith(_PASSING)
    is_final = isinstance(error, failures.ResponseError) or _is_unknown_user(error)
    if is_final and not passes:
        return StoreRefusedError(text)
    return StoreLostError(text)
