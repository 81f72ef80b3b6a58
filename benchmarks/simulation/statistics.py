"""Measurements of one run, and summaries of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from attrs import frozen

from benchmarks.simulation.other_clients import OtherTraffic
from benchmarks.simulation.server import Server
from benchmarks.simulation.tasks import SimulatedTask


@frozen
class Measures:
    """Measurements of one run.

    Attributes:
        delays: seconds until each finished task was noticed.
        tasks: number of measured tasks.
        polls_of: number of polls of the measured tasks.
        longest_gap: longest time in seconds between two polls of a measured task while it ran.
        polls: number of polls that the client sent for all tasks.
        throttled: number of these that were throttled.
        seconds: length of the run in virtual time.
        other_sent: number of requests of the other client of the account.
        other_throttled: number of these that were throttled.
    """

    delays: Sequence[float]
    tasks: int
    polls_of: int
    longest_gap: float
    polls: int
    throttled: int
    seconds: float
    other_sent: int
    other_throttled: int


@frozen
class Summary:
    """Several runs of one row with one policy; times in seconds.

    Attributes:
        mean: mean delay until a finished task was noticed; NaN if none was.
        p50: median of these delays.
        p95: 95th percentile.
        p99: 99th percentile.
        polls_per_task: polls per task, throttled ones included.
        throttled: fraction of the client's polls that were throttled.
        longest_gap: longest time between two polls of a running task.
        times_bound: mean delay as a multiple of the lower bound; None if there is no bound.
        ok_rate: polls per second that were answered, not throttled.
        other_success: fraction of the other client's requests that were answered, not throttled;
            None without another client.
    """

    mean: float
    p50: float
    p95: float
    p99: float
    polls_per_task: float
    throttled: float
    longest_gap: float
    times_bound: float | None
    ok_rate: float
    other_success: float | None


def measures(
    tasks: Sequence[SimulatedTask], server: Server, seconds: float, traffic: OtherTraffic | None
) -> Measures:
    """Measure a run that has ended."""
    return Measures(
        delays=[task.delay for task in tasks if task.is_noticed],
        tasks=len(tasks),
        polls_of=sum(task.polls for task in tasks),
        longest_gap=max(task.longest_gap for task in tasks),
        polls=server.polls,
        throttled=server.throttled,
        seconds=seconds,
        other_sent=traffic.sent if traffic else 0,
        other_throttled=traffic.throttled if traffic else 0,
    )


def summary(runs: Sequence[Measures], bound: float | None) -> Summary:
    """Summarise *runs*; *bound* is the lower bound of their mean delay, None if there is none."""
    delays = sorted(delay for each in runs for delay in each.delays) or [math.nan]
    mean = fmean(delays)
    polls = sum(each.polls for each in runs)
    throttled = sum(each.throttled for each in runs)
    return Summary(
        mean=mean,
        p50=_percentile(delays, 0.50),
        p95=_percentile(delays, 0.95),
        p99=_percentile(delays, 0.99),
        polls_per_task=sum(each.polls_of for each in runs) / sum(each.tasks for each in runs),
        throttled=throttled / polls,
        longest_gap=max(each.longest_gap for each in runs),
        times_bound=None if bound is None else mean / bound,
        ok_rate=(polls - throttled) / sum(each.seconds for each in runs),
        other_success=_other_success(runs),
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _other_success(runs: Sequence[Measures]) -> float | None:
    sent = sum(each.other_sent for each in runs)
    return 1 - sum(each.other_throttled for each in runs) / sent if sent else None
