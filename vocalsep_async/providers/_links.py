"""Links and their keys: what is a link, and which stem a key stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vocalsep_async.models import STEM_NAMES
from vocalsep_async.providers._spellings import LINKS

LINK_KEYS = frozenset(LINKS.values())
DOCUMENTED = LINK_KEYS | {"originData", "id"}
"""The keys of a documented result."""
_is_web = re.compile(r"https?://[^\s/?#]", re.IGNORECASE).match
_has_host = re.compile(r"(?://)?[\w-]+(?:\.[\w-]+)+(?::[0-9]{1,5})?/").match
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_BY_CHANCE = re.compile(r"[a-z]{1,2}url")
"""Words such as "curl", which end like the key of a link by chance."""
_LONGEST_NAME = 40
_TOGETHER = {name.replace("_", ""): name for name in STEM_NAMES}
"""Documented names by how they read without their gaps."""
_OTHER_WORDS = frozenset(
    {
        *("callback", "webhook", "notify", "redirect", "request"),
        *("image", "cover", "avatar", "thumbnail", "picture", "photo", "icon", "logo", "video"),
        *("source", "input", "upload"),
    }
)
"""Words in the names of links to something else than a stem: an address of the caller, a picture,
or the song that was sent."""
_OTHER_NAMES = frozenset({"audio", "call_back", "web_hook"})
"""Such names as a whole; a link to audio without a name is a track."""
_ANY_RESULT = frozenset({"result", "output", "file", "download", "stem", "track", "data", "audio"})
"""Names that do not tell one stem from another."""


def link_in(value: Any) -> str | None:
    """The link that *value* is, without blanks around it; None if it is none.

    Words such as "None" are none, and neither is what no client can fetch: a path without a host,
    or another scheme than HTTP's.
    """
    if not isinstance(value, str):
        return None
    link = value.strip()
    return link if _is_web(link) or _has_host(link) else None


def web_link_in(value: Any) -> str | None:
    """The link with a scheme that *value* is, as `link_in` gives it; None if it is none."""
    if not isinstance(value, str):
        return None
    link = value.strip()
    return link if _is_web(link) else None


def stem_name(key: str) -> str | None:
    """The name of the stem whose link has the key *key*; None if it is no key of a stem."""
    if key[-3:].lower() != "url" or _BY_CHANCE.fullmatch(key):
        return None
    # The server chose the key, and the name becomes that of a file.
    name = _name_of(key[:-3])
    return None if is_other(name) else name or "track"


def _name_of(text: str) -> str:
    name = "_".join(_WORD.findall(text)).lower()[:_LONGEST_NAME].strip("_")
    return _TOGETHER.get(name.replace("_", ""), name)


def is_other(name: str) -> bool:
    """Whether a link of that name is one to something else than a stem."""
    return name in _OTHER_NAMES or not _OTHER_WORDS.isdisjoint(name.split("_"))


def is_other_key(key: str) -> bool:
    """Whether what is under *key* is about something else than stems."""
    return not _OTHER_WORDS.isdisjoint(_name_of(key).split("_"))


def group_name(group: Any) -> str:
    """The name of the stem that a group, such as "Backing Vocals" or "vocalUrl", stands for."""
    text = group if isinstance(group, str) else ""
    name = stem_name(text) or _name_of(text) or "track"
    return next((stem for stem in (name.removesuffix("s"), f"{name}s") if stem in LINKS), name)


def is_of_several(key: str) -> bool:
    """Whether *key* is one of several links, such as "resultUrls"."""
    return key[-4:].lower() == "urls"


def own_name(key: str) -> str | None:
    """The name of the one stem that *key* stands for; None if it may stand for any."""
    key = key[:-1] if is_of_several(key) else key
    name = stem_name(key)
    is_any = name is None or name == "track" or name in _ANY_RESULT
    name = group_name(key) if is_any else name
    return name if not is_any or name in LINKS else None


class FreeNames:
    """Gives each name once; where it is taken, with the first number that makes it another one.

    Args:
        taken: names that are taken.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._numbers: dict[str, int] = {}

    def take(self, name: str) -> str:
        """Return *name*, or *name* with a number."""
        free, number = name, self._numbers.get(name, 1)
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        # Counted on, because a search from 2 for each of many equal names would not end.
        self._numbers[name] = number
        self._taken.add(free)
        return free


def key_of(name: str) -> str:
    """The key for the link of the stem *name*."""
    return LINKS.get(name, f"{name}_url")


def undocumented(place: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The links under keys that are not documented: the key, the name of the stem and the link."""
    # Most results have none, and are long.
    if place.keys() <= DOCUMENTED:
        return
    for key, value in place.items():
        if key in LINK_KEYS or not isinstance(value, str):
            continue
        name = stem_name(key)
        if name is not None and (link := web_link_in(value)) is not None:
            yield key, name, link
