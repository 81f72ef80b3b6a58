"""Ids of a batch that nobody looked at yet."""

from __future__ import annotations

from vocalsep_async.batch.unasked import Unasked
from vocalsep_async.schedule import Durations


def test_where_nobody_waits_nobody_is_admitted() -> None:
    unasked = Unasked(Durations(), lambda _: None, lambda _id, _cohort: None)
    assert len(unasked) == 0
    assert unasked.worth(0.0) == 0.0
    assert unasked.admit(0.0) is None
