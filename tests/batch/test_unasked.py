"""Ids of a batch that nobody looked at yet."""

from __future__ import annotations

from vocalsep_async.batch.unasked import Unasked
from vocalsep_async.schedule import Durations


def test_where_nobody_waits_nobody_is_admitted() -> None:
    unasked = Unasked(Durations(), lambda _: None, lambda _id, _cohort: None)
    assert len(unasked) == 0
    assert unasked.worth(0.0) == 0.0
    assert unasked.admit(0.0) is None


def test_ids_that_left_leave_nothing_behind() -> None:
    unasked = Unasked(Durations(), lambda _: None, lambda _id, _cohort: None)
    for number in range(1000):
        unasked.append(f"t{number}", None)
        unasked.has_left()
    assert len(unasked) == 0
    assert sum(map(len, unasked._ids.values())) < 100
