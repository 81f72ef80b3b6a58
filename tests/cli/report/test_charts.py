"""The charts, as places in percent."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.report.reports import arrival, at, failed_task, outcome, run, sample, task
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import RateLimit, SeparationTask
from vocalsep_async.cli.report.delays import delays
from vocalsep_async.cli.report.ending import Ending
from vocalsep_async.cli.report.facts import facts, headline, shares
from vocalsep_async.cli.report.requests import requests
from vocalsep_async.cli.report.run import Arrival, Run
from vocalsep_async.cli.report.scale import Scale
from vocalsep_async.cli.report.story import Story, stories
from vocalsep_async.cli.report.timeline import Bar, Timeline, timeline

times = st.none() | st.floats(-1e8, 1e8).map(at)
records = st.builds(lambda created, done: task(created_at=created, completed_at=done), times, times)
arrivals = st.lists(st.builds(arrival, records, known=st.floats(-1e6, 1e6)), max_size=5)


def told(given: Run) -> tuple[Story, ...]:
    return stories(given, Path("/"))


def drawn(*given: Arrival) -> Timeline:
    made = run(*given)
    return timeline(made, told(made))


def place(bar: Bar) -> tuple[float, float, float]:
    return bar.start, bar.done, bar.known


class TestScale:
    @given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(-1e12, 1e12))
    def test_every_value_has_a_place(self, low: float, high: float, value: float) -> None:
        assert 0 <= Scale.around(low, high).percent(value) <= 100

    @given(st.floats(0.001, 1e9))
    def test_there_are_a_few_ticks_and_all_are_on_the_axis(self, high: float) -> None:
        scale = Scale.around(0, high)
        for ticks in (scale.times(), scale.values()):
            assert 1 <= len(ticks) <= 8
            assert all(0 <= tick <= high for tick in ticks)

    def test_ticks_are_round(self) -> None:
        assert Scale(0, 60).times() == (0, 10, 20, 30, 40, 50, 60)
        assert Scale(-10, 100).times() == (0, 30, 60, 90)
        assert Scale(0, 9).values() == (0, 2, 4, 6, 8)
        assert Scale(0, 86_400 * 12).times()[1] == 2 * 86_400


class TestTimeline:
    def test_a_bar_goes_from_created_by_way_of_finished_to_known(self) -> None:
        (bar,) = drawn(arrival(task(completed_at=at(30)), known=45)).bars
        assert place(bar) == (0, 50, 75)

    def test_bars_are_ordered_by_their_start(self) -> None:
        bars = drawn(
            arrival(task("late", created_at=at(5))), arrival(task("early", created_at=at(1)))
        ).bars
        assert [bar.story.name for bar in bars] == ["early", "late"]
        assert bars[0].y < bars[1].y

    def test_what_was_long_before_the_run_stands_at_the_edge(self) -> None:
        chart = drawn(arrival(task(created_at=at(-1e6), completed_at=at(-1e5)), known=30))
        assert chart.scale == Scale(-15, 60)
        assert place(chart.bars[0]) == (0, 0, 60)

    def test_an_open_task_has_no_delay(self) -> None:
        (bar,) = drawn(arrival(outcome(None), known=60)).bars
        assert bar.is_vague
        assert place(bar) == (0, 100, 100)

    def test_many_tasks_take_no_more_room_than_they_must(self) -> None:
        assert drawn(*(arrival(task()) for _ in range(300))).height <= 450
        assert drawn(*(arrival(task()) for _ in range(900))).height == 900
        assert drawn().height == 0
        assert drawn(arrival(task())).thickness < drawn(arrival(task())).row == 20

    @given(arrivals)
    def test_whatever_the_clocks_say_time_goes_forward(self, given: list[Arrival]) -> None:
        for bar in drawn(*given).bars:
            assert 0 <= bar.start <= bar.done <= bar.known <= 100


class TestDelays:
    def test_dots_rise_from_the_quickest_to_the_slowest(self) -> None:
        chart = delays(told(run(*(arrival(task(), known=known) for known in (14, 11, 12, 13)))))
        assert [dot.story.delay for dot in chart.dots] == [1, 2, 3, 4]
        assert [dot.x for dot in chart.dots] == [12.5, 37.5, 62.5, 87.5]
        assert [dot.y for dot in chart.dots] == sorted((dot.y for dot in chart.dots), reverse=True)
        assert (chart.mean, chart.p95) == (2.5, 4.0)

    def test_five_in_a_hundred_are_beyond_the_percentile(self) -> None:
        chart = delays(told(run(*(arrival(task(), known=11.0 + n) for n in range(100)))))
        assert chart.p95 == 95.0

    def test_without_delays_nothing_is_said_of_them(self) -> None:
        chart = delays(told(run(arrival(outcome(None)))))
        assert (chart.dots, chart.mean, chart.p95) == ((), None, None)


class TestRequests:
    def test_windows_are_as_long_as_samples_let_them_be(self) -> None:
        chart = requests(run())
        assert [(window.start, window.end) for window in chart.windows] == [
            (start, start + 10.0) for start in (0, 10, 20, 30, 40, 50)
        ]
        assert {window.requests for window in chart.windows} == {10}

    @given(st.lists(st.floats(0.3, 3.0), min_size=1, max_size=80), st.integers(1, 20))
    def test_whoever_kept_the_limit_is_not_shown_above_it(
        self, pauses: list[float], most: int
    ) -> None:
        moments = [sum(pauses[: count + 1]) for count in range(len(pauses))]
        # All that is allowed in each 10 s is sent at once.
        samples = tuple(sample(each, most * (1 + int(each // 10.001))) for each in moments)
        chart = requests(run(samples=samples, limit=RateLimit(most, 10.0)))
        assert all(window.requests <= most for window in chart.windows)

    def test_refusals_are_counted_where_they_were(self) -> None:
        chart = requests(run(samples=(sample(9, 5, 0), sample(19, 9, 3), sample(29, 12, 3))))
        assert [(window.requests, window.throttled) for window in chart.windows] == [
            (5, 0),
            (4, 3),
            (3, 0),
        ]

    def test_rare_samples_make_long_windows(self) -> None:
        chart = requests(run(samples=(sample(40, 50), sample(80, 90))))
        assert [(window.start, window.end) for window in chart.windows] == [(0, 40), (40, 80)]
        assert chart.counts.high > 50
        assert chart.times.high == 80

    def test_a_run_of_hours_shows_the_fullest_of_each_few(self) -> None:
        samples = tuple(sample(10.0 * n, n + 9 * (n > 500)) for n in range(1, 1001))
        windows = requests(run(samples=samples, ended_at=at(10_000))).windows
        assert 60 < len(windows) <= 120
        assert max(window.requests for window in windows) == 10

    def test_without_samples_there_are_no_windows(self) -> None:
        assert requests(run(samples=())).windows == ()

    def test_totals_and_clocks_that_go_back_count_for_nothing(self) -> None:
        (window,) = requests(run(samples=(sample(-5, -3, -1),), ended_at=at(-9))).windows
        assert (window.requests, window.throttled) == (0, 0)
        assert window.end >= window.start


class TestFacts:
    def test_all_endings_are_counted_and_drawn_side_by_side(self) -> None:
        made = run(arrival(task()), arrival(failed_task()), arrival(outcome(None)))
        parts = shares(told(made), unheard=1)
        assert [(part.ending, part.count, part.x, part.width) for part in parts] == [
            (Ending.SUCCEEDED, 1, 0, 25),
            (Ending.UNSAVED, 0, 25, 0),
            (Ending.FAILED, 1, 25, 25),
            (Ending.OPEN, 2, 50, 50),
        ]

    @pytest.mark.parametrize(
        "given, unheard, said",
        [
            ([], 0, "No tasks in this run"),
            ([task()], 0, "The task succeeded"),
            ([failed_task()], 0, "The task failed"),
            ([], 1, "The task is still open"),
            ([task(), task()], 0, "All 2 tasks succeeded"),
            ([task(), failed_task()], 0, "1 of 2 tasks succeeded"),
            ([failed_task(), failed_task()], 0, "None of 2 tasks succeeded"),
        ],
    )
    def test_the_headline_says_how_it_went(
        self, given: list[SeparationTask], unheard: int, said: str
    ) -> None:
        made = run(*map(arrival, given))
        assert headline(shares(told(made), unheard)) == said

    def test_figures_are_of_the_last_sample(self) -> None:
        made = run(arrival(task()), samples=(sample(1, 5), sample(2, 1234, 7)))
        values = {fact.label: fact.value for fact in facts(made, told(made), delays(told(made)))}
        assert values == {
            "Wall time": "1 min",
            "Requests": "1,234",
            "Refused": "7",
            "Mean delay": "2.0 s",
            "95 % within": "2.0 s",
            "Stems saved": "0",
        }

    def test_what_is_not_known_is_a_dash(self) -> None:
        made = run(samples=(), ended_at=at(-5))
        values = {fact.label: fact.value for fact in facts(made, (), delays(()))}
        assert values["Requests"] == values["Refused"] == values["Mean delay"] == "–"
        assert values["Wall time"] == "0.0 s"
