"""For how long the polls of a client have been without an answer."""

from __future__ import annotations

from vocalsep_async.errors import APIError, VocalSepError


class Silence:
    """Begins with the first poll after the last answer, and ends with the next answer."""

    def __init__(self) -> None:
        self._since: float | None = None

    def on_sent(self, now: float) -> None:
        """A poll is sent."""
        if self._since is None:
            self._since = now

    def on_error(self, error: VocalSepError, sent: float) -> None:
        """A poll that was sent at *sent* failed with *error*, which may be an answer of the API."""
        if isinstance(error, APIError) and error.in_envelope:
            self.end()
        # Others may have been answered meanwhile: then the silence is that of this poll.
        elif self._since is None:
            self._since = sent

    def end(self) -> None:
        """An answer came, or a poll was cancelled, which says nothing about the API."""
        self._since = None

    def lasts(self, now: float) -> float:
        """Seconds since its beginning; 0 if there is none."""
        return 0.0 if self._since is None else now - self._since
