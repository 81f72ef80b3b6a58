"""Names of songs: as short as possible, and no two that would lead to one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain, count

from vocalsep_async._downloads.paths import folded, label_name
from vocalsep_async._text import is_visible

_LONGEST = 100
"""Characters of a name that is made here, so that a number still fits behind it."""


def place_of(label: str) -> str:
    """What two labels have in common whose files would have one name."""
    return folded(label_name(label))


def readable(text: str) -> str:
    """*text* as a label: on one line, with nothing that does not show, and not too long."""
    shown = "".join(each if is_visible(each) else "_" for each in text)
    return " ".join(shown.split())[:_LONGEST].rstrip() or "song"


def unique(names: Sequence[Sequence[str]], taken: Collection[str] = ()) -> list[str]:
    """A name for each song that no other one has.

    Args:
        names: for each song its possible names, the best one first; each of them is `readable`.
        taken: the places of names that are not to be had.
    """
    ranks = [0] * len(names)
    while True:
        chosen = [each[rank] for each, rank in zip(names, ranks, strict=True)]
        counts = Counter(chain(map(place_of, chosen), taken))
        clashing = [
            at
            for at, name in enumerate(chosen)
            if counts[place_of(name)] > 1 and ranks[at] < len(names[at]) - 1
        ]
        if not clashing:
            return _numbered(chosen, set(taken))
        # All of them, so that none looks like the only one of its name.
        for at in clashing:
            ranks[at] += 1


def _numbered(names: Sequence[str], taken: set[str]) -> list[str]:
    """*names*, with a number behind those that are still not unique."""
    reserved = {place_of(name) for name in names} | taken
    given = set(taken)
    found = []
    for name in names:
        if place_of(name) in given:
            others = (f"{name} ({number})" for number in count(2))
            name = next(each for each in others if place_of(each) not in given | reserved)  # noqa: PLW2901
        given.add(place_of(name))
        found.append(name)
    return found
