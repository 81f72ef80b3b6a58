"""For how long the polls of a client have been without an answer."""

from __future__ import annotations

from vocalsep_async.errors import APIError, VocalSepError


class Silence:
    """Begins with the first poll after the last answer, and ends with the next answer.

    A poll that is cancelled says nothing about the API: the silence is then that of the others.
    """

    def __init__(self) -> None:
        self._failed_since: float | None = None
        """When the first poll was sent that has failed since the last answer; None without one."""
        self._under_way: list[float] = []
        """When polls were sent that have not ended; only those since the last answer."""

    def on_sent(self, now: float) -> None:
        """A poll is sent."""
        self._under_way.append(now)

    def on_error(self, error: VocalSepError, sent: float) -> None:
        """A poll that was sent at *sent* failed with *error*, which may be an answer of the API."""
        if isinstance(error, APIError) and error.in_envelope:
            self.end()
            return
        self._drop(sent)
        # Others may have been answered meanwhile: then the silence is that of this poll.
        if self._failed_since is None or sent < self._failed_since:
            self._failed_since = sent

    def on_cancelled(self, sent: float) -> None:
        """A poll that was sent at *sent* was cancelled."""
        self._drop(sent)

    def _drop(self, sent: float) -> None:
        # It is not there if an answer to another poll came after it was sent.
        if sent in self._under_way:
            self._under_way.remove(sent)

    def end(self) -> None:
        """An answer came."""
        self._failed_since = None
        self._under_way.clear()

    def lasts(self, now: float) -> float:
        """Seconds since its beginning; 0 if there is none."""
        failed = now if self._failed_since is None else self._failed_since
        return now - min(failed, *self._under_way[:1], now)
