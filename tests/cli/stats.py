"""Figures of a batch and its client at some moment; a test names those that matter to it."""

from __future__ import annotations

from typing import Any

from vocalsep_async import BatchStats, ClientStats


def batch(**fields: Any) -> BatchStats:
    """How a batch stands, 12 of 42 tasks known."""
    usual: dict[str, Any] = {
        "pending": 30,
        "finished": 12,
        "succeeded": 11,
        "failed": 1,
        "polls": 50,
        "throttled": 0,
        "retried": 0,
        "rate": 2.0,
        "mean_delay": 2.7,
        "eta": 125.0,
    }
    return BatchStats(**(usual | fields))


def client(**fields: Any) -> ClientStats:
    """What its client has done, with 50 requests."""
    usual: dict[str, Any] = {
        "requests": 50,
        "throttled": 0,
        "in_flight": 1,
        "rate": 2.0,
        "paused_for": 0.0,
    }
    return ClientStats(**(usual | fields))
