"""What a process tells the store about durations, and gets from it, without I/O."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from vocalsep_async._learned import SharedDurations
from vocalsep_async._scheduling.counts import DurationCounts
from vocalsep_async._scheduling.hazards import Counts, HazardTable
from vocalsep_async.policies import STORE_BEAT

LEARNED = files(__package__).joinpath("learned.lua").read_text(encoding="utf-8")
"""The script that adds what a process has observed."""
_KINDS = HazardTable.KINDS


class Learning:
    """Learns together with the other processes of an account that use the same provider.

    What was observed is sent in numbered batches: a batch whose reply was lost is sent again, as it
    was, and the store takes it once. What the process knew before it joined is for an empty store.

    Args:
        durations: what the clients of the account have learned in this process.
        provider: name of the provider.

    Attributes:
        store_version: of what the store holds, as its last reply has it.
        is_off: whether the store refuses to take and give durations.
    """

    def __init__(self, durations: SharedDurations, provider: str) -> None:
        self._fields = [f"{provider}/{'unknown' if kind is None else kind}" for kind in _KINDS]
        self.store_version = 0
        self.is_off = False
        self._begin()
        self.share(durations)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._name = secrets.token_hex(8)
        self._number = 0
        self._sent: tuple[Counts, Counts] | None = None
        """The batch that the store may not have got, and all that was known with it."""

    def share(self, durations: SharedDurations) -> None:
        """Go on with *durations*, of the account in the running event loop."""
        durations.begin_outgoing()
        self._durations = durations
        self._version: int | None = None
        """Of what *durations* has taken over from the store; None for nothing."""
        self._called_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether to call the store at *now*: something is new, and the last call a beat ago."""
        if self.is_off or (self._called_at is not None and now - self._called_at < STORE_BEAT):
            return False
        return self._version != self.store_version or self.has_news

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return self._sent is not None or self._durations.has_outgoing

    def next_call(self, now: float) -> list[str | int]:
        """What the script gets; the same batch again until `on_reply`."""
        if self._process != os.getpid():
            # Forked: the parent sends its batch itself.
            self._begin()
        self._called_at = now
        if self._sent is None:
            self._sent = self._durations.take_with_known()
            self._number += 1
        return [
            *(self._name, self._number, self._version or 0),
            *map(_json, self._sent),
            *self._fields,
        ]

    def on_reply(self, raw: Sequence[Any]) -> bool:
        """Take over what the store holds; False if some of that were no counts."""
        version, damaged, *values = raw
        self._sent = None
        self._version = self.store_version = int(version)
        if values:
            self._durations.replace(dict(zip(_KINDS, map(_counts, values), strict=True)))
        return not int(damaged)


def _json(counts: Counts) -> str:
    return json.dumps([counts[kind].to_dict() for kind in _KINDS], separators=(",", ":"))


def _counts(text: Any) -> DurationCounts:
    return DurationCounts.from_dict(json.loads(text))
