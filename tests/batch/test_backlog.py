"""The backlog of a batch: ids that were never polled."""

from __future__ import annotations

from collections.abc import Sequence
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
    assert sum(len(line.ids) for line in backlog._lines.values()) < 100


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


class Ids:
    """A backlog of ids that are all added at moment 0; they are their places in *ages*.

    Args:
        ages: how old the tasks are, told by their first polls; None is never told.
        types: of the tasks, in turns.
    """

    def __init__(
        self, ages: Sequence[float | None], types: Sequence[SeparationType | None] = (None,)
    ) -> None:
        batch: Any = None
        self.ages = ages
        self.admitted: list[int] = []
        self.groups = {
            str(place): ArrivalGroup(batch, Kind(types[place % len(types)]), 0.0)
            for place in range(len(ages))
        }
        self.backlog = UnpolledIds(HazardTable(), self.groups.get, self._admit)
        for task_id, group in self.groups.items():
            self.backlog.append(task_id, group.type)

    def _admit(self, task_id: str, group: ArrivalGroup) -> None:
        place = int(task_id)
        self.admitted.append(place)
        del self.groups[task_id]
        self.backlog.on_removed()
        age = self.ages[place]
        if age is not None:
            self.backlog.observe(task_id, group.type, age)

    def admit(self, count: int) -> list[int]:
        """Admit so many at moment 0; return the places of all admitted so far."""
        for _ in range(count):
            self.backlog.admit(0.0)
        return self.admitted


@pytest.mark.parametrize("types", [(None,), tuple(SeparationType)[:2]], ids=["one", "two"])
@pytest.mark.parametrize("is_reversed", [False, True], ids=["new first", "old first"])
def test_a_backlog_finds_the_old_tasks_at_either_end_of_the_list(
    types: Sequence[SeparationType | None], *, is_reversed: bool
) -> None:
    ages = [0.0] * 40 + [300.0] * 40
    ids = Ids(ages[::-1] if is_reversed else ages, types)
    # The others are tries, at the young end of each type and beyond the old ones.
    first = ids.admit(56)
    assert sum(ids.ages[place] == 300.0 for place in first) == 40


def test_a_backlog_takes_tasks_in_the_order_of_creation_from_the_older_end() -> None:
    assert Ids([10.0 * place for place in range(40)]).admit(20)[2:] == list(range(38, 20, -1))


def test_a_backlog_learns_nothing_from_one_type_about_another() -> None:
    vocal, split = SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM
    ids = Ids([0.0, 300.0] * 20, (vocal, split))
    first = ids.admit(40)
    assert sum(place % 2 for place in first[:22]) >= 18


def test_a_backlog_remembers_a_bounded_number_of_first_polls() -> None:
    ids = Ids([0.0] * 8 + [None] * 3000)
    ids.admit(3000)
    assert 3007 in ids.admitted
    assert 0 < len(ids.backlog._from_back) <= 1024


def test_an_age_that_comes_late_counts_for_the_end_from_which_its_task_came() -> None:
    ids = Ids([0.0] * 8 + [None] * 8)
    assert ids.admit(3) == [0, 15, 14]
    before = ids.backlog.expected_delay(0.0)
    ids.backlog.observe("15", None, 0.0)
    assert ids.backlog.expected_delay(0.0) == pytest.approx(before / 2)


def test_the_expected_delay_at_the_end_of_a_line_grows_as_the_backlog_says() -> None:
    ids = Ids([0.0] * 4 + [90.0] * 4)
    ids.admit(3)
    grown = ids.backlog.expected_delay(5.01) - ids.backlog.expected_delay(5.0)
    assert ids.backlog.delay_growth(5.0) == pytest.approx(grown / 0.01, rel=1e-3)
