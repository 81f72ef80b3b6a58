"""Listens for callbacks on this machine, and says how they are verified."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from aiohttp import web
from aiohttp.http import HttpProcessingError
from attrs import asdict, field, frozen

from vocalsep_async import ConfigurationError, VocalSepClient
from vocalsep_async._signing import Secrets
from vocalsep_async._text import counted
from vocalsep_async.cli.output import Output
from vocalsep_async.contrib.aiohttp import CallbackReceiver
from vocalsep_async.webhooks import CallbackUrl, ReceiverStats

_KEY_VARIABLE = "VOCALSEP_WEBHOOK_KEY"
_ADDRESS_VARIABLE = "VOCALSEP_CALLBACK_SECRET"

_HOST = "127.0.0.1"
_SHUTDOWN = 1.0
"""Seconds that requests under way are given at the end."""
_WORDS = {
    "woke": "woke a wait",
    "unawaited": "not waited for",
    "unfinished": "of unfinished tasks",
    "unavailable": "outside the run",
}
"""Counters of a receiver whose names say too little."""


def _is_of_this_program(record: logging.LogRecord) -> bool:
    """Whether a record of the server is about more than a request that is no HTTP."""
    # Such a record repeats the bytes of the request, which may be the address of a callback.
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


_logger = logging.getLogger("vocalsep_async.callbacks")
_logger.addFilter(_is_of_this_program)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@frozen
class Verification:
    """How callbacks are verified: by signatures, by secret addresses, by both, or not at all.

    Attributes:
        key: the key of signatures; None if they are not checked.
        address: the secret address; None if addresses are not checked.
    """

    # Hidden, as tracebacks may show local variables.
    key: str | None = field(repr=False)
    address: CallbackUrl | None

    @classmethod
    def from_environment(cls) -> Self:
        """What the environment variables say.

        Raises:
            ConfigurationError: one of them is set, and unusable.
        """
        secret = _checked(_ADDRESS_VARIABLE)
        # Checks depend on the secret alone: proxies change what stands before it.
        address = None if secret is None else CallbackUrl(f"http://{_HOST}", secret)
        return cls(_checked(_KEY_VARIABLE), address)

    @property
    def is_none(self) -> bool:
        """Whether callbacks are accepted from any sender."""
        return self.key is None and self.address is None

    def __str__(self) -> str:
        if self.is_none:
            return (
                "unverified, and so taken as hints only: set "
                f"{_KEY_VARIABLE} (signatures of kie.ai) or {_ADDRESS_VARIABLE} (secret addresses)"
            )
        checked = {"signature": self.key, "address": self.address}
        return f"verified by their {' and '.join(name for name in checked if checked[name])}"


def _checked(variable: str) -> str | None:
    """The value of an environment variable; None if it is not set.

    Raises:
        ConfigurationError: it is set, and no secret; the message names the variable.
    """
    if variable in os.environ:
        Secrets(os.environ[variable], variable)
    return os.environ.get(variable)


@asynccontextmanager
async def receiving(
    client: VocalSepClient, port: int, output: Output, *, as_json: bool
) -> AsyncIterator[None]:
    """A block in which callbacks wake the waits of *client*; their counts are printed at its end.

    Args:
        client: is open during the block.
        port: the port of 127.0.0.1; 0 for any that is free.
        output: where to print.
        as_json: whether the counts are printed as a result, in JSON.

    Raises:
        ConfigurationError: the port is in use, or a variable of the environment is unusable.
    """
    verification = Verification.from_environment()
    receiver = CallbackReceiver(
        client,
        verification.address,
        keys=verification.key,
        unverified=verification.is_none,
    )
    async with listening(port, receiver.handle) as url:
        announce(url, port, verification, output)
        yield
    if as_json:
        output.result({"callbacks": asdict(receiver.stats)})
    else:
        output.info(counts(receiver.stats))


@asynccontextmanager
async def listening(port: int, handle: Handler) -> AsyncIterator[str]:
    """A block in which *handle* answers all requests to *port* of this machine; yields the URL.

    Raises:
        ConfigurationError: the port is in use, or not for this user.
    """
    server = web.Server(handle, access_log=None, logger=_logger)
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN)
    await runner.setup()
    try:
        await _listen(runner, port)
        yield f"http://{_HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _listen(runner: web.ServerRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, _HOST, port).start()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on port {port}: {os.strerror(error.errno or errno.EIO)}; "
            "give another port, or 0 for any that is free"
        ) from error


def announce(url: str, port: int, verification: Verification, output: Output, *more: str) -> None:
    """Say where callbacks are received, and how they are verified."""
    # A port that was not chosen has to be known, also when quiet.
    say = output.info if port else output.warn
    say("; ".join((f"listening for callbacks on {url}", f"they are {verification}", *more)))


def counts(stats: ReceiverStats) -> str:
    """What became of callbacks, on one line."""
    found = {name: count for name, count in asdict(stats).items() if count and name != "received"}
    parts = [
        f"{count:,} {_WORDS.get(name, name.replace('_', ' '))}" for name, count in found.items()
    ]
    received = f"{counted(stats.received, 'callback')} received"
    return f"{received}: {', '.join(parts)}" if parts else received
