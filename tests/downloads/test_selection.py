"""Selection: which stems a task has, and which of them are fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._downloads import selection
from vocalsep_async._downloads.paths import Template
from vocalsep_async._downloads.selection import checked_names, links_of, select
from vocalsep_async.errors import DownloadError, InvalidArgumentError
from vocalsep_async.models import OriginTrack, SeparationTask, Stems, TaskStatus

STEMS = Stems(vocal="https://a.example/v.mp3", drums="https://a.example/d.mp3")


def task_with(stems: Stems, *tracks: OriginTrack) -> SeparationTask:
    return SeparationTask(
        task_id="t\x1b1", status=TaskStatus.SUCCESS, stems=stems, origin_tracks=tracks
    )


def track(name: str | None, number: int = 0, part: Any = None) -> OriginTrack:
    return OriginTrack(name=name, url=f"https://a.example/{number}.mp3", part=part)


@pytest.mark.parametrize(
    "given, checked",
    [
        (None, None),
        (["vocal"], ("vocal",)),
        (("drums", "vocal", "drums"), ("drums", "vocal")),
        ((name for name in ("bass", "vocal")), ("bass", "vocal")),
        ({"vocal": 1}, ("vocal",)),
    ],
)
def test_names_keep_their_order_and_lose_duplicates(given: Any, checked: Any) -> None:
    assert checked_names(given) == checked


@pytest.mark.parametrize(
    "given, words",
    [
        ("vocal", "pass stems=['vocal']"),
        ("", "pass stems=['']"),
        ([], "must be names of stems"),
        ([1], "must be names of stems"),
        (["vocal", None], "must be names of stems"),
        (b"vocal", "must be names of stems"),
        (7, "must be names of stems"),
    ],
)
def test_arguments_that_name_no_stems_are_refused(given: Any, words: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        checked_names(given)
    assert words in str(caught.value)


def test_the_links_of_a_task_are_keyed_by_stem() -> None:
    assert links_of(task_with(STEMS)) == dict(STEMS)
    assert list(links_of(task_with(STEMS))) == ["vocal", "drums"]


def test_stems_that_are_not_documented_are_saved_under_harmless_names() -> None:
    stems = Stems(others=tuple((name, f"https://a.example/{name}") for name in ("harp", "aux")))
    assert links_of(task_with(stems)) == {
        "harp": "https://a.example/harp",
        "track_aux": "https://a.example/aux",
    }
    assert select(task_with(stems), ("harp",)) == ("harp",)


def test_tracks_that_repeat_the_stems_are_left_out() -> None:
    assert links_of(task_with(STEMS, track("Vocals"), track("Drums"))) == dict(STEMS)


def test_tracks_are_stems_if_the_record_lists_no_stems() -> None:
    task = task_with(Stems(), track("Lead Vocal!", 1), track(None, 2), track("Синт", 3))
    assert links_of(task) == {
        "lead_vocal": "https://a.example/1.mp3",
        "track": "https://a.example/2.mp3",
        "track_2": "https://a.example/3.mp3",
    }


class CountingLinks(dict[str, str]):
    """Links that count how often a name is looked up."""

    looked_up = 0

    def __contains__(self, name: object) -> bool:
        self.looked_up += 1
        return super().__contains__(name)


def test_a_name_of_many_tracks_is_not_tried_from_its_first_number_on() -> None:
    links, numbers = CountingLinks(), dict[str, int]()
    names = ["bass", "bass_3", *["bass"] * 998]
    for name in names:
        links[selection._unused(name, links, numbers)] = ""
    assert list(links)[:5] == ["bass", "bass_3", "bass_2", "bass_4", "bass_5"]
    assert len(links) == 1000
    assert links.looked_up <= 2 * len(links)


def test_tracks_in_pairs_are_stems_of_their_own() -> None:
    tracks = track("Lead Vocal", 1, "extract"), track("Lead Vocal", 2, "remove"), track("Bass", 3)
    assert links_of(task_with(STEMS, *tracks)) == dict(STEMS) | {
        "lead_vocal_extract": "https://a.example/1.mp3",
        "lead_vocal_remove": "https://a.example/2.mp3",
    }


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.none(), st.text(max_size=60), st.sampled_from(["vocal", "a", "a 2", "A_2"])
            ),
            st.sampled_from([None, "extract", "remove"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_track_gets_a_unique_and_harmless_name(
    given: list[tuple[str | None, Any]],
) -> None:
    tracks = [track(name, number, part) for number, (name, part) in enumerate(given)]
    found = links_of(task_with(Stems(), *tracks))
    assert len(found) == len(tracks)
    for name in found:
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name)
        assert len(name) <= 50


@pytest.mark.parametrize("name", ["CON", "nul", "Aux", "com1", "LPT9"])
def test_a_track_with_the_name_of_a_device_can_be_saved(name: str) -> None:
    (stem,) = links_of(task_with(Stems(), track(name)))
    path = Template("{task_id}/{stem}{ext}").path(Path("music"), "t", stem, track(name).url)
    assert path.suffix == ".mp3"


def test_all_stems_are_selected_unless_some_are_named() -> None:
    task = task_with(STEMS)
    assert select(task, None) == ("vocal", "drums")
    assert select(task, ("drums",)) == ("drums",)
    assert select(task, ("drums", "vocal")) == ("drums", "vocal")


def test_an_unknown_stem_is_an_invalid_argument_and_the_message_lists_the_stems() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        select(task_with(STEMS), ("vocal", "vocals\x1b"))
    assert str(caught.value) == (r"task 't\\x1b1' has no stem 'vocals\\x1b'; it has vocal, drums")


def test_a_stem_that_the_task_lacks_is_a_download_error() -> None:
    with pytest.raises(DownloadError) as caught:
        select(task_with(STEMS), ("piano",))
    assert (caught.value.task_id, caught.value.stem) == ("t\x1b1", "piano")
    assert "it has vocal, drums" in str(caught.value)
    assert (caught.value.path, caught.value.url, caught.value.report) == (None, None, None)
