"""Values of the API: references, stems, tasks and outcomes."""

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import cattrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import SIGNATURE, TASK_ID, link

from vocalsep_async._text import is_visible
from vocalsep_async.errors import (
    DownloadError,
    InvalidArgumentError,
    NotFoundError,
    ServerError,
    TaskFailedError,
    VocalSepError,
)
from vocalsep_async.models import (
    FINAL_STATUSES,
    STEM_NAMES,
    DownloadReport,
    OriginTrack,
    SeparationTask,
    SeparationType,
    Stems,
    TaskOutcome,
    TaskRef,
    TaskStatus,
)

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STEMS = Stems(vocal=link("vocal"), drums=link("drums"))
TRACK = OriginTrack(name="Cello", url=link("cello"), id="t1", duration=3.5, part="extract")


def a_task(**changes: Any) -> SeparationTask:
    return SeparationTask(**({"task_id": TASK_ID, "status": TaskStatus.SUCCESS} | changes))


@pytest.mark.parametrize("task_id", [TASK_ID, "x" * 512, "odd & legal #?", "任务"])
def test_a_ref_accepts_any_text_that_can_be_sent(task_id: str) -> None:
    assert TaskRef(task_id).task_id == task_id


@pytest.mark.parametrize(
    "task_id, problem",
    [
        (7, "is a string, not int"),
        (b"abc", "is a string, not bytes"),
        (None, "is a string, not NoneType"),
        (["abc"], "is a string, not list"),
        ("", "is empty"),
        (" \t", "is empty"),
        ("x" * 513, "has 513 characters"),
        ("ab\ud800", "lone surrogate"),
        ("\udfffab", "lone surrogate"),
        (f"{TASK_ID}\n", "leading or trailing whitespace: strip it"),
        (f"{TASK_ID}\r\n", "leading or trailing whitespace: strip it"),
        (f" {TASK_ID}", "leading or trailing whitespace: strip it"),
        (f"{TASK_ID}\u00a0", "leading or trailing whitespace: strip it"),
        ("a\nb", r"holds the character '\\n'.*\.strip\(\)"),
        ("a\x00", r"holds the character '\\x00'"),
        ("a\x1b[2Jb", r"holds the character '\\x1b'"),
        ("\ufeffa", r"holds the character '\\ufeff'"),
        ("a\u202eb", r"holds the character '\\u202e'"),
        ("a\u3164b", r"holds the character '\\u3164'"),
    ],
)
def test_a_ref_refuses_an_id_that_cannot_be_sent(task_id: Any, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        TaskRef(task_id)
    with pytest.raises(InvalidArgumentError, match=problem):
        TaskRef.of(task_id)


@given(st.text(max_size=8) | st.text("a b\t\n\r\x00\x1b\x7f\x85\u2028\u200b\u202e\ufeff\u3164"))
def test_a_ref_holds_only_ids_that_print_as_they_are(task_id: str) -> None:
    is_clean = bool(task_id) and task_id == task_id.strip() and is_visible(task_id)
    if is_clean:
        assert TaskRef(task_id).task_id == task_id
    else:
        with pytest.raises(InvalidArgumentError) as caught:
            TaskRef(task_id)
        assert str(caught.value).isprintable()


def test_a_ref_of_a_ref_is_the_same_object() -> None:
    ref = TaskRef(TASK_ID, type="split_stem", created_at=CREATED)
    assert TaskRef.of(ref) is ref
    assert TaskRef.of(TASK_ID) == TaskRef(TASK_ID)
    assert ref.type is SeparationType.SPLIT_STEM


@pytest.mark.parametrize("type_", ["", "SPLIT_STEM", "new_type", 7, ["split_stem"], {}])
def test_an_unknown_type_is_refused_with_a_list_of_the_known_ones(type_: Any) -> None:
    with pytest.raises(
        InvalidArgumentError, match="separate_vocal, split_stem, split_stem_adv"
    ) as e:
        TaskRef(TASK_ID, type=type_)
    assert e.value.__context__ is None


@pytest.mark.parametrize("created_at", [datetime(2026, 1, 2), 1_767_000_000, "2026-01-02"])  # noqa: DTZ001
def test_a_creation_time_must_have_a_zone(created_at: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="time zone"):
        TaskRef(TASK_ID, created_at=created_at)


@pytest.mark.parametrize("route", ["", " ", 7, b"kie"])
def test_a_route_must_be_the_name_of_a_provider(route: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="route must be the name of a provider"):
        TaskRef(TASK_ID, route=route)


def test_two_refs_of_a_task_know_its_route_together_and_the_first_one_decides() -> None:
    one, other = TaskRef(TASK_ID), TaskRef(TASK_ID, route="kie")
    assert one.merged(other).route == other.merged(one).route == "kie"
    assert other.merged(TaskRef(TASK_ID, route="mine")).route == "kie"


@pytest.mark.parametrize("value", [TaskRef(TASK_ID, route="kie"), a_task(route="kie")])
def test_a_route_survives_pickles_copies_and_json(value: Any) -> None:
    for other in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
        assert other == value
    plain = json.loads(json.dumps(cattrs.Converter().unstructure(TaskRef(TASK_ID, route="kie"))))
    assert TaskRef(**plain) == TaskRef(TASK_ID, route="kie")


LABELS = [
    "Für Elise",
    "AC/DC – T.N.T.",
    " spaced ",
    "می\u200cخواهم",
    "👩\u200d🎤",
    "a\u00a0b",
    "x" * 255,
]


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_kept_as_it_was_given(label: str) -> None:
    ref = TaskRef(TASK_ID, label=label)
    assert ref.label == label
    assert pickle.loads(pickle.dumps(ref)) == copy.deepcopy(ref) == ref
    assert TaskRef(**json.loads(json.dumps(cattrs.Converter().unstructure(ref)))) == ref


@pytest.mark.parametrize(
    "label, words",
    [
        ("", "blank"),
        (" \u3000", "blank"),
        ("x" * 256, "256 characters; at most 255"),
        ("a\nb", r"character '\\n'"),
        ("a\x1b[31m", r"character '\\x1b'"),
        ("a\x85b", r"character '\\x85'"),
        ("a\u2028b", r"character '\\u2028'"),
        ("a\ud800", r"character '\\ud800'"),
        (7, "not int"),
        (b"a", "not bytes"),
    ],
)
def test_a_label_that_is_no_line_of_text_is_refused(label: Any, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"label .*{words}"):
        TaskRef(TASK_ID, label=label)


def test_two_refs_of_a_task_have_one_label_and_the_first_one_decides() -> None:
    one, other = TaskRef(TASK_ID), TaskRef(TASK_ID, label="Song")
    assert one.merged(other).label == other.merged(one).label == "Song"
    assert other.merged(TaskRef(TASK_ID, label="Another")).label == "Song"


@pytest.mark.parametrize("expects", [1, None, "yes"])
def test_whether_a_callback_is_expected_must_be_true_or_false(expects: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="expects_callback must be True or False"):
        TaskRef(TASK_ID, expects_callback=expects)


def test_two_refs_of_a_task_expect_its_callback_if_one_of_them_does() -> None:
    one, other = TaskRef(TASK_ID), TaskRef(TASK_ID, expects_callback=True)
    assert one.merged(other).expects_callback
    assert other.merged(one).expects_callback
    assert not one.merged(one).expects_callback


def test_that_a_callback_is_expected_survives_pickles_copies_and_json() -> None:
    ref = TaskRef(TASK_ID, expects_callback=True)
    for other in (pickle.loads(pickle.dumps(ref)), copy.deepcopy(ref)):
        assert other == ref
    plain = json.loads(json.dumps(cattrs.Converter().unstructure(ref)))
    assert TaskRef(**plain) == ref


def test_a_pickle_of_a_ref_from_before_callbacks_expects_none() -> None:
    ref = TaskRef.__new__(TaskRef)
    ref.__setstate__({"task_id": TASK_ID, "type": None, "created_at": None, "route": "kie"})
    assert ref == TaskRef(TASK_ID, route="kie")


def test_stems_hold_only_the_stems_that_are_present() -> None:
    assert dict(STEMS) == {"vocal": link("vocal"), "drums": link("drums")}
    assert len(STEMS) == 2
    assert "vocal" in STEMS
    assert "bass" not in STEMS
    assert 7 not in STEMS
    assert STEMS["drums"] == link("drums")
    with pytest.raises(KeyError):
        STEMS["bass"]


def test_stems_without_a_link_are_falsy() -> None:
    assert not Stems()
    assert list(Stems()) == []


def test_stems_that_are_not_documented_are_part_of_everything() -> None:
    stems = Stems(vocal=link("vocal"), others=(("harp", link("harp")),))
    assert list(stems) == [("vocal", link("vocal")), ("harp", link("harp"))]
    assert (len(stems), "harp" in stems, stems["harp"]) == (2, True, link("harp"))
    assert "harp=" in repr(stems)
    assert SIGNATURE not in repr(stems)
    assert pickle.loads(pickle.dumps(stems)) == stems
    assert hash(stems) == hash(copy.deepcopy(stems))
    assert Stems(others=stems.others)


def test_stems_pickled_before_there_were_others_have_none() -> None:
    stems = Stems.__new__(Stems)
    stems.__setstate__(dict.fromkeys(STEM_NAMES) | {"vocal": link("vocal")})
    assert stems == Stems(vocal=link("vocal"))


def test_every_stem_of_both_providers_has_a_name() -> None:
    assert len(STEM_NAMES) == 15
    assert {"origin", "instrumental", "vocal", "piano", "woodwinds"} <= set(STEM_NAMES)


@pytest.mark.parametrize(
    "value",
    [STEMS, TRACK, a_task(stems=STEMS, origin_tracks=(TRACK,), callback_url=link("hook"))],
    ids=lambda value: type(value).__name__,
)
def test_no_repr_shows_the_signature_of_a_link(value: Any) -> None:
    assert "files.example.net" in repr(value)
    assert SIGNATURE not in repr(value)
    assert SIGNATURE not in str(value)
    assert "hush-hush" not in f"{value}"


def test_comparison_and_repr_ignore_the_raw_record() -> None:
    assert a_task(raw={"a": 1}) == a_task(raw={"b": 2})
    assert hash(a_task(raw={"a": 1})) == hash(a_task(raw={"b": 2}))
    assert "hush" not in repr(a_task(raw={"a": "hush"}))


def test_a_task_is_frozen_and_survives_pickling_and_copying() -> None:
    task = a_task(stems=STEMS, origin_tracks=(TRACK,), raw={"a": [1]}, created_at=CREATED)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        task.status = TaskStatus.PENDING  # type: ignore[misc]
    for copied in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        assert copied == task
        assert copied.raw == task.raw


@pytest.mark.parametrize(
    "status, stems, tracks, is_final, succeeded",
    [
        ("PENDING", Stems(), (), False, False),
        ("PENDING", STEMS, (), False, False),
        ("SUCCESS", STEMS, (), True, True),
        ("SUCCESS", Stems(), (TRACK,), True, True),
        ("SUCCESS", Stems(), (), True, False),
        ("CREATE_TASK_FAILED", STEMS, (), True, False),
        ("GENERATE_AUDIO_FAILED", Stems(), (), True, False),
        ("CALLBACK_EXCEPTION", STEMS, (), True, True),
        ("CALLBACK_EXCEPTION", Stems(), (TRACK,), True, True),
        ("CALLBACK_EXCEPTION", Stems(), (), True, False),
        ("success", STEMS, (), False, False),
        ("SENSITIVE_WORD_ERROR", STEMS, (), False, False),
        ("", STEMS, (), False, False),
    ],
)
def test_status_and_links_decide_whether_a_task_succeeded(
    status: str,
    stems: Stems,
    tracks: tuple[OriginTrack, ...],
    *,
    is_final: bool,
    succeeded: bool,
) -> None:
    task = a_task(status=status, stems=stems, origin_tracks=tracks)
    assert (task.is_final, task.succeeded) == (is_final, succeeded)
    if succeeded:
        assert task.raise_for_failure() is task
    else:
        with pytest.raises(TaskFailedError) as caught:
            task.raise_for_failure()
        assert caught.value.task is task
        assert SIGNATURE not in str(caught.value)


@pytest.mark.parametrize("status", ["success", "SENSITIVE_WORD_ERROR", "3", ""])
@pytest.mark.parametrize(
    "fields, is_final, succeeded",
    [
        ({"stems": STEMS}, True, True),
        ({"origin_tracks": (TRACK,), "error_code": "200"}, True, True),
        ({"stems": STEMS, "error_code": 500}, True, True),
        ({"stems": Stems(origin=link("song"))}, True, True),
        ({"stems": Stems(origin=link("song")), "error_code": 500}, True, False),
        ({"error_code": "413"}, True, False),
        ({"error_code": 200}, False, False),
        ({}, False, False),
        ({"stems": STEMS, "error_code": 500, "completed_at": None}, False, False),
    ],
)
def test_a_task_with_a_status_of_another_vocabulary_has_ended_by_its_time_code_and_links(
    status: str, fields: dict[str, Any], *, is_final: bool, succeeded: bool
) -> None:
    task = a_task(**{"status": status, "completed_at": CREATED} | fields)
    assert (task.is_final, task.succeeded) == (is_final, succeeded)
    for known in ("PENDING", TaskStatus.PENDING):
        assert not attrs.evolve(task, status=known).is_final


def test_every_status_except_pending_is_final() -> None:
    assert set(TaskStatus) - FINAL_STATUSES == {TaskStatus.PENDING}


@pytest.mark.parametrize(
    "task, reason",
    [
        (a_task(status="PENDING"), "has not ended: PENDING"),
        (a_task(status="NEW\x1b"), r"has not ended: NEW\\x1b"),
        (a_task(), "ended with status SUCCESS: the record holds no URL"),
        (a_task(status=TaskStatus.CREATE_TASK_FAILED), "CREATE_TASK_FAILED: the API gave no rea"),
        (
            a_task(
                status=TaskStatus.GENERATE_AUDIO_FAILED, error_code=501, error_message="no voice"
            ),
            r"GENERATE_AUDIO_FAILED \(code 501\): no voice",
        ),
        (a_task(status=TaskStatus.CALLBACK_EXCEPTION, error_code=0), r"CALLBACK_EXC.* \(code 0\)"),
        (a_task(task_id="\x1b[2J"), r"task '\\\\x1b\[2J' ended"),
    ],
)
def test_the_error_of_a_failed_task_gives_the_reason(task: SeparationTask, reason: str) -> None:
    with pytest.raises(TaskFailedError, match=reason):
        task.raise_for_failure()


@pytest.mark.parametrize(
    "created, completed, duration",
    [
        (CREATED, CREATED + timedelta(seconds=83.5), 83.5),
        (CREATED, CREATED, 0.0),
        (CREATED, CREATED - timedelta(seconds=1), None),
        (CREATED, None, None),
        (None, CREATED, None),
        (None, None, None),
    ],
)
def test_a_duration_is_never_negative(
    created: datetime | None, completed: datetime | None, duration: float | None
) -> None:
    assert a_task(created_at=created, completed_at=completed).duration == duration


def an_outcome(task: SeparationTask | None, error: VocalSepError | None) -> TaskOutcome:
    status = task.status if task else None
    return TaskOutcome(
        task_id=TASK_ID, status=status, task=task, error=error, polls=3, elapsed=12.5
    )


def test_an_outcome_returns_its_task_or_raises_its_error() -> None:
    done, error = a_task(stems=STEMS), ServerError("down", code=500, http_status=200)
    assert an_outcome(done, None).succeeded
    assert an_outcome(done, None).result() is done
    assert not an_outcome(None, error).succeeded
    with pytest.raises(ServerError) as caught:
        an_outcome(None, error).result()
    assert caught.value is not error
    assert str(caught.value) == str(error)
    assert not an_outcome(a_task(), None).succeeded
    with pytest.raises(TaskFailedError):
        an_outcome(a_task(), None).result()
    with pytest.raises(InvalidArgumentError, match="without task and error"):
        an_outcome(None, None).result()


# Outcomes as a sentence and as a dictionary.

LINK = "https://cdn.example/v.mp3?signature=s#part"
DONE = SeparationTask(task_id="a", status=TaskStatus.SUCCESS, stems=Stems(vocal=LINK))
BAD = SeparationTask(
    task_id="a", status=TaskStatus.GENERATE_AUDIO_FAILED, error_code=500, error_message="no voice"
)
NOT_SAVED = DownloadError("stem vocal: the disk is full", task_id="a", stem="vocal")


def outcome_with(**fields: Any) -> TaskOutcome:
    known = {"task_id": "a", "status": None, "task": None, "error": None, "polls": 2}
    return TaskOutcome(**{**known, "elapsed": 1.5, **fields})


@pytest.mark.parametrize(
    "outcome, reason",
    [
        (outcome_with(task=DONE), None),
        (
            outcome_with(task=BAD),
            "task 'a' ended with status GENERATE_AUDIO_FAILED (code 500): no voice",
        ),
        (outcome_with(error=NotFoundError("gone", code=404, http_status=404)), "code 404: gone."),
        (outcome_with(task=DONE, download_error=NOT_SAVED), "stem vocal: the disk is full"),
        (outcome_with(), "nothing is known of the task"),
    ],
    ids=["succeeded", "failed", "ended with an error", "not saved", "empty"],
)
def test_an_outcome_gives_its_reason_in_a_sentence(
    outcome: TaskOutcome, reason: str | None
) -> None:
    assert outcome.succeeded is (reason is None)
    assert reason is None or (outcome.reason or "").startswith(reason)
    assert json.loads(json.dumps(outcome.to_dict()))["reason"] == outcome.reason


def test_the_dictionary_of_an_outcome_omits_the_queries_of_links_by_default() -> None:
    outcome = outcome_with(task=DONE, status=DONE.status, files={"vocal": Path("a/vocal.mp3")})
    assert outcome.to_dict() == {
        "task_id": "a",
        "label": None,
        "status": "SUCCESS",
        "succeeded": True,
        "reason": None,
        "stems": {"vocal": "https://cdn.example/v.mp3"},
        "files": {"vocal": str(Path("a/vocal.mp3"))},
        "not_saved": {},
        "polls": 2,
        "elapsed": 1.5,
    }
    assert outcome.to_dict(keep_links=True)["stems"] == {"vocal": LINK}


def test_an_outcome_has_a_label_in_its_dictionary_and_its_pickles() -> None:
    outcome = outcome_with(label="Für Elise")
    assert outcome.to_dict()["label"] == "Für Elise"
    assert pickle.loads(pickle.dumps(outcome)) == copy.deepcopy(outcome) == outcome
    assert outcome != outcome_with()


def test_the_dictionary_of_an_outcome_omits_a_link_that_cannot_be_parsed() -> None:
    task = SeparationTask(
        task_id="a", status=TaskStatus.SUCCESS, stems=Stems(vocal="http://[?signature=s")
    )
    assert outcome_with(task=task).to_dict()["stems"] == {"vocal": ""}


def test_the_key_error_of_an_absent_stem_lists_the_present_ones() -> None:
    with pytest.raises(KeyError, match="no stem 'vocals'; there are: vocal"):
        DONE.stems["vocals"]
    with pytest.raises(KeyError, match="no stem 'vocal'; there are: none"):
        Stems()["vocal"]


def test_an_outcome_says_why_each_stem_is_not_saved() -> None:
    drums = DownloadError("stem drums: too large", task_id="a", stem="drums")
    report = DownloadReport(task_id="a", files=(), errors=(NOT_SAVED, drums))
    outcome = outcome_with(task=DONE, download_error=report.error)
    assert outcome.not_saved == {"vocal": NOT_SAVED, "drums": drums}
    assert outcome.to_dict()["not_saved"] == {
        "vocal": str(NOT_SAVED),
        "drums": "stem drums: too large",
    }
    alone = outcome_with(task=DONE, download_error=NOT_SAVED)
    assert alone.not_saved == {"vocal": NOT_SAVED}
    assert outcome_with(task=DONE).not_saved == {}
