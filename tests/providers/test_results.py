"""Links of a result: found in every place and under every key, and never dropped."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from payloads import TASK_ID, advanced_done, answer, link, origin_item, pending, vocals_done

from vocalsep_async.models import STEM_NAMES, SeparationTask, Stems, TaskRef, TaskStatus
from vocalsep_async.providers import KIE, SUNOAPI
from vocalsep_async.providers._decoder import Decoder
from vocalsep_async.providers._records import structure_task
from vocalsep_async.providers._spellings import LINKS

INFOS = ("vocal_removal_info", "vocal_separation_info", "vocalRemovalInfo", "vocalSeparationInfo")
EMPTY: list[Any] = [None, "", {}, [], {"vocalUrl": None, "originData": None}, {"vocalUrl": ""}]


def stems_in(response: Any, **record: Any) -> dict[str, str]:
    return dict(structure_task(vocals_done(response=response, **record)).stems)


def every_link(task: SeparationTask) -> set[str]:
    return {url for _, url in task.stems} | {track.url for track in task.origin_tracks}


# Keys that are not documented.


@pytest.mark.parametrize(
    "key, name",
    [
        ("harpUrl", "harp"),
        ("harp_url", "harp"),
        ("harpURL", "harp"),
        ("otherUrl", "other"),
        ("vocalsUrl", "vocals"),
        ("accompanimentUrl", "accompaniment"),
        ("leadGuitarUrl", "lead_guitar"),
        ("lead_guitar_url", "lead_guitar"),
        ("LeadVocalURL", "lead_vocal"),
        ("EQ2Url", "eq_2"),
        ("stem../..\\x00Url", "stem_x_00"),
        ("竖琴Url", "track"),
        ("url", "track"),
        ("x" * 99 + "Url", "x" * 40),
        ("vocalURL", "vocal"),
    ],
)
def test_a_link_under_any_key_is_a_stem_with_the_name_of_the_key(key: str, name: str) -> None:
    task = structure_task(vocals_done(response={key: link("x")}))
    assert task.succeeded
    assert dict(task.stems) == {name: link("x")}
    assert task.stems[name] == link("x")
    assert (name in task.stems, len(task.stems)) == (True, 1)


def test_stems_that_are_not_documented_follow_those_that_are() -> None:
    response = {"harpUrl": link("harp"), "vocalUrl": link("vocal"), "otherUrl": link("other")}
    task = structure_task(vocals_done(response=response))
    assert list(dict(task.stems)) == ["vocal", "harp", "other"]
    assert task.stems.others == (("harp", link("harp")), ("other", link("other")))


def test_two_keys_of_one_name_give_two_stems_unless_their_links_are_the_same() -> None:
    assert stems_in({"harpUrl": link("a"), "harp_url": link("b"), "harpURL": link("a")}) == {
        "harp": link("a"),
        "harp_2": link("b"),
    }
    assert stems_in({"vocalUrl": link("a"), "vocalURL": link("b"), "harpUrl": link("a")}) == {
        "vocal": link("a"),
        "vocal_2": link("b"),
    }


@pytest.mark.parametrize("value", [None, "", 7, True, ["x"], {"a": 1}, "x.mp3", "ftp://a/b"])
def test_only_an_http_link_makes_a_key_that_is_not_documented_a_stem(value: Any) -> None:
    task = structure_task(vocals_done(response={"harpUrl": value}))
    assert not task.stems
    assert not task.succeeded


@pytest.mark.parametrize(
    "key", ["callbackUrl", "callBackUrl", "call_back_url", "webhookUrl", "imageUrl", "name", "curl"]
)
def test_a_link_to_something_else_is_no_stem(key: str) -> None:
    assert stems_in({key: link("x")}) == {}
    assert stems_in(None, **{key: link("x")}) == {}


# Places.


@pytest.mark.parametrize("info", INFOS)
@pytest.mark.parametrize("response", EMPTY)
@pytest.mark.parametrize("key", ["vocalUrl", "vocal_url"])
def test_links_beside_a_response_without_links_are_found(
    info: str, response: Any, key: str
) -> None:
    assert stems_in(response, **{info: {key: link("vocal")}}) == {"vocal": link("vocal")}


@pytest.mark.parametrize("response", EMPTY)
@pytest.mark.parametrize(
    "fields",
    [
        {"vocal_url": link("vocal")},
        {"vocalUrl": link("vocal")},
        {"data": {"vocalUrl": link("vocal")}},
        {"vocal_removal_info": json.dumps({"vocal_url": link("vocal")})},
        {"vocal_removal_info": {"response": {"vocalUrl": link("vocal")}}},
        {"originData": [{"audio_url": link("vocal"), "stem_type_group_name": "Vocals"}]},
    ],
)
def test_links_in_the_record_itself_and_below_it_are_found(response: Any, fields: Any) -> None:
    assert stems_in(response, **fields) == {"vocal": link("vocal")}


def test_links_of_several_places_are_put_together_and_the_response_comes_first() -> None:
    record = {
        "drumsUrl": link("drums"),
        "harpUrl": link("harp"),
        "vocal_removal_info": {"vocal_url": link("other"), "bass_url": link("bass")},
    }
    task = structure_task(vocals_done(response={"vocalUrl": link("vocal")}, **record))
    assert dict(task.stems) == {
        "vocal": link("vocal"),
        "drums": link("drums"),
        "bass": link("bass"),
        "harp": link("harp"),
    }
    assert [(each.name, each.url) for each in task.origin_tracks] == [("vocalUrl", link("other"))]


@pytest.mark.parametrize(
    "response",
    [
        json.dumps({"vocalUrl": link("vocal")}),
        {"data": {"vocalUrl": link("vocal")}},
        [{"audio_url": link("vocal"), "stem_type_group_name": "vocals"}],
        {"audio_url": link("vocal"), "stem_type_group_name": "Vocal"},
    ],
)
def test_a_response_of_another_shape_is_read(response: Any) -> None:
    assert stems_in(response) == {"vocal": link("vocal")}


@pytest.mark.parametrize("key", ["audioUrl", "audio_url", "sourceUrl", "songUrl", "uploadUrl"])
def test_the_link_to_the_song_that_was_sent_is_no_stem(key: str) -> None:
    assert not structure_task(vocals_done(response=None, **{key: link("song")})).succeeded


def test_a_pending_record_is_not_searched_for_links() -> None:
    task = structure_task(pending(vocalUrl=link("vocal")))
    assert (task.status, dict(task.stems)) == (TaskStatus.PENDING, {})


# Words in place of links.


@pytest.mark.parametrize("word", ["None", "null", "undefined", "NULL", "NaN", "false", "-", "n/a"])
@pytest.mark.parametrize("key", ["vocalUrl", "vocal_url", "harpUrl"])
def test_a_word_in_place_of_a_link_is_an_absent_link(key: str, word: str) -> None:
    task = structure_task(vocals_done(response={key: word}))
    assert (dict(task.stems), task.type, task.succeeded) == ({}, None, False)
    assert stems_in({"vocalUrl": word, "drumsUrl": link("d")}) == {"drums": link("d")}
    assert stems_in({"vocalUrl": word, "vocal_url": link("v")}) == {"vocal": link("v")}
    assert stems_in({"originData": [origin_item("cello", audio_url=word)]}) == {}


@pytest.mark.parametrize("url", ["//cdn.example/v.mp3", "cdn.example/v.mp3", "http://localhost/v"])
def test_a_link_without_a_scheme_or_a_dot_is_kept(url: str) -> None:
    assert stems_in({"vocalUrl": url}) == {"vocal": url}


# Tracks.


def test_a_stem_that_only_the_list_of_tracks_has_is_a_stem() -> None:
    tracks = [
        {"stem_type_group_name": "Vocals", "audio_url": link("vocals") + "&again=1"},
        {"stem_type_group_name": "Drums", "audio_url": link("drums")},
        {"stem_type_group_name": "Backing Vocals", "audio_url": link("backing")},
        {"stem_type_group_name": "Lead Vocal", "audio_url": link("lead")},
        {"stem_type_group_name": "Lead Vocal", "audio_url": link("lead2")},
        {"audio_url": link("bare")},
    ]
    task = structure_task(vocals_done(response={"vocalUrl": link("vocals"), "originData": tracks}))
    assert dict(task.stems) == {
        "vocal": link("vocals"),
        "backing_vocals": link("backing"),
        "drums": link("drums"),
        "lead_vocal": link("lead"),
        "lead_vocal_2": link("lead2"),
        "track": link("bare"),
    }
    assert len(task.origin_tracks) == 6


@pytest.mark.parametrize(
    "track",
    [
        {"stem_type_group_name": "Lead", "audio_url": link("vocal").replace("hush", "new")},
        {"stem_type_group_name": "Vocals", "audio_url": "https://mirror.example/v.mp3"},
    ],
)
def test_a_track_with_the_file_or_the_name_of_a_stem_is_no_stem_of_its_own(track: Any) -> None:
    response = {"vocalUrl": link("vocal"), "originData": [track]}
    assert stems_in(response) == {"vocal": link("vocal")}


def test_the_tracks_of_a_pair_are_no_stems() -> None:
    task = structure_task(advanced_done())
    assert (dict(task.stems), task.succeeded) == ({}, True)


# Everything at once.

LINK = st.integers(0, 99).map("https://cdn.example/{}.mp3".format)
WORD = st.sampled_from([None, "", " ", "None", "null", "undefined", "-"])
STEM_KEY = st.sampled_from([*LINKS.values(), "harpUrl", "other_url", "vocalsUrl", "drums_url"])
TRACK = st.builds(
    lambda link, name: {"audio_url": link, "stem_type_group_name": name},
    LINK,
    st.sampled_from([None, "Vocals", "Drums", "Harp", "", "Backing Vocals"]),
)
PAIR = st.builds(lambda one, other: {"extract": one, "remove": other}, TRACK, TRACK)
HOLDER = st.builds(
    lambda links, tracks: {**links, "originData": tracks},
    st.dictionaries(STEM_KEY, LINK | WORD, max_size=4),
    st.none() | st.lists(TRACK | PAIR, max_size=3),
)


def links_below(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value} if value.startswith("https://") else set()
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(links_below, inside))


@given(
    HOLDER | WORD,
    st.dictionaries(st.sampled_from(INFOS), HOLDER, max_size=2),
    st.dictionaries(STEM_KEY, LINK | WORD, max_size=3),
    st.sampled_from([SUNOAPI, KIE]),
)
@example({}, {"vocal_removal_info": {"vocal_url": "https://cdn.example/1.mp3"}}, {}, SUNOAPI)
def test_every_link_of_a_finished_record_is_a_stem_or_a_track(
    response: Any, infos: Any, fields: Any, provider: Any
) -> None:
    record = {"taskId": TASK_ID, "successFlag": "SUCCESS", "callbackUrl": "https://hook.example/a"}
    record |= {**infos, **fields, "response": response}
    task = Decoder(provider).task(TaskRef(TASK_ID), 200, {}, answer(record))
    expected = links_below({**infos, **fields, "response": response})
    assert every_link(task) == expected
    assert task.succeeded is bool(expected)
    assert len(dict(task.stems)) == len(task.stems)
    assert Decoder(provider).restored(TaskRef(TASK_ID, type=task.type), task.raw) == task


def test_stems_have_an_attribute_for_each_documented_name_alone() -> None:
    assert "others" not in STEM_NAMES
    assert Stems(others=(("harp", link("harp")),))["harp"] == link("harp")
