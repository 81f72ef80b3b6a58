"""Ids of a batch that nobody looked at yet."""

from __future__ import annotations

from vocalsep_async._batch.backlog import UnpolledIds
from vocalsep_async._scheduling.hazards import HazardTable


def test_where_nobody_waits_nobody_is_admitted() -> None:
    unasked = UnpolledIds(HazardTable(), lambda _: None, lambda _id, _group: None)
    assert len(unasked) == 0
    assert unasked.expected_delay(0.0) == 0.0
    assert unasked.admit(0.0) is None


def test_ids_that_left_leave_nothing_behind() -> None:
    unasked = UnpolledIds(HazardTable(), lambda _: None, lambda _id, _group: None)
    for number in range(1000):
        unasked.append(f"t{number}", None)
        unasked.has_left()
    assert len(unasked) == 0
    assert sum(map(len, unasked._ids.values())) < 100
