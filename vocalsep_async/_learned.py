"""How long the tasks of one account take, as its clients have learned together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from weakref import WeakSet, ref

from vocalsep_async._scheduling.counts import DurationCounts
from vocalsep_async._scheduling.hazards import Counts, HazardTable, are_enough
from vocalsep_async._tasks import call_in
from vocalsep_async.models import SeparationType

Versions = dict[SeparationType | None, int]
"""For each type of task, how often its counts have changed."""


class SharedDurations:
    """What the clients of an account have observed, in any event loop and thread.

    Each client has a table of its own, which only its event loop touches: the schedule relies on
    it between two of its steps. What a client observes is counted here as soon as one of its tasks
    ends, and the tables of the others take it over in their own event loops.

    A store that several processes share gives and takes the same counts: `take_outgoing` is what
    was observed in this process, and `replace` what all of them have observed.
    """

    def __init__(self) -> None:
        # Reentrant, for a client that the garbage collector ends in a thread that holds it.
        self._lock = threading.RLock()
        self._counts: Counts = {kind: DurationCounts() for kind in HazardTable.KINDS}
        self._versions: Versions = dict.fromkeys(HazardTable.KINDS, 0)
        self._outgoing: Counts | None = None
        """What was observed here since it was last taken; None where no store takes it."""
        self._untold = 0
        """Completions of which the other clients were not told."""
        self._learners: WeakSet[Learner] = WeakSet()

    @property
    def completions(self) -> int:
        """Number of finished tasks that were observed."""
        return self._counts[None].completions

    def join(self, learner: Learner) -> None:
        """Tell *learner* of what others observe."""
        with self._lock:
            self._learners.add(learner)

    def leave(self, learner: Learner) -> None:
        """Share no more with *learner*."""
        with self._lock:
            self._learners.discard(learner)

    def exchange(self, learner: Learner, new: Counts) -> Counts:
        """Count what is *new*; what the table of *learner* has to take over.

        Args:
            learner: of a client, whose known versions are brought up to date.
            new: what it has observed since the last call.
        """
        known = learner.known
        with self._lock:
            for kind, counts in new.items():
                self._add(kind, counts)
                known[kind] += 1
            if self._untold and are_enough(self._untold, self.completions):
                self._tell(learner)
            outdated = [kind for kind, version in self._versions.items() if version != known[kind]]
            known.update(self._versions)
            return {kind: self._counts[kind].copy() for kind in outdated}

    def _add(self, kind: SeparationType | None, counts: DurationCounts) -> None:
        self._counts[kind].add(counts)
        self._versions[kind] += 1
        # Every task counts there, whatever its type.
        self._untold += counts.completions if kind is None else 0
        if self._outgoing is not None:
            self._outgoing[kind].add(counts)

    def _tell(self, learner: Learner | None) -> None:
        self._untold = 0
        for each in tuple(self._learners):
            if each is not learner:
                each.call()

    # What replaces it

    def replace(self, counts: Counts, learner: Learner | None = None) -> None:
        """Replace what was observed so far by *counts*, for all clients.

        Args:
            counts: of all types; those of a store, or of a client that has loaded them.
            learner: of that client; None if it was a store: what that has not taken yet is added.
        """
        with self._lock:
            for kind, each in counts.items():
                self._counts[kind] = each.copy()
                self._versions[kind] += 1
                if self._outgoing is not None and learner is None:
                    self._counts[kind].add(self._outgoing[kind])
            if learner is not None:
                learner.known.update(self._versions)
            self._tell(learner)

    def begin_outgoing(self) -> None:
        """Keep what is observed from now on for `take_outgoing`; may be called again."""
        with self._lock:
            if self._outgoing is None:
                self._outgoing = {kind: DurationCounts() for kind in self._counts}

    @property
    def has_outgoing(self) -> bool:
        """Whether a completion waits for `take_outgoing`."""
        return self._outgoing is not None and self._outgoing[None].completions > 0

    def take_with_known(self) -> tuple[Counts, Counts]:
        """What `take_outgoing` returns, and all that is known at the same moment."""
        with self._lock:
            return self.take_outgoing(), {kind: each.copy() for kind, each in self._counts.items()}

    def take_outgoing(self) -> Counts:
        """What was observed in this process since the last call, for a store that counts it."""
        with self._lock:
            taken = self._outgoing or {kind: each.copy() for kind, each in self._counts.items()}
            self._outgoing = {kind: DurationCounts() for kind in self._counts}
            return taken

    def restart(self) -> None:
        """Go on in a process that was forked, without the clients of the one before."""
        # Another thread may have held the lock, which then stays locked in this process.
        self._lock = threading.RLock()
        self._learners = WeakSet()


class Learner:
    """Has the table of one client share what it learns, in the running event loop.

    Of the table and what is shared, the one with more tasks replaces the other: a client may have
    loaded what an earlier run has learned.

    Args:
        shared: of the account.
        table: of the client.
        on_change: called after the table has taken over what others observed.

    Attributes:
        known: the versions of the shared counts that the table has.
    """

    def __init__(
        self, shared: SharedDurations, table: HazardTable, on_change: Callable[[], object]
    ) -> None:
        self._shared = shared
        self._table = table
        self._on_change = on_change
        self._loop = ref(asyncio.get_running_loop())
        self._is_called = False
        self.known: Versions = dict.fromkeys(HazardTable.KINDS, 0)
        shared.join(self)
        if table.model(None).completions > shared.completions:
            self.replace()
        else:
            self.exchange()
        table.begin_sharing(self)

    def leave(self) -> None:
        """Share no more; may be called again."""
        # Nothing is told of the change: the client is about to end, or to move.
        self._table.replace(self._shared.exchange(self, self._table.take_new()))
        self._shared.leave(self)
        self._table.end_sharing(self)

    def exchange(self) -> None:
        """Share what the table has observed, and take over what others have."""
        outdated = self._shared.exchange(self, self._table.take_new())
        if outdated:
            self._table.replace(outdated)
            self._on_change()

    def replace(self) -> None:
        """Replace what is shared by what the table has loaded."""
        self._table.take_new()
        self._shared.replace(self._table.counts(), self)

    def call(self) -> None:
        """Have it exchange in its event loop; called in any thread."""
        loop = self._loop()
        if loop is not None and not self._is_called:
            self._is_called = call_in(loop, self._on_call)

    def _on_call(self) -> None:
        self._is_called = False
        self.exchange()
