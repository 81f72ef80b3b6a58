"""What came of a run, and of several."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from attrs import frozen

from benchmarks.simulation.jobs import Job
from benchmarks.simulation.server import Server
from benchmarks.simulation.strangers import Visits


@frozen
class Measures:
    """What one run brought.

    Attributes:
        delays: seconds for which each finished task stayed unnoticed.
        tasks: how many were measured.
        looks_at: requests that asked about them.
        longest_gap: the longest pause between two looks at one of them while it was running.
        looks: requests that our client sent, in all.
        refused: how many of them were refused.
        seconds: how long the run lasted, in virtual time.
        other_sent: requests of the other client of the account.
        other_refused: how many of them were refused.
    """

    delays: Sequence[float]
    tasks: int
    polls_of: int
    longest_gap: float
    polls: int
    throttled: int
    seconds: float
    other_sent: int
    other_refused: int


@frozen
class Summary:
    """Several runs of one row and policy, taken together; times in seconds.

    Attributes:
        looks_per_task: requests for each task, refused ones included.
        refused: the share of our requests that were refused.
        longest_gap: the longest pause between two looks at a task that was running.
        times_bound: the mean delay as a multiple of the lower bound; None where none is known.
        ok_rate: requests a second that were answered, not refused.
        other_success: the share of the other client's requests that were answered; None where
            there is no other client.
    """

    mean: float
    p50: float
    p95: float
    p99: float
    looks_per_task: float
    throttled: float
    longest_gap: float
    times_bound: float | None
    ok_rate: float
    other_success: float | None


def measures(
    jobs: Sequence[Job], server: Server, seconds: float, visits: Visits | None
) -> Measures:
    """Take the measure of a run that is over."""
    return Measures(
        delays=[job.delay for job in jobs if job.is_noticed],
        tasks=len(jobs),
        polls_of=sum(job.polls for job in jobs),
        longest_gap=max(job.longest_gap for job in jobs),
        polls=server.polls,
        throttled=server.throttled,
        seconds=seconds,
        other_sent=visits.sent if visits else 0,
        other_refused=visits.throttled if visits else 0,
    )


def summary(runs: Sequence[Measures], bound: float | None) -> Summary:
    """Take *runs* together."""
    delays = sorted(delay for each in runs for delay in each.delays)
    mean = fmean(delays)
    polls = sum(each.polls for each in runs)
    throttled = sum(each.throttled for each in runs)
    return Summary(
        mean=mean,
        p50=_percentile(delays, 0.50),
        p95=_percentile(delays, 0.95),
        p99=_percentile(delays, 0.99),
        looks_per_task=sum(each.polls_of for each in runs) / sum(each.tasks for each in runs),
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
    return 1 - sum(each.other_refused for each in runs) / sent if sent else None
