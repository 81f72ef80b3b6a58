"""The backlog of a batch: ids that were never polled."""

from __future__ import annotations

from vocalsep_async._batch.backlog import UnpolledIds
from vocalsep_async._scheduling.hazards import HazardTable


def test_an_empty_backlog_admits_nothing() -> None:
    backlog = UnpolledIds(HazardTable(), lambda _: None, lambda _id, _group: None)
    assert len(backlog) == 0
    assert backlog.expected_delay(0.0) == 0.0
    assert backlog.admit(0.0) is None


def test_a_backlog_does_not_keep_ids_that_were_removed() -> None:
    backlog = UnpolledIds(HazardTable(), lambda _: None, lambda _id, _group: None)
    for number in range(1000):
        backlog.append(f"t{number}", None)
        backlog.on_removed()
    assert len(backlog) == 0
    assert sum(map(len, backlog._ids.values())) < 100
