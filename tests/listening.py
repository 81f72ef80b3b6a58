"""Listeners for tests."""

from __future__ import annotations

from typing import TypeVar

from vocalsep_async import Event

E = TypeVar("E", bound=Event)


class Recorder(list[Event]):
    """A listener that keeps the events of some kinds, or of all."""

    def __init__(self, *kinds: type[Event]) -> None:
        self._kinds = kinds or (Event,)

    def __call__(self, event: Event) -> None:
        if isinstance(event, self._kinds):
            self.append(event)

    @property
    def names(self) -> list[str]:
        return [event.name for event in self]

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self if isinstance(event, kind)]

    def the(self, kind: type[E]) -> E:
        """The only event of its kind."""
        (event,) = self.of(kind)
        return event
