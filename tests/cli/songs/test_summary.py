"""What became of a run of songs, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli.stats import batch, snapshot

from vocalsep_async import CreationUncertainError, SongStats
from vocalsep_async.cli.activity import StemCounts
from vocalsep_async.cli.songs.summary import cost, interruption, summary, uncertain_songs

WHEN = datetime(2026, 12, 1, 2, 30, tzinfo=UTC)


def stats(**numbers: Any) -> SongStats:
    usual = dict.fromkeys(
        ("pending", "failed", "uncertain", "not_begun", "joined", "known", "created"), 0
    )
    return SongStats(**{"songs": 5, "succeeded": 5, "credits_spent": 50.0, **usual, **numbers})


def lines(numbers: SongStats, **seen: Any) -> list[str]:
    counts = batch(pending=numbers.pending, finished=numbers.songs - numbers.pending)
    return list(summary(numbers, snapshot(batch=counts, noun="song", **seen)))


def test_a_summary_counts_songs_tasks_stems_and_requests() -> None:
    numbers = stats(created=3, joined=1, known=1)
    assert lines(numbers, requests=1250, throttled=2, stems=StemCounts(saved=10)) == [
        "5 songs: 5 done",
        "tasks: 3 created, 1 joined, 1 known; 10 stems saved; 1,250 requests, 2 throttled",
    ]


def test_a_summary_names_all_that_is_not_done() -> None:
    numbers = stats(songs=6, succeeded=1, failed=2, uncertain=1, not_begun=1, pending=1)
    assert lines(numbers, timed_out=1) == [
        "6 songs: 1 done, 1 failed, 1 timed out, 1 uncertain, 1 not begun, 1 pending",
        "tasks: 0 created; 50 requests, 0 throttled",
    ]


def test_a_summary_says_why_stems_are_missing() -> None:
    stems = StemCounts(saved=1, missing=1, tasks=1, reason="the disk is full.")
    assert lines(stats(), stems=stems)[1].startswith(
        "tasks: 0 created; 1 of 2 stems saved, 1 not: the disk is full; "
    )


@pytest.mark.parametrize(
    "spent, before, after, words",
    [
        (
            50.0,
            1000.0,
            950.0,
            "about 50 credits spent; the account has 950 credits, 50 credits less than before",
        ),
        (0.0, 950.0, 950.0, "about 0 credits spent; the account has 950 credits"),
        (50.0, 1000.0, None, "about 50 credits spent"),
        (50.0, None, 950.0, "about 50 credits spent; the account has 950 credits"),
        (None, None, None, "credits spent: the price is not known"),
        (
            None,
            1000.0,
            988.0,
            (
                "credits spent: the price is not known; the account has 988 credits, 12 credits "
                "less than before"
            ),
        ),
    ],
)
def test_a_cost_is_compared_with_what_the_account_has(
    spent: float | None, before: float | None, after: float | None, words: str
) -> None:
    assert cost(spent, before, after) == words


@pytest.mark.parametrize(
    "after, words",
    [
        (900.0, "100 credits less than before, and 50 credits more than counted"),
        (999.0, "1 credit less than before, and 49 credits less than counted"),
        (1000.0, "0 credits less than before, and 50 credits less than counted"),
        (1200.0, "200 credits more than before, and 250 credits less than counted"),
    ],
)
def test_a_difference_from_the_count_is_said(after: float, words: str) -> None:
    said = cost(50.0, 1000.0, after)
    assert f", {words}: another program may use the account" in said


def test_uncertain_songs_are_listed_with_what_to_do() -> None:
    errors = [
        CreationUncertainError.of("Für Elise", WHEN, None),
        CreationUncertainError.of(None, WHEN, "no answer\x1b[31m"),
    ]
    assert list(uncertain_songs(errors)) == [
        "2 songs may have been created and billed, with unknown ids:",
        "  Für Elise: 2026-12-01 02:30:00+00:00, the program ended before the answer",
        "  a song: 2026-12-01 02:30:00+00:00, no answer\\x1b[31m",
        (
            "Look for them in the provider's list of tasks. The same command leaves them alone; "
            "with --on-uncertain create it creates them again, and they may be billed twice"
        ),
    ]
    assert list(uncertain_songs([])) == []


def test_an_interruption_says_how_to_go_on() -> None:
    journal = Path("stems/songs.journal")
    assert interruption(stats(), journal) == (
        f"interrupted; progress is kept in {journal}: run the same command again to continue, and "
        "nothing is paid for twice"
    )
    assert interruption(None, journal) == (
        "interrupted before anything was sent; run the same command again"
    )
