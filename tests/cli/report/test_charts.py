"""The charts as positions in percent, and the summary of the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.report.reports import (
    at,
    failed_task,
    outcome,
    restored,
    run,
    sample,
    task,
    timed,
    unsaved,
)
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import RateLimit, SeparationTask, TaskOutcome
from vocalsep_async.cli.report.charts import (
    Bar,
    Scale,
    Timeline,
    delay_chart,
    request_chart,
    timeline,
)
from vocalsep_async.cli.report.rows import TaskRow, task_rows
from vocalsep_async.cli.report.run import Run, TimedOutcome
from vocalsep_async.cli.report.status import RowStatus
from vocalsep_async.cli.report.summary import figures, headline, status_shares

times = st.none() | st.floats(-1e8, 1e8).map(at)
records = st.builds(lambda created, done: task(created_at=created, completed_at=done), times, times)
timed_outcomes = st.lists(
    st.builds(timed, records, known=st.floats(-1e6, 1e6)) | st.builds(restored, records), max_size=5
)


def rows_of(given: Run) -> tuple[TaskRow, ...]:
    return task_rows(given, Path("/"))


def timeline_of(*given: TimedOutcome) -> Timeline:
    made = run(*given)
    return timeline(made, rows_of(made))


def positions(bar: Bar) -> tuple[float, float, float]:
    return bar.start, bar.done, bar.known


class TestScale:
    @given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(-1e12, 1e12))
    def test_every_value_has_a_position(self, low: float, high: float, value: float) -> None:
        assert 0 <= Scale.between(low, high).percent(value) <= 100

    @given(st.floats(0.001, 1e9))
    def test_an_axis_has_a_few_ticks_within_its_range(self, high: float) -> None:
        scale = Scale.between(0, high)
        for ticks in (scale.times(), scale.values()):
            assert 1 <= len(ticks) <= 8
            assert all(0 <= tick <= high for tick in ticks)

    def test_ticks_are_round_values(self) -> None:
        assert Scale(0, 60).times() == (0, 10, 20, 30, 40, 50, 60)
        assert Scale(-10, 100).times() == (0, 30, 60, 90)
        assert Scale(0, 9).values() == (0, 2, 4, 6, 8)
        assert Scale(0, 86_400 * 12).times()[1] == 2 * 86_400


class TestTimeline:
    def test_a_bar_runs_from_creation_over_completion_to_detection(self) -> None:
        (bar,) = timeline_of(timed(task(completed_at=at(30)), known=45)).bars
        assert positions(bar) == (0, 50, 75)

    def test_bars_are_sorted_by_their_start(self) -> None:
        bars = timeline_of(
            timed(task("late", created_at=at(5))), timed(task("early", created_at=at(1)))
        ).bars
        assert [bar.row.name for bar in bars] == ["early", "late"]
        assert bars[0].y < bars[1].y

    def test_a_task_from_long_before_the_run_starts_at_the_edge(self) -> None:
        chart = timeline_of(timed(task(created_at=at(-1e6), completed_at=at(-1e5)), known=30))
        assert chart.scale == Scale(-15, 60)
        assert positions(chart.bars[0]) == (0, 0, 60)

    def test_an_outcome_from_the_journal_has_no_bar(self) -> None:
        chart = timeline_of(restored(task("old")), timed(task("new")))
        assert [bar.row.name for bar in chart.bars] == ["new"]

    def test_an_open_task_has_no_delay(self) -> None:
        (bar,) = timeline_of(timed(outcome(None), known=60)).bars
        assert bar.is_end_unknown
        assert positions(bar) == (0, 100, 100)

    def test_the_timeline_of_many_tasks_has_thin_rows(self) -> None:
        assert timeline_of(*(timed(task()) for _ in range(300))).height <= 450
        assert timeline_of(*(timed(task()) for _ in range(900))).height == 900
        assert timeline_of().height == 0
        assert timeline_of(timed(task())).thickness < timeline_of(timed(task())).row_height == 20

    @given(timed_outcomes)
    def test_the_times_of_a_bar_are_in_order_for_any_clocks(
        self, given: list[TimedOutcome]
    ) -> None:
        for bar in timeline_of(*given).bars:
            assert 0 <= bar.start <= bar.done <= bar.known <= 100


class TestDelays:
    def test_dots_are_sorted_by_their_delay(self) -> None:
        chart = delay_chart(
            rows_of(run(*(timed(task(), known=known) for known in (14, 11, 12, 13))))
        )
        assert [dot.row.delay for dot in chart.dots] == [1, 2, 3, 4]
        assert [dot.x for dot in chart.dots] == [12.5, 37.5, 62.5, 87.5]
        assert [dot.y for dot in chart.dots] == sorted((dot.y for dot in chart.dots), reverse=True)
        assert (chart.mean, chart.p95) == (2.5, 4.0)

    def test_the_95th_percentile_exceeds_95_of_100_delays(self) -> None:
        chart = delay_chart(rows_of(run(*(timed(task(), known=11.0 + n) for n in range(100)))))
        assert chart.p95 == 95.0

    def test_outcomes_from_the_journal_and_older_ends_do_not_count(self) -> None:
        chart = delay_chart(
            rows_of(run(restored(task()), timed(task(), 20, added=15), timed(task(), 12)))
        )
        assert (len(chart.dots), chart.mean, chart.p95) == (1, 2.0, 2.0)

    def test_a_chart_without_delays_has_no_mean(self) -> None:
        chart = delay_chart(rows_of(run(timed(outcome(None)))))
        assert (chart.dots, chart.mean, chart.p95) == ((), None, None)


class TestRequests:
    def test_windows_are_as_long_as_the_samples_permit(self) -> None:
        chart = request_chart(run())
        assert [(window.start, window.end) for window in chart.windows] == [
            (start, start + 10.0) for start in (0, 10, 20, 30, 40, 50)
        ]
        assert {window.requests for window in chart.windows} == {10}

    @given(st.lists(st.floats(0.3, 3.0), min_size=1, max_size=80), st.integers(1, 20))
    def test_a_client_within_its_limit_is_never_shown_above_it(
        self, pauses: list[float], most: int
    ) -> None:
        moments = [sum(pauses[: count + 1]) for count in range(len(pauses))]
        # All requests of each period are sent simultaneously.
        samples = tuple(sample(each, most * (1 + int(each // 10.001))) for each in moments)
        chart = request_chart(run(samples=samples, limit=RateLimit(most, 10.0)))
        assert all(window.requests <= most for window in chart.windows)

    def test_throttled_requests_are_counted_in_their_window(self) -> None:
        chart = request_chart(run(samples=(sample(9, 5, 0), sample(19, 9, 3), sample(29, 12, 3))))
        assert [(window.requests, window.throttled) for window in chart.windows] == [
            (5, 0),
            (4, 3),
            (3, 0),
        ]

    def test_samples_far_apart_make_long_windows(self) -> None:
        chart = request_chart(run(samples=(sample(40, 50), sample(80, 90))))
        assert [(window.start, window.end) for window in chart.windows] == [(0, 40), (40, 80)]
        assert chart.counts.high > 50
        assert chart.times.high == 80

    def test_a_long_run_shows_the_fullest_window_of_several(self) -> None:
        samples = tuple(sample(10.0 * n, n + 9 * (n > 500)) for n in range(1, 1001))
        windows = request_chart(run(samples=samples, ended_at=at(10_000))).windows
        assert 60 < len(windows) <= 120
        assert max(window.requests for window in windows) == 10

    def test_without_samples_there_are_no_windows(self) -> None:
        assert request_chart(run(samples=())).windows == ()

    def test_decreasing_counts_and_clocks_make_an_empty_window(self) -> None:
        (window,) = request_chart(run(samples=(sample(-5, -3, -1),), ended_at=at(-9))).windows
        assert (window.requests, window.throttled) == (0, 0)
        assert window.end >= window.start


class TestSummary:
    def test_all_statuses_have_adjacent_shares(self) -> None:
        made = run(timed(task()), timed(failed_task()), timed(outcome(None)))
        shares = status_shares(rows_of(made), unfinished=1)
        assert [(share.status, share.count, share.x, share.width) for share in shares] == [
            (RowStatus.SUCCEEDED, 1, 0, 25),
            (RowStatus.UNSAVED, 0, 25, 0),
            (RowStatus.FAILED, 1, 25, 25),
            (RowStatus.OPEN, 2, 50, 50),
        ]

    @pytest.mark.parametrize(
        "given, unfinished, expected",
        [
            ([], 0, "No tasks in this run"),
            ([task()], 0, "The task succeeded"),
            ([failed_task()], 0, "The task failed"),
            ([], 1, "The task is still open"),
            ([task(), task()], 0, "All 2 tasks succeeded"),
            ([task(), failed_task()], 0, "1 of 2 tasks succeeded"),
            ([failed_task(), failed_task()], 0, "None of 2 tasks succeeded"),
            ([unsaved(), unsaved()], 0, "2 of 2 tasks succeeded, 2 not saved"),
            ([unsaved(), task(), failed_task()], 0, "2 of 3 tasks succeeded, 1 not saved"),
        ],
    )
    def test_the_headline_summarizes_the_statuses(
        self, given: list[SeparationTask | TaskOutcome], unfinished: int, expected: str
    ) -> None:
        made = run(*map(timed, given))
        assert headline(status_shares(rows_of(made), unfinished)) == expected

    @pytest.mark.parametrize(
        "given, unfinished, expected",
        [
            ([], 0, "No songs in this run"),
            ([task()], 0, "The song is separated"),
            ([unsaved()], 0, "The song is separated but not saved"),
            ([failed_task()], 0, "The song could not be separated"),
            ([], 1, "The song is still open"),
            ([task(), task()], 0, "All 2 songs separated"),
            ([task(), failed_task()], 0, "1 of 2 songs separated"),
        ],
    )
    def test_the_headline_of_songs_says_what_became_of_them(
        self, given: list[SeparationTask | TaskOutcome], unfinished: int, expected: str
    ) -> None:
        made = run(*map(timed, given))
        assert headline(status_shares(rows_of(made), unfinished), "song") == expected

    def test_the_figures_are_those_of_the_last_sample(self) -> None:
        made = run(timed(task()), samples=(sample(1, 5), sample(2, 1234, 7)))
        values = {
            figure.label: figure.value
            for figure in figures(made, rows_of(made), delay_chart(rows_of(made)))
        }
        assert values == {
            "Wall time": "1 min",
            "Requests": "1,234",
            "Throttled": "7",
            "Mean delay": "2.0 s",
            "95th percentile": "2.0 s",
            "Stems saved": "0",
        }

    def test_the_stems_that_are_missing_are_counted(self) -> None:
        made = run(timed(unsaved()), timed(task()))
        (shown,) = (
            figure
            for figure in figures(made, rows_of(made), delay_chart(rows_of(made)))
            if figure.label == "Stems saved"
        )
        assert (shown.value, shown.note) == ("1", "of 3, from 1 task")

    def test_an_unknown_figure_is_a_dash(self) -> None:
        made = run(samples=(), ended_at=at(-5))
        values = {figure.label: figure.value for figure in figures(made, (), delay_chart(()))}
        assert values["Requests"] == values["Throttled"] == values["Mean delay"] == "–"
        assert values["Wall time"] == "0.0 s"
