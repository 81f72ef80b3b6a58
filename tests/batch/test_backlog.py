"""The backlog of a batch: ids that were never polled."""

from __future__ import annotations

from typing import Any

import pytest

from vocalsep_async._batch.backlog import UnpolledIds
from vocalsep_async._batch.groups import ArrivalGroup, Kind
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.models import SeparationType


def test_an_empty_backlog_admits_nothing() -> None:
    backlog = UnpolledIds(HazardTable(), lambda _: None, lambda _id, _group: None)
    assert len(backlog) == 0
    assert backlog.expected_delay(0.0) == 0.0
    assert backlog.delay_growth(0.0) == 0.0
    assert backlog.admit(0.0) is None


def test_a_backlog_does_not_keep_ids_that_were_removed() -> None:
    backlog = UnpolledIds(HazardTable(), lambda _: None, lambda _id, _group: None)
    for number in range(1000):
        backlog.append(f"t{number}", None)
        backlog.on_removed()
    assert len(backlog) == 0
    assert sum(map(len, backlog._ids.values())) < 100


def test_the_expected_delay_of_a_backlog_grows_as_it_says() -> None:
    """That of the type with the longest expected delay."""
    batch: Any = None
    groups = {
        type_: ArrivalGroup(batch, Kind(type_), started)
        for type_, started in ((SeparationType.SEPARATE_VOCAL, 0.0), (None, 90.0))
    }
    ids = {"a": groups[SeparationType.SEPARATE_VOCAL], "b": groups[None]}
    backlog = UnpolledIds(HazardTable(), ids.get, lambda _id, _group: None)
    for task_id, group in ids.items():
        backlog.append(task_id, group.type)
    for now in (90.0, 100.0, 1000.0):
        grown = backlog.expected_delay(now + 0.01) - backlog.expected_delay(now)
        assert backlog.delay_growth(now) == pytest.approx(grown / 0.01, rel=1e-3)
