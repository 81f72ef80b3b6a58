"""How far the schedule may rely on callbacks: the share of them that gets lost, as learned.

A poll of a task whose callback is still expected finds something only if the callback gets lost.
With q the probability of that, the expected delay (see `hazards`) of such a task is q times that of
another one, and it is polled from `COST` seconds on. q is the mean of a beta distribution over the
callbacks that came and those that did not, of which there were one each before the first.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

COST = 0.25
"""Expected delay in seconds that a request is worth beside a callback."""
PATIENCE = 5.0
"""Seconds after the end of a task in which its callback has to come, or it counts as lost."""
_MEMORY = 0.99
"""Factor by which the weight of a callback falls with each later one: 100 of them count."""
_DEAD = 0.9
"""Share of lost callbacks from which none is expected any more."""
_FEW = 0.3
"""Share of lost callbacks up to which a task without one is taken for a running one."""


class CallbackLosses:
    """Learns how many callbacks get lost.

    Attributes:
        share: the probability that a callback gets lost.
    """

    def __init__(self) -> None:
        self._came = 0.0
        self._lost = 0.0
        self._late_at: dict[Hashable, float] = {}
        """Tasks that ended before their callback came, with the moment at which it is lost."""
        self.share = 0.5

    @property
    def cost(self) -> float:
        """Expected delay in seconds from which a task is polled although its callback may come.

        0 while callbacks are not relied on, because nearly all get lost.
        """
        return 0.0 if self.share >= _DEAD else COST

    @property
    def are_few(self) -> bool:
        """Whether a task whose callback has not come has very likely not ended."""
        return self.share < _FEW

    def on_callback(self) -> None:
        """The callback of a task that has ended came in time."""
        self._count(came=1.0)

    def on_end(self, task: Hashable, ended_at: float) -> None:
        """A task is known to have ended at *ended_at*, and its callback has not come yet."""
        self._late_at[task] = ended_at + PATIENCE

    def on_late(self, task: Hashable, now: float) -> None:
        """A callback came for a task that nothing waits for any more."""
        self.settle(now)
        if self._late_at.pop(task, None) is not None:
            self.on_callback()

    @property
    def next_change(self) -> float:
        """When `settle` may count the next callback as lost; infinity for not before a change."""
        return min(self._late_at.values(), default=math.inf)

    def settle(self, now: float) -> None:
        """Count the callbacks as lost that have not come in time."""
        # Most clients expect none, and each turn of their loops asks.
        if not self._late_at:
            return
        for task in [task for task, moment in self._late_at.items() if moment <= now]:
            del self._late_at[task]
            self._count(lost=1.0)

    def move(self, shift: float) -> None:
        """Go on with a clock that is *shift* seconds ahead."""
        for task in self._late_at:
            self._late_at[task] += shift

    def _count(self, came: float = 0.0, lost: float = 0.0) -> None:
        self._came = _MEMORY * self._came + came
        self._lost = _MEMORY * self._lost + lost
        self.share = (1.0 + self._lost) / (2.0 + self._lost + self._came)
