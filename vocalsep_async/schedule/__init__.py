"""When to look, and whom to look at next.

Everything here is pure: it takes ``now`` and never asks a clock, draws no random numbers of its
own, and does no I/O.
"""

from vocalsep_async.schedule.agenda import Agenda
from vocalsep_async.schedule.backoff import RetryPolicy
from vocalsep_async.schedule.durations import DurationModel, Durations
from vocalsep_async.schedule.policies import (
    Adaptive,
    Backoff,
    Every,
    PollPolicy,
    Situation,
    next_look,
)

__all__ = [
    "Adaptive",
    "Agenda",
    "Backoff",
    "DurationModel",
    "Durations",
    "Every",
    "PollPolicy",
    "RetryPolicy",
    "Situation",
    "next_look",
]
