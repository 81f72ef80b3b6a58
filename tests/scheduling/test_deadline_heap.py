"""Candidates that are looked at by a certain moment."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from scheduling.entries import Song

from vocalsep_async._scheduling.deadline_heap import DeadlineHeap

MOMENTS = st.sampled_from([1.0, 2.0, 3.0, math.inf])


@given(st.lists(st.tuples(st.integers(0, 4), MOMENTS, st.booleans()), max_size=80))
def test_first_is_who_is_promised_the_earliest_moment(
    steps: list[tuple[int, float, bool]],
) -> None:
    songs = [Song() for _ in range(5)]
    promises: DeadlineHeap[Song] = DeadlineHeap()
    promised: dict[int, float] = {}
    for which, moment, kept in steps:
        promised.pop(which, None)
        if kept:
            songs[which].latest = moment
            promises.make(songs[which])
            if moment < math.inf:
                promised[which] = moment
        else:
            promises.break_off(songs[which])
        first = promises.first()
        assert (first is None) == (not promised)
        if first is not None:
            assert first.latest == promised[songs.index(first)] == min(promised.values())


def test_promises_made_again_and_again_do_not_pile_up() -> None:
    promises: DeadlineHeap[Song] = DeadlineHeap()
    song = Song()
    for number in range(10_000):
        song.latest = float(number)
        promises.make(song)
    assert len(promises._heap) < 100
