"""When to look, and whom to look at next.

What decides is pure: it takes ``now`` and never asks a clock, draws no random numbers of its own,
and does no I/O. Only `Durations.save` and `Durations.load` touch a file, and only users call them.
"""

from vocalsep_async.schedule.backoff import RetryPolicy
from vocalsep_async.schedule.candidate import Candidate
from vocalsep_async.schedule.durations import DurationModel, Durations
from vocalsep_async.schedule.line import GUESSED_AGE, Line, Newcomers
from vocalsep_async.schedule.policies import (
    Adaptive,
    Backoff,
    Every,
    PollPolicy,
    Situation,
)
from vocalsep_async.schedule.scheduler import Scheduler

__all__ = [
    "GUESSED_AGE",
    "Adaptive",
    "Backoff",
    "Candidate",
    "DurationModel",
    "Durations",
    "Every",
    "Line",
    "Newcomers",
    "PollPolicy",
    "RetryPolicy",
    "Scheduler",
    "Situation",
]
