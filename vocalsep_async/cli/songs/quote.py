"""What a run of songs would cost, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from vocalsep_async import SeparationType
from vocalsep_async._songs.preview import SongPreview, SongState
from vocalsep_async._text import counted, printable
from vocalsep_async.providers import Price

_STATES: Mapping[SongState, str] = {
    "known": "known to the journal",
    "same": "the same as another one",
    "uncertain": "uncertain, and left alone",
}
"""What becomes of a song that is not created."""


def amount(price: float) -> str:
    """``1 credit``, ``1,250 credits``, ``2.5 credits``."""
    number = f"{price:,.15g}"
    return f"{number} credit" if number == "1" else f"{number} credits"


@frozen(kw_only=True)
class Quote:
    """What a run of songs would cost.

    Attributes:
        songs: what is known of each song.
        prices: of the provider; a type that is not listed has no known price.
        creates_again: whether songs whose fate is not known are created once more.
        resubmit: how often a song that failed is created again.
        most: credits that may be spent; None for no limit.
    """

    songs: tuple[SongPreview, ...]
    prices: Mapping[SeparationType, Price]
    creates_again: bool = False
    resubmit: int = 0
    most: float | None = None

    def is_billed(self, song: SongPreview) -> bool:
        """Whether a song would be created."""
        return song.state in ("new", "again") or (song.state == "uncertain" and self.creates_again)

    @property
    def billed(self) -> tuple[SongPreview, ...]:
        """The songs that would be created."""
        return tuple(filter(self.is_billed, self.songs))

    @property
    def total(self) -> float | None:
        """Credits for them, without those that fail and are created again; None if unknown."""
        costs = list(map(self._credits, self.billed))
        return None if None in costs else sum(filter(None, costs))

    def line(self, song: SongPreview) -> str:
        """A song, and what would become of it."""
        price = self._credits(song)
        costs = "its price is not known" if price is None else amount(price)
        what = f"to be created, {costs}" if self.is_billed(song) else _STATES[song.state]
        return f"{printable(song.song.label or '')}  {song.type}  {what}"

    def row(self, song: SongPreview) -> dict[str, Any]:
        """The same as plain JSON values; credits are None where the price is not known."""
        return {
            "label": song.song.label,
            "type": song.type,
            "state": song.state,
            "credits": self._credits(song),
        }

    def _credits(self, song: SongPreview) -> float | None:
        if not self.is_billed(song):
            return 0.0
        price = self.prices.get(song.type)
        return None if price is None else price.credits

    def lines(self) -> Iterator[str]:
        """The songs, and what they cost."""
        yield f"{counted(len(self.songs), 'song')}: {self._states()}"
        kinds = Counter(each.type for each in self.billed)
        for kind, number in kinds.items():
            yield f"  {self._line(kind, number)}"
        if len(kinds) > 1 and self.total is not None:
            yield f"  {amount(self.total)} in all"
        if self.resubmit and kinds:
            yield (
                "  and as much again for each time that a song fails and is created again, "
                f"{counted(self.resubmit, 'time')} at most"
            )
        if self.most is not None and kinds:
            yield f"  no more than {amount(self.most)} are spent"

    def _states(self) -> str:
        others = Counter(each.state for each in self.songs if not self.is_billed(each))
        words = (
            (len(self.billed), "to be created"),
            *((others[key], _STATES[key]) for key in _STATES),
        )
        return ", ".join(f"{number:,} {word}" for number, word in words if number)

    def _line(self, kind: SeparationType, number: int) -> str:
        price = self.prices.get(kind)
        if price is None:
            return f"{kind}: {counted(number, 'song')}; its price is not known"
        return (
            f"{kind}: {number:,} × {amount(price.credits)} = {amount(number * price.credits)}, "
            f"as {price.source} said on {price.read_on}"
        )

    def with_account(self, left: float) -> str:
        """What the account has, and for how many songs that is enough if it is not for all."""
        has = f"the account has {amount(left)}"
        if self.total is None or self.total <= left:
            return has
        costs = filter(None, map(self._credits, self.billed))
        return f"{has}: enough for {enough_for(costs, left):,} of {len(self.billed):,}"


def enough_for(costs: Iterable[float], left: float) -> int:
    """For how many of the *costs*, in their order, *left* is enough."""
    number = 0
    for cost in costs:
        left -= cost
        if left < 0:
            break
        number += 1
    return number
