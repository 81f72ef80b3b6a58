"""Links of results in shapes that are not documented: found, named, and told from other links."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from payloads import TASK_ID, link, origin_item, vocals_done

from vocalsep_async.errors import DecodeError
from vocalsep_async.models import SeparationTask
from vocalsep_async.providers._links import is_other_key, stem_name
from vocalsep_async.providers._records import structure_task

A, B = "https://cdn.example/a.mp3", "https://cdn.example/b.mp3"


def stems_in(response: Any, **record: Any) -> dict[str, str]:
    return dict(structure_task(vocals_done(response=response, **record)).stems)


def every_link(task: SeparationTask) -> set[str]:
    return {url for _, url in task.stems} | {track.url for track in task.origin_tracks}


# Keys.


@pytest.mark.parametrize(
    "key, name",
    [
        ("VocalUrl", "vocal"),
        ("VOCAL_URL", "vocal"),
        ("VOCALURL", "vocal"),
        ("vocalurl", "vocal"),
        ("Vocal_Url", "vocal"),
        ("vocal-url", "vocal"),
        ("backingvocalsurl", "backing_vocals"),
        ("BackingVocalsURL", "backing_vocals"),
        ("BACKING_VOCALS_URL", "backing_vocals"),
        ("harpurl", "harp"),
        ("HARP_URL", "harp"),
        ("vocal", "vocal"),
        ("Vocals", "vocal"),
        ("backingVocals", "backing_vocals"),
        ("drum", "drums"),
    ],
)
def test_the_case_of_a_key_does_not_matter(key: str, name: str) -> None:
    assert stems_in({key: A}) == {name: A}
    assert stems_in(None, vocal_removal_info={key: A}) == {name: A}


@pytest.mark.parametrize(
    "key",
    [
        *("imageUrl", "image_url", "coverImageUrl", "IMAGEURL", "videoUrl", "thumbnailUrl"),
        *("callbackUrl", "callBackUrl", "notifyUrl", "webhook_url", "web_hook_url"),
        *("sourceUrl", "sourceAudioUrl", "source_audio_url", "inputUrl", "uploadUrl"),
        *("curl", "name", "title", "image", "cover", "message", "docs"),
    ],
)
def test_a_link_to_something_else_is_no_stem_in_a_result_either(key: str) -> None:
    for response in ({key: A}, {"data": {key: A}}, {"data": [{key: A}]}):
        assert not every_link(structure_task(vocals_done(response=response)))
    assert stems_in({key: A, "vocalUrl": B}) == {"vocal": B}


# Links.


@pytest.mark.parametrize("key", ["vocalUrl", "vocal_url", "VocalUrl", "vocal"])
@pytest.mark.parametrize("blanks", [" {}", "{} ", "\n{}\t", "\u00a0{}\r\n"])
def test_blanks_around_a_link_are_left_out(key: str, blanks: str) -> None:
    assert stems_in({key: blanks.format(A)}) == {"vocal": A}
    track = origin_item("cello", audio_url=blanks.format(A))
    (kept,) = structure_task(vocals_done(response={"originData": [track]})).origin_tracks
    assert kept.url == A


@pytest.mark.parametrize(
    "url",
    [
        "HTTPS://CDN.example/V.mp3",
        "http://127.0.0.1:8000/v.mp3",
        "https://例え.テスト/曲/v.mp3?署名=1",
        "https://user@[2001:db8::1]:8443/a b/v.mp3?x=%2F#y",
    ],
)
@pytest.mark.parametrize("key", ["vocalUrl", "VocalUrl"])
def test_a_link_to_any_host_is_kept_as_it_is(key: str, url: str) -> None:
    assert stems_in({key: url}) == {"vocal": url}


@pytest.mark.parametrize(
    "word",
    [
        *("None", "null", "undefined", "N/A", "n/a", "", " ", "0", "-", "pending", "error: no."),
        *("ftp://cdn.example/v.mp3", "file:///etc/passwd", "data:audio/mp3;base64,AAAA"),
        *("/files/v.mp3", "files/v.mp3", "../v.mp3", "v.mp3", "https://", "https:///v.mp3"),
        *("http:/cdn.example/v.mp3", "javascript:alert(1)", "s3://bucket/v.mp3"),
    ],
)
def test_what_no_client_can_fetch_is_an_absent_link(word: str) -> None:
    for response in ({"vocalUrl": word}, {"vocal_url": word}, {"harpUrl": word}, word):
        assert not every_link(structure_task(vocals_done(response=response)))
    assert stems_in({"vocalUrl": word, "vocal_url": A}) == {"vocal": A}
    assert not every_link(
        structure_task(vocals_done(response={"originData": [{"audio_url": word}]}))
    )


# Shapes.

SHAPES: list[Any] = [
    {"stems": {"vocalUrl": A, "harpUrl": B}},
    {"stems": {"vocals": A, "harp": B}},
    {"result": {"output": {"vocal_url": A, "harp_url": B}}},
    {"anything": {"at": {"all": {"vocalUrl": A, "harpUrl": B}}}},
    {"anything": json.dumps({"vocalUrl": A, "harpUrl": json.dumps(B)})},
    {"vocalUrl": [A], "harpUrl": {"url": B}},
    {"vocalUrl": {"mp3": A}, "harpUrl": [{"link": B}]},
    {"vocalUrls": [A], "harp_urls": [B]},
    {"vocalUrls": A, "harpUrls": B},
    [{"name": "Vocals", "url": A}, {"name": "Harp", "url": B}],
    [{"stem": "vocals", "link": A}, {"instrument": "harp", "href": B}],
    {"tracks": [{"type": "vocal", "url": A}, {"label": "harp", "src": B}]},
    [[{"name": "Vocals", "url": A}], [{"name": "Harp", "url": B}]],
    {"resultJson": json.dumps({"vocalUrl": A, "harpUrl": B})},
    {"originData": json.dumps([{"stem_name": "vocal", "audioUrl": A}, {"name": "harp", "url": B}])},
    json.dumps(json.dumps({"vocalUrl": A, "harpUrl": B})),
]


@pytest.mark.parametrize("response", SHAPES)
def test_links_in_any_shape_of_a_response_are_stems(response: Any) -> None:
    assert stems_in(response) == {"vocal": A, "harp": B}
    assert stems_in(None, result=response) == {"vocal": A, "harp": B}


def test_links_without_names_are_tracks_in_any_shape() -> None:
    for response in (
        [A, B],
        {"resultUrls": [A, B]},
        {"resultUrls": json.dumps([A, B])},
        {"data": {"audioUrls": [A, [B]]}},
        {"files": [{"url": A}, {"audio_url": B}]},
    ):
        task = structure_task(vocals_done(response=response))
        assert every_link(task) == {A, B}
        assert dict(task.stems) == {"track": A, "track_2": B}


def test_a_link_that_comes_twice_is_one_stem() -> None:
    response = {"vocalUrl": A, "VocalUrl": A, "data": [{"vocal_url": A}, A], "resultUrls": [A]}
    assert stems_in(response, vocal_removal_info={"vocal_url": A}) == {"vocal": A}


@pytest.mark.parametrize("wrong", [7, True, ["x"], {"a": 1}, []])
def test_a_link_of_a_wrong_type_does_not_cost_the_other_links(wrong: Any) -> None:
    assert stems_in({"vocalUrl": wrong, "drumsUrl": A}) == {"drums": A}
    tracks = [{"audio_url": wrong}, {"audio_url": A, "stem_type_group_name": "Drums"}, wrong, None]
    assert stems_in({"originData": tracks}) == {"drums": A}
    pair = {"extract": {"audio_url": wrong}, "remove": {"audio_url": A}}
    (track,) = structure_task(vocals_done(response={"originData": [pair]})).origin_tracks
    assert (track.part, track.url) == ("remove", A)


@pytest.mark.parametrize(
    "written",
    [
        {"extract": {"url": A}, "remove": {"url": B}},
        {"extract": json.dumps({"url": A}), "remove": json.dumps(json.dumps({"url": B}))},
        {"extract": A, "remove": B},
        {"extract": json.dumps(A), "remove": {"url": B, "extract": {}}},
    ],
)
def test_the_parts_of_a_pair_are_read_however_they_are_written(written: Any) -> None:
    tracks = structure_task(vocals_done(response={"originData": [written]})).origin_tracks
    assert [(each.part, each.url) for each in tracks] == [("extract", A), ("remove", B)]


@pytest.mark.parametrize(
    "response",
    [
        {"url": A, "extract": {}, "data": {"url": B}},
        {"url": A, "remove": {"url": B}},
        {"extract": [json.dumps({"url": A}), {"url": B}]},
        {"remove": {"extract": {"url": A}, "remove": {"url": B}}},
        {"extract": {"url": A, "remove": {"url": B}}},
    ],
)
def test_a_track_beside_or_inside_the_part_of_a_pair_is_kept(response: Any) -> None:
    assert every_link(structure_task(vocals_done(response=response))) == {A, B}


def test_the_song_and_the_parameters_of_a_request_are_no_result() -> None:
    request = {"audio_url": A, "vocalUrl": B}
    fields = {"param": json.dumps({"input": request}), "input": request, "request": request}
    assert not every_link(structure_task(vocals_done(response=None, **fields)))
    assert not every_link(structure_task(vocals_done(response={"input": request})))
    picture = {"type": "image", "url": A}
    assert not every_link(structure_task(vocals_done(response={"x": [picture]})))
    assert not every_link(structure_task(vocals_done(response=picture)))


# Sizes: each of these ends only if no step is repeated for each link.


def test_twenty_thousand_links_of_one_name_are_kept() -> None:
    number = 20_000
    tracks = [{"name": "Harp", "url": f"{A}/{each}"} for each in range(number)]
    task = structure_task(vocals_done(response=tracks))
    assert len(task.stems) == len(task.origin_tracks) == number
    assert task.stems.others[-1] == (f"harp_{number}", f"{A}/{number - 1}")
    keys = {f"harp{chr(0x4E00 + each)}Url": f"{A}/{each}" for each in range(number)}
    assert len(stems_in(keys)) == number


def test_a_response_that_is_nested_or_wide_beyond_reason_is_read_in_part() -> None:
    deep: Any = A
    for _ in range(500):
        deep = [deep, {"data": deep}] if isinstance(deep, str) else [deep]
    assert not every_link(structure_task(vocals_done(response={"x": deep})))
    wide: list[Any] = [{"a": [[]] * 10} for _ in range(50_000)]
    assert stems_in({"vocalUrl": A, "x": wide}) == {"vocal": A}


# Whatever comes.

KEY_WORDS = (
    "vocalUrl vocal_url VOCALURL harpUrl imageUrl callbackUrl url audio_url audioUrl name stems "
    "originData origin_data extract remove data response resultUrls vocal type param x"
)
RESULT_KEYS = st.sampled_from(KEY_WORDS.split())
LINKS = st.integers(0, 20).map("https://cdn.example/{}.mp3".format)
RESULTS = st.recursive(
    LINKS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | LINKS.map(" {} ".format),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(RESULT_KEYS, inner, max_size=5)
        | st.dictionaries(RESULT_KEYS, inner, max_size=3).map(json.dumps)
    ),
    max_leaves=20,
)


def opened(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def texts_in(value: Any) -> Iterator[str]:
    value = opened(value)
    if isinstance(value, str):
        yield value.strip()
    for each in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from texts_in(each)


def stem_links_in(value: Any) -> Iterator[str]:
    """The links under keys of stems, but for what is about something else."""
    value = opened(value)
    if isinstance(value, list):
        for each in value:
            yield from stem_links_in(each)
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str) and stem_name(key) and each.strip().startswith("https://"):
                yield each.strip()
            elif not is_other_key(key):
                yield from stem_links_in(each)


@example({"url": A, "audio_url": B}, {})
@example({"vocalUrl": json.dumps({"vocalUrl": A}), "drumsUrl": B}, {})
@example({"extract": {"url": A, "vocal_url": B}}, {})
@example({"extract": json.dumps({"vocalUrl": None, "url": A})}, {})
@example({"remove": {}, "url": A}, {})
@given(RESULTS, st.dictionaries(st.sampled_from(["data", "vocal_removal_info", "x"]), RESULTS))
def test_no_link_under_the_key_of_a_stem_is_dropped_and_none_is_invented(
    response: Any, fields: Any
) -> None:
    record = {"taskId": TASK_ID, "successFlag": "SUCCESS", "response": response} | fields
    try:
        task = structure_task(record)
    except DecodeError:
        assert not [*stem_links_in(response), *stem_links_in(fields.get("data"))]
        return
    found = every_link(task)
    places = (response, fields.get("data"), fields.get("vocal_removal_info"))
    assert found >= {each for place in places for each in stem_links_in(place)}
    assert found <= set(texts_in(record))
    assert len(dict(task.stems)) == len(task.stems)


def test_documented_results_need_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: object, **__: object) -> None:
        raise AssertionError("it was searched")

    monkeypatch.setattr("vocalsep_async.providers._results.links_of", search)
    tracks = [origin_item("vocal"), origin_item("drums")]
    pair = {"extract": origin_item("cello"), "remove": origin_item("rest")}
    assert stems_in({"vocalUrl": A, "drumsUrl": None, "bassUrl": "", "id": None}) == {"vocal": A}
    assert stems_in({"vocalUrl": A, "originData": tracks}) == {"vocal": A, "drums": link("drums")}
    assert len(structure_task(vocals_done(response={"originData": [pair]})).origin_tracks) == 2
