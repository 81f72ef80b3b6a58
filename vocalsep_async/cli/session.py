"""One session of a command that follows tasks: from its client to its report."""

from __future__ import annotations

import shlex
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from attrs import frozen

from vocalsep_async import BatchStats, ClientStats, ConfigurationError, RateLimit, VocalSepClient
from vocalsep_async._text import counted
from vocalsep_async.cli.exits import Exit
from vocalsep_async.cli.following import Following, Order
from vocalsep_async.cli.places import check_file, check_folder
from vocalsep_async.cli.screen import Screen
from vocalsep_async.cli.stop import Stop

if TYPE_CHECKING:
    from vocalsep_async.cli.keeping import Keeper

LIMIT = RateLimit(20, 10.0)
"""What a client allows itself unless it is told otherwise."""


@frozen
class Session:
    """Follows what was ordered, until all have ended or somebody says stop.

    Args:
        order: what to follow.
        screen: where to show it.
        stop: ends it early.
        report: where to write the page; None for nowhere.
    """

    _order: Order
    _screen: Screen
    _stop: Stop
    _report: Path | None = None

    async def run(self, client: VocalSepClient) -> Exit:
        """Follow with *client*; what the command ends with.

        Raises:
            OSError: nothing can be written where it should be.
            VocalSepError: the batch could not be carried out.
        """
        self._check_places()
        async with AsyncExitStack() as stack:
            keeper = None
            if self._report is not None:
                keeper = await stack.enter_async_context(_keeper(client))
            following = Following(client, self._order, self._screen, keeper)
            status = Exit.INTERRUPTED
            with self._stop.scope():
                status = await following.run()
            if keeper is not None and self._report is not None:
                # The stop has done its work; what has arrived is worth a page all the same.
                with anyio.CancelScope(shield=True):
                    await keeper.write(self._report, at_once=self._stop.is_wanted)
        if self._stop.is_wanted:
            self._say_what_is_open(following)
        elif following.stats is not None:  # pragma: no branch - what was not stopped has ended
            self._screen.say(summary(following.stats, client.stats))
        if self._report is not None:
            self._screen.say(f"report: {self._report.absolute()}")
        return status

    def _check_places(self) -> None:
        if self._order.download_to is not None:
            check_folder(self._order.download_to)
        if self._report is not None:
            check_file(self._report)

    def _say_what_is_open(self, following: Following) -> None:
        if following.stats is None:
            self._screen.warn("stopped before it began: run the same command again")
            return
        kept = (
            f"{self._order.journal} has all of it: run the same command again"
            if self._order.journal is not None
            else "without --journal nothing of it is kept"
        )
        self._screen.warn(f"stopped with {counted(len(following.open_ids), 'task')} open; {kept}")


def _keeper(client: VocalSepClient) -> Keeper:
    try:
        # Its packages are large, and few runs want them.
        from vocalsep_async.cli.keeping import Keeper  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f'a report needs {error.name}, which is not here: pip install "vocalsep-async[cli]"'
        ) from error
    host = urlsplit(client.base_url).hostname or ""
    return Keeper(shlex.join(["vocalsep", *sys.argv[1:]]), host, LIMIT)


def summary(batch: BatchStats, client: ClientStats) -> str:
    """What came of it all, in a line."""
    told = (
        f"{counted(batch.finished, 'task')}: {batch.succeeded} succeeded, {batch.failed} failed; "
        f"{counted(client.requests, 'request')}, {client.throttled:,} refused"
    )
    if batch.mean_delay is None:
        return told
    return f"{told}; known {batch.mean_delay:.1f} s after their end, on average"
