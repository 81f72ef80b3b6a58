"""What polls have shown that outlives their event loop."""

from __future__ import annotations

from vocalsep_async._polling.doubts import Doubts
from vocalsep_async._polling.early import EarlyCallbacks
from vocalsep_async._polling.lead import Lead
from vocalsep_async._polling.learner import DurationLearner
from vocalsep_async._polling.refusals import Refusals
from vocalsep_async._polling.task_ages import TaskAges
from vocalsep_async._scheduling.callbacks import CallbackLosses
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.providers._routes import Routes


class PollMemory:
    """What a client knows from its polls, in whichever event loop it sent them.

    Args:
        routes: of the client.
        hazards: what it knows about durations.

    Attributes:
        learner: learns durations, from each task once.
        doubts: ends that one record does not prove.
        ages: how old tasks are.
        lead: the time that the last poll before a deadline has.
        refusals: of the account.
        early: callbacks that came before a wait.
        losses: of callbacks.
    """

    def __init__(self, routes: Routes, hazards: HazardTable) -> None:
        self.learner = DurationLearner(hazards)
        self.doubts = Doubts(routes)
        self.ages = TaskAges()
        self.lead = Lead()
        self.refusals = Refusals()
        self.early = EarlyCallbacks()
        self.losses = CallbackLosses()

    def move(self, shift: float) -> None:
        """Go on with the clock of another event loop, which is *shift* seconds ahead."""
        self.doubts.move(shift)
        self.ages.move(shift)
        self.refusals.move(shift)
        self.early.move(shift)
        self.losses.move(shift)
