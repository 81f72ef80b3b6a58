"""Labels in a run of songs: each belongs to one song, so that no two share the names of files."""

from __future__ import annotations

import asyncio

from attrs import define

from vocalsep_async._downloads.paths import folded, label_name
from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError


class Labels:
    """Which song of a run has which label: the first one of the source keeps it."""

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}

    def begin(self, label: str | None) -> LabelTurn:
        """Queue for a label; in the order of the source."""
        key = None if label is None else folded(label_name(label))
        return LabelTurn(self._names, key, label or "")


@define
class _Name:
    """A label, while songs that have it are remembered.

    Attributes:
        songs: how many they are.
        last: of the last of them, the identity of the song whose label it is; None for none.
    """

    last: asyncio.Future[str | None]
    songs: int = 1


class LabelTurn:
    """One song that has a label, or has to wait to see whose it is."""

    def __init__(self, names: dict[str, _Name], key: str | None, label: str) -> None:
        self._names = names
        self._key = key
        self._label = label
        self._own: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._before: asyncio.Future[str | None] | None = None
        if key is None:
            return
        name = names.get(key)
        if name is None:
            names[key] = _Name(self._own)
            return
        # Each waits for the one before it, so that the order of the source decides.
        self._before, name.last = name.last, self._own
        name.songs += 1

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

    def forget(self) -> None:
        """Give the label free, unless another song that has it is remembered; once, at the end."""
        if self._key is None:
            return
        name = self._names[self._key]
        name.songs -= 1
        if not name.songs:
            del self._names[self._key]

    def _pass_on(self, before: asyncio.Future[str | None]) -> None:
        if not self._own.done():
            self._own.set_result(before.result())
