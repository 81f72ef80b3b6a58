"""What a client has learned about durations: views for policies, and saving and loading."""

import json
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError

from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.durations import Durations
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType

VOCAL, SPLIT = SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM
BINS = 46
TYPES = (*SeparationType, None)


def trained_durations() -> Durations:
    """Durations of a client that has seen 200 tasks of each of two types finish."""
    random_, table = random.Random(7), HazardTable()
    for _ in range(200):
        duration = 45.0 * math.exp(random_.gauss(0.0, 0.45))
        table.observe_completion(duration, type_=VOCAL)
        table.observe_completion(2 * duration, type_=SPLIT)
    durations = Durations()
    durations.update_from(table.to_dict())
    return durations


# Views.


def test_a_view_shows_what_was_learned_for_its_type() -> None:
    durations = trained_durations()
    views = [durations.view(type_) for type_ in (VOCAL, "split_stem", "split_stem_advanced", None)]
    assert [view.completions for view in views] == [200, 200, 0, 400]
    assert repr(views[0]) == "<DurationView: 200 completions>"
    assert views[1].remaining(0.0, 0.5) > 1.5 * views[0].remaining(0.0, 0.5)


def test_a_view_gives_the_expected_delay_and_the_age_at_which_it_is_reached() -> None:
    view = trained_durations().view(VOCAL)
    assert view.expected_delay(30.0, 30.0) == 0.0
    assert view.expected_delay(30.0, view.due(30.0, 2.5)) == pytest.approx(2.5)


def test_a_view_of_an_unknown_type_is_refused() -> None:
    unknown: Any = "karaoke"
    with pytest.raises(InvalidArgumentError):
        Durations().view(unknown)


def test_a_view_is_read_only() -> None:
    view: Any = Durations().view()
    with pytest.raises(FrozenInstanceError):
        view._model = None


def test_a_view_stays_up_to_date() -> None:
    learned, fresh = trained_durations(), Durations()
    view = fresh.view(VOCAL)
    before = view.due(30.0, 0.1)
    fresh.update_from(learned.to_dict())
    assert view.completions == 200
    assert view.due(30.0, 0.1) == learned.view(VOCAL).due(30.0, 0.1) != before


# Saving and loading.


def test_a_saved_file_restores_what_was_learned(tmp_path: Path) -> None:
    path, learned, fresh = tmp_path / "durations.json", trained_durations(), Durations()
    learned.save(path)
    fresh.load(str(path))
    assert fresh.to_dict() == learned.to_dict()
    assert repr(fresh) == "<Durations: 400 completions>"


def test_to_dict_gives_json_values_for_update_from() -> None:
    learned, fresh = trained_durations(), Durations()
    fresh.update_from(json.loads(json.dumps(learned.to_dict())))
    assert fresh.to_dict() == learned.to_dict()


def test_save_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text("something else")
    trained_durations().save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["durations.json"]
    Durations().load(path)


def test_save_writes_to_a_device_and_does_not_replace_it(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    Durations().save(link)
    assert link.is_symlink()
    assert Path(os.devnull).is_char_device()


def test_save_replaces_the_file_that_a_link_leads_to(tmp_path: Path) -> None:
    target, link = tmp_path / "durations.json", tmp_path / "link.json"
    link.symlink_to(target)
    Durations().save(link)
    assert link.is_symlink()
    assert json.loads(target.read_text(encoding="ascii")) == Durations().to_dict()


def test_a_failed_save_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "durations.json"
    trained_durations().save(path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(OSError, match="No space"):
        Durations().save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["durations.json"]


def test_a_missing_folder_or_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Durations().save(tmp_path / "missing" / "durations.json")
    with pytest.raises(FileNotFoundError):
        Durations().load(tmp_path / "durations.json")


def saved(**changes: Any) -> dict[str, Any]:
    """Valid saved durations, with *changes* to the last model."""
    models = {
        kind: {"completions": 3, "done": [0.5] * BINS, "running": [9.0] * BINS}
        for kind in ("separate_vocal", "split_stem", "split_stem_advanced", "unknown")
    }
    models["unknown"].update(changes)
    return {"format": "vocalsep-durations-1", "models": models}


def test_the_unchanged_example_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text(json.dumps(saved()))
    durations = Durations()
    durations.load(path)
    assert [durations.view(type_).completions for type_ in TYPES] == [3] * 4


def damaged(key: str, value: Any) -> str:
    return json.dumps(saved(**{key: value}))


NO_COMPLETIONS: list[Any] = [None, -1, 1.5, True, "3", []]
NO_BINS: list[Any] = [None, [], [1.0] * (BINS - 1), {}, "x"]
NO_COUNTS: list[Any] = [-1, math.nan, math.inf, 1e300, 10**400, None, True, "1", []]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"format": "vocalsep-durations-2"}',
        '{"format": "vocalsep-durations-1"}',
        '{"format": "vocalsep-durations-1", "models": []}',
        '{"format": "vocalsep-durations-1", "models": {}}',
        json.dumps(saved())[:-3],
        *(damaged("completions", value) for value in NO_COMPLETIONS),
        *(damaged("done", value) for value in NO_BINS),
        *(
            damaged(key, [value, *[1.0] * (BINS - 1)])
            for key in ("done", "running")
            for value in NO_COUNTS
        ),
        "[" * 200_000,
        '{"format": ' + "7" * 5000 + "}",
    ],
    ids=lambda content: content[:40] or "empty",
)
def test_load_refuses_a_damaged_or_foreign_file_and_changes_nothing(
    content: str, tmp_path: Path
) -> None:
    path = tmp_path / "durations.json"
    path.write_text(content)
    durations = trained_durations()
    before = durations.to_dict()
    with pytest.raises(InvalidArgumentError, match="holds no saved durations") as caught:
        durations.load(path)
    assert str(path) in str(caught.value)
    assert durations.to_dict() == before


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80", bytes(range(256))])
def test_load_refuses_a_binary_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="holds no saved durations"):
        Durations().load(path)


@pytest.mark.parametrize("wrong", [None, [], {}, {"format": "vocalsep-durations-1"}])
def test_update_from_refuses_other_values_and_changes_nothing(wrong: Any) -> None:
    durations = trained_durations()
    before = durations.to_dict()
    with pytest.raises(ValueError, match=r"format|models"):
        durations.update_from(wrong)
    assert durations.to_dict() == before
