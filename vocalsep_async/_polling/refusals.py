"""Refusals of the account, which end all waits once they are certain."""

from __future__ import annotations

CONFIRMATION = 1.0
"""Seconds until the poll that is to confirm a refusal of the account."""


class Refusals:
    """Decides whether a refusal of the account is certain enough.

    Where polls have succeeded before, the first one is not: it may come from something in between.
    A poll that is sent after it has to confirm it.
    """

    def __init__(self) -> None:
        self.has_succeeded = False
        """Whether any poll did."""
        self._refused_at: float | None = None
        """The first refusal, unless a poll has succeeded since."""

    def on_success(self) -> None:
        """A poll succeeded."""
        self.has_succeeded, self._refused_at = True, None

    def confirms(self, sent: float, now: float) -> bool:
        """Whether a refusal that came at *now*, of a poll sent at *sent*, is certain."""
        if not self.has_succeeded:
            return True
        if self._refused_at is None:
            self._refused_at = now
        return sent > self._refused_at

    def move(self, shift: float) -> None:
        """Go on with a clock that is *shift* seconds ahead."""
        if self._refused_at is not None:
            self._refused_at += shift
