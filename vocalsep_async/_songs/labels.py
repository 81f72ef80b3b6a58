"""Labels in a run of songs: each belongs to one song, so that no two share the names of files."""

from __future__ import annotations

import asyncio

from vocalsep_async._downloads.paths import folded, label_name
from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError


class Labels:
    """Which song of a run has which label: the first one of the source keeps it."""

    def __init__(self) -> None:
        self._owners: dict[str, asyncio.Future[str | None]] = {}
        """For each label the identity of its song, once that is known; None for none."""

    def begin(self, label: str | None) -> LabelTurn:
        """Queue for a label; in the order of the source."""
        key = None if label is None else folded(label_name(label))
        return LabelTurn(self._owners, key, label or "")


class LabelTurn:
    """One song that has a label, or has to wait to see whose it is."""

    def __init__(
        self, owners: dict[str, asyncio.Future[str | None]], key: str | None, label: str
    ) -> None:
        self._owners = owners
        self._key = key
        self._label = label
        self._own: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._before: asyncio.Future[str | None] | None = None
        if key is not None:
            self._before = owners.get(key)
            # Each waits for the one before it, so that the order of the source decides.
            owners[key] = self._own

    async def take(self, identity: str) -> None:
        """Take the label for the song of that identity.

        Raises:
            InvalidArgumentError: another song has it.
        """
        owner = None if self._before is None else await asyncio.shield(self._before)
        self._own.set_result(owner or identity)
        if owner not in (None, identity):
            raise InvalidArgumentError(
                f"two songs are called {printable(self._label)!r}, and their stems would have the "
                "same names; nothing was sent for the second one: give it another label, as in "
                "Song(source, label=...)"
            )

    def release(self) -> None:
        """Leave the label to the next song that has it, unless this one took it."""
        if self._own.done():
            return
        if self._before is None:
            self._own.set_result(None)
        else:
            self._before.add_done_callback(self._pass_on)

    def _pass_on(self, before: asyncio.Future[str | None]) -> None:
        if not self._own.done():
            self._own.set_result(before.result())
