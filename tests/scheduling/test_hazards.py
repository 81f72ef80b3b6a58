"""How long tasks take: the model's arithmetic, what it learns, and its file."""

import json
import math
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._scheduling.hazards import _BINS, _EDGES, HazardModel, _bin
from vocalsep_async.durations import Durations
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType

VOCAL, SPLIT = SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM


def lognormal(seed: int, median: float = 45.0, spread: float = 0.45) -> list[float]:
    random_ = random.Random(seed)
    return [median * math.exp(random_.gauss(0.0, spread)) for _ in range(200)]


def taught(durations: list[float], median: float = 75.0) -> HazardModel:
    model = HazardModel(median)
    for duration in durations:
        model.observe_completion(0.0, duration)
    return model


MODELS = [HazardModel(), HazardModel(1), HazardModel(7200), taught(lognormal(1))]
AGES = st.floats(0, 20_000)
models = st.sampled_from(MODELS)


# The arithmetic.


@given(models, AGES, st.floats(1e-3, 5000))
def test_the_due_age_is_where_the_worth_is_reached(
    model: HazardModel, since: float, expected_delay: float
) -> None:
    due = model.due(since, expected_delay)
    assert due > since
    # Near since both are tiny differences of large numbers.
    error = 1e-5 * expected_delay + 1e-9 * since
    assert model.expected_delay(since, due) == pytest.approx(expected_delay, abs=error)


@given(models, AGES, st.floats(1, 5000))
def test_the_worth_of_an_age_is_due_at_that_age(
    model: HazardModel, since: float, later: float
) -> None:
    age = since + later
    expected_delay = model.expected_delay(since, age)
    assert model.due(since, expected_delay) == pytest.approx(age, rel=1e-5)


@given(models, AGES, st.floats(0, 5000), st.floats(0, 5000))
def test_what_goes_unnoticed_grows_with_age_and_faster_and_faster(
    model: HazardModel, since: float, one: float, two: float
) -> None:
    near, far = sorted((since + one, since + two))
    middle = (near + far) / 2
    values = [model.expected_delay(since, age) for age in (near, middle, far)]
    assert -1e-6 <= values[0] <= values[1] + 1e-6 <= values[2] + 2e-6
    assert values[1] <= (values[0] + values[2]) / 2 + 1e-6
    assert values[2] <= far - since + 1e-6


@given(models, AGES, st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_more_a_look_costs_the_later_it_is_due(
    model: HazardModel, since: float, one: float, two: float
) -> None:
    low, high = sorted((one, two))
    assert since <= model.due(since, low) <= model.due(since, high) + 1e-6


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("since", [-5.0, 0.0, 60.0, 7200.0, 1e9])
@pytest.mark.parametrize("expected_delay", [0.0, 5e-324, 1e-300, 1e-18, 1e-9, 1e300])
def test_extreme_costs_do_no_harm(model: HazardModel, since: float, expected_delay: float) -> None:
    due = model.due(since, expected_delay)
    assert due >= since
    assert math.isfinite(due)


def test_where_next_to_nothing_ends_a_poll_that_costs_nothing_is_due_at_once() -> None:
    """Rounding takes a step past the root at some of these ages."""
    model = HazardModel(7200)
    for since in (hundredth / 100 for hundredth in range(2000)):
        assert model.due(since, 0.0) == pytest.approx(since, abs=1e-6)


@given(models, st.floats(1e-6, 1e5))
def test_from_birth_the_tables_say_what_the_walk_through_the_ages_does(
    model: HazardModel, expected_delay: float
) -> None:
    assert model.due(0.0, expected_delay) == pytest.approx(
        model.due(1e-12, expected_delay), rel=1e-6, abs=1e-6
    )


def test_the_tables_follow_what_is_learned() -> None:
    model = HazardModel()
    for duration in lognormal(9):
        model.observe_completion(0.0, duration)
        assert model.due(0.0, 5.0) == pytest.approx(model.due(1e-12, 5.0), rel=1e-6)
    model.update_from(taught(lognormal(10, 300.0)).to_dict())
    assert model.due(0.0, 5.0) == pytest.approx(model.due(1e-12, 5.0), rel=1e-6)


@given(models, AGES, st.floats(1e-9, 1.0))
def test_after_the_time_that_is_left_the_share_that_was_asked_about_still_runs(
    model: HazardModel, since: float, share: float
) -> None:
    left = model.remaining(since, share)
    assert left >= 0
    # The hazards say it too, second by second or finer.
    ends = [since, *(edge for edge in _EDGES[1:-1] if since < edge < since + left), since + left]
    spent = sum(model._hazards[_bin((a + b) / 2)] * (b - a) for a, b in pairwise(ends))
    assert math.exp(-spent) == pytest.approx(share, rel=1e-6)


@given(models, AGES, st.floats(1e-9, 1.0), st.floats(1e-9, 1.0))
def test_the_fewer_shall_run_the_longer_it_takes(
    model: HazardModel, since: float, one: float, two: float
) -> None:
    few, many = sorted((one, two))
    assert model.remaining(since, many) <= model.remaining(since, few) + 1e-6


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("since", [0.0, 60.0, 7200.0, 1e6])
def test_all_that_run_now_run_now(model: HazardModel, since: float) -> None:
    assert model.remaining(since, 1.0) == 0.0


def test_half_of_what_was_learned_from_is_left_at_its_median() -> None:
    assert taught(lognormal(11)).remaining(0.0, 0.5) == pytest.approx(45.0, rel=0.15)


def test_nothing_goes_unnoticed_in_no_time() -> None:
    assert HazardModel().expected_delay(60.0, 60.0) == 0
    assert HazardModel().expected_delay(60.0, 50.0) == 0


def test_it_is_the_integral_that_it_says() -> None:
    """Against the plain definition, for durations known to be exponential."""
    model = HazardModel()
    random_ = random.Random(5)
    for _ in range(3000):
        model.observe_completion(0.0, random_.expovariate(1 / 50))
    age, rate = 40.0, 1 / 50
    exact = age - (1 - math.exp(-rate * age)) / rate
    assert model.expected_delay(0.0, age) == pytest.approx(exact, rel=0.2)


@pytest.mark.parametrize("median", [0, 0.5, -1, math.nan, math.inf, True, "75", None])
def test_a_guess_is_a_number_of_seconds(median: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^median must be"):
        HazardModel(median)


def test_a_guess_beyond_two_hours_is_two_hours() -> None:
    assert HazardModel(1e300).due(60, 1) == HazardModel(7200).due(60, 1)


# Learning.


def median_of(model: HazardModel) -> float:
    """The age at which the model expects half of the tasks to have ended."""
    low, high = 0.0, 7200.0
    for _ in range(50):
        middle = (low + high) / 2
        # The derivative of undetected() is the share that has ended.
        ended = model.expected_delay(0, middle + 0.01) - model.expected_delay(0, middle - 0.01)
        low, high = (middle, high) if ended / 0.02 < 0.5 else (low, middle)
    return low


@pytest.mark.parametrize("guess", [10.0, 75.0, 600.0])
@pytest.mark.parametrize("truth", [20.0, 45.0, 200.0])
def test_it_moves_to_what_was_seen_whatever_the_guess(guess: float, truth: float) -> None:
    assert median_of(HazardModel(guess)) == pytest.approx(guess, rel=0.15)
    model = taught(lognormal(2, truth), guess)
    assert median_of(model) == pytest.approx(truth, rel=0.15)


def test_it_follows_when_durations_change() -> None:
    model = taught(lognormal(3, 40.0))
    for duration in lognormal(4, 120.0) * 4:
        model.observe_completion(0.0, duration)
    assert median_of(model) == pytest.approx(120.0, rel=0.15)


def test_tasks_that_still_run_make_later_ends_likelier() -> None:
    """Censoring: what is known of a task that has not ended counts too."""
    told, plain = taught(lognormal(5)), taught(lognormal(5))
    for _ in range(100):
        told.observe_running(0.0, 60.0)
    for model in (told, plain):
        model.observe_completion(0.0, 45.0)
        model._rebuild()
    assert median_of(told) > 1.1 * median_of(plain)


def test_what_was_told_before_is_not_counted_twice() -> None:
    once, twice = HazardModel(), HazardModel()
    once.observe_completion(0.0, 80.0)
    twice.observe_running(0.0, 30.0)
    twice.observe_running(30.0, 55.0)
    twice.observe_completion(55.0, 80.0)
    running = [model.to_dict()["running"] for model in (once, twice)]
    assert sum(running[1]) == pytest.approx(sum(running[0]), rel=0.01)
    assert sum(running[0]) == pytest.approx(80.0)


def test_running_backwards_or_beyond_all_ages_counts_nothing() -> None:
    model = HazardModel()
    model.observe_running(60.0, 60.0)
    model.observe_running(60.0, 30.0)
    model.observe_running(9000.0, 9999.0)
    assert sum(model.to_dict()["running"]) == 0
    model.observe_completion(0.0, 1e9)
    assert sum(model.to_dict()["done"]) == 1


def test_the_past_is_forgotten_in_time() -> None:
    model = taught([50.0] * 3000)
    assert sum(model.to_dict()["done"]) == pytest.approx(200, rel=0.01)
    assert model.completions == 3000


def test_no_age_is_ever_written_off() -> None:
    """A stuck task is looked at again, however sure the model is."""
    model = taught([30.0] * 1000)
    assert model.due(600.0, 0.1) < 600.0 + 300


def test_its_version_grows_with_its_tables() -> None:
    model = HazardModel()
    versions = []
    for duration in lognormal(6):
        before = model.expected_delay(0.0, 60.0)
        version = model.version
        model.observe_completion(0.0, duration)
        versions.append(model.version)
        assert (model.expected_delay(0.0, 60.0) == before) is (model.version == version)
    assert versions[:4] == [1, 2, 3, 4]
    assert versions == sorted(versions)
    assert 15 < versions[-1] < 60


def test_it_says_how_much_it_learned() -> None:
    assert repr(taught([5.0] * 3)) == "<DurationModel: 3 completions>"


# One model a type.


@pytest.mark.parametrize(
    "type_, learned_from",
    [(VOCAL, {VOCAL, None}), (SPLIT, {SPLIT, None}), (None, {None})],
)
def test_a_finished_task_teaches_its_type_and_the_unknown(
    type_: SeparationType | None, learned_from: set[SeparationType | None]
) -> None:
    durations = Durations()
    durations._hazards.observe_completion(60.0, type_=type_)
    taught_kinds = {
        kind for kind in (*SeparationType, None) if durations._hazards.model(kind).completions
    }
    assert taught_kinds == learned_from


def test_time_reported_under_one_type_is_counted_whole_under_another() -> None:
    durations = Durations()
    durations._hazards.model(None).observe_running(0.0, 50.0)
    durations._hazards.observe_completion(60.0, type_=VOCAL, tracked_as=None, since=50.0)
    assert sum(durations._hazards.model(VOCAL).to_dict()["running"]) == pytest.approx(60.0)
    assert sum(durations._hazards.model(None).to_dict()["running"]) == pytest.approx(60.0, rel=0.01)


def test_types_begin_with_guesses_of_their_own() -> None:
    durations = Durations()
    assert median_of(durations._hazards.model(SPLIT)) > 1.5 * median_of(
        durations._hazards.model(VOCAL)
    )


# The file.


def some_durations() -> Durations:
    durations = Durations()
    for duration in lognormal(7):
        durations._hazards.observe_completion(duration, type_=VOCAL)
        durations._hazards.observe_completion(2 * duration, type_=SPLIT)
    return durations


def state(durations: Durations) -> list[dict[str, Any]]:
    return [durations._hazards.model(kind).to_dict() for kind in (*SeparationType, None)]


def test_what_was_learned_survives_a_run(tmp_path: Path) -> None:
    path, learned, fresh = tmp_path / "durations.json", some_durations(), Durations()
    held = fresh._hazards.model(VOCAL)
    learned.save(path)
    fresh.load(str(path))
    assert state(fresh) == state(learned)
    assert repr(fresh) == "<Durations: 400 completions>"
    # Who holds a model, as a waiting poller does, has the loaded one.
    assert held.due(30.0, 0.1) == pytest.approx(
        learned._hazards.model(VOCAL).due(30.0, 0.1), rel=0.05
    )
    assert held.version > 0


def test_saving_replaces_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text("something else")
    some_durations().save(path)
    assert [heap_item.name for heap_item in tmp_path.iterdir()] == ["durations.json"]
    Durations().load(path)


def test_a_failed_save_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "durations.json"
    some_durations().save(path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(OSError, match="No space"):
        Durations().save(path)
    assert path.read_bytes() == before
    assert [heap_item.name for heap_item in tmp_path.iterdir()] == ["durations.json"]


def test_a_place_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Durations().save(tmp_path / "missing" / "durations.json")
    with pytest.raises(FileNotFoundError):
        Durations().load(tmp_path / "durations.json")


def saved(**changes: Any) -> dict[str, Any]:
    """What a good file holds, with changes to its last model."""
    models = {
        kind: {"completions": 3, "done": [0.5] * _BINS, "running": [9.0] * _BINS}
        for kind in ("separate_vocal", "split_stem", "split_stem_advanced", "unknown")
    }
    models["unknown"].update(changes)
    return {"format": "vocalsep-durations-1", "models": models}


def test_the_example_is_good(tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text(json.dumps(saved()))
    durations = Durations()
    durations.load(path)
    assert durations._hazards.model(VOCAL).completions == 3


def damaged(key: str, value: Any) -> str:
    return json.dumps(saved(**{key: value}))


NO_COMPLETIONS: list[Any] = [None, -1, 1.5, True, "3", []]
NO_BINS: list[Any] = [None, [], [1.0] * (_BINS - 1), {}, "x"]
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
            damaged(key, [value, *[1.0] * (_BINS - 1)])
            for key in ("done", "running")
            for value in NO_COUNTS
        ),
        "[" * 200_000,
        '{"format": ' + "7" * 5000 + "}",
    ],
    ids=lambda content: content[:40] or "empty",
)
def test_a_damaged_or_foreign_file_is_refused_and_nothing_taken_over(
    content: str, tmp_path: Path
) -> None:
    path = tmp_path / "durations.json"
    path.write_text(content)
    durations = some_durations()
    before = state(durations)
    with pytest.raises(InvalidArgumentError, match="holds no saved durations") as caught:
        durations.load(path)
    assert str(path) in str(caught.value)
    assert state(durations) == before


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80", bytes(range(256))])
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="holds no saved durations"):
        Durations().load(path)


def test_a_model_takes_over_what_another_learned() -> None:
    learned, model = taught(lognormal(8)), HazardModel()
    model.update_from(json.loads(json.dumps(learned.to_dict())))
    assert model.to_dict() == learned.to_dict()
    wrongs: list[Any] = [None, [], {"completions": 1}]
    for wrong in wrongs:
        with pytest.raises(ValueError):  # noqa: PT011
            model.update_from(wrong)
    assert model.to_dict() == learned.to_dict()


@pytest.mark.parametrize("done, running", [(200.0, 0.0), (0.0, 1e12), (0.0, 0.0), (1e12, 1e12)])
def test_any_file_that_is_taken_gives_a_model_that_works(done: float, running: float) -> None:
    model = HazardModel()
    model.update_from({"completions": 9, "done": [done] * _BINS, "running": [running] * _BINS})
    for age in (0.0, 50.0, 8000.0):
        assert age < model.due(age, 0.1) < math.inf
