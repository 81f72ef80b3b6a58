"""No name of a file is ever what a server says."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vocalsep_async._downloads.paths import MANIFEST, Template, extension, manifest_path, safe
from vocalsep_async.errors import InvalidArgumentError

DIRECTORY = Path("/music/stems")
LINK = "https://cdn.example/vocal.mp3?sig=1"
LONGEST = 255
SHAPES = ["{task_id}/{stem}{ext}", "{stem}", "{stem}-{task_id}", "all/of/{task_id}/{stem}.x/{ext}y"]
ODD_IDS = [
    ".",
    "..",
    "...",
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "%2e%2e%2f",
    "/etc/passwd",
    "C:\\x",
    "C:",
    "con",
    "NUL",
    "nul.txt",
    "COM1",
    "LPT¹",
    "aux .mp3",
    "CONIN$",
    ".bashrc",
    "-rf",
    "~",
    "a\x00b",
    "a\r\nb",
    "\u202efdp.exe",
    "a:stream",
    "trailing.",
    "trailing ",
    " ",
    "x" * 512,
    "." * 512,
    "🎤" * 512,
]
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE)

task_ids = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512),
    st.text("./\\: -_cnoulptCOM1¹\x00", min_size=1, max_size=12),
    st.sampled_from(ODD_IDS),
).filter(lambda task_id: task_id.casefold() != MANIFEST)
stems = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=48).filter(
    lambda stem: not DEVICE.fullmatch(stem)
)
links = st.one_of(st.text(max_size=60), st.sampled_from(["https://a.example/b.WAV?c=/d.exe", ""]))


def assert_harmless(name: str) -> None:
    assert name not in ("", ".", "..")
    assert not re.search(r'[\\/:*?"<>|\x00-\x1f\x7f]', name)
    assert name[-1] not in ". "
    assert not DEVICE.fullmatch(name)
    # What is not whole yet has this name, and what is known of it the next one.
    assert len(f".{name}.0123456789abcdef.part.json".encode()) <= LONGEST


@given(task_ids, stems, links, st.sampled_from(SHAPES))
@example("..", "vocal", "https://a.example/../../b", SHAPES[0])
@example("x" * 512, "a" * 48, LINK, SHAPES[2])
def test_a_path_never_leaves_the_directory_and_every_system_takes_it(
    task_id: str, stem: str, link: str, shape: str
) -> None:
    path = Template(shape).path(DIRECTORY, task_id, stem, link)
    parts = path.relative_to(DIRECTORY).parts
    assert len(parts) == shape.count("/") + 1
    for part in parts:
        assert_harmless(part)
    assert not PureWindowsPath(*parts).is_absolute()
    assert not PureWindowsPath(*parts).drive


@given(st.text(max_size=30), task_ids, stems)
@example("{task_id}/../{stem}", "a", "vocal")
@example("/{stem}", "a", "vocal")
@example("{stem}/..", "a", "vocal")
@example("{{{stem}}}", "a", "vocal")
@example("con.{stem}", "a", "vocal")
def test_any_template_gives_a_harmless_path_or_is_refused(
    text: str, task_id: str, stem: str
) -> None:
    try:
        path = Template(text).path(DIRECTORY, task_id, stem, LINK)
    except InvalidArgumentError:
        return
    parts = path.relative_to(DIRECTORY).parts
    assert parts
    for part in parts:
        assert_harmless(part)


@pytest.mark.parametrize("task_id", ["manifest.json", "Manifest.JSON"])
def test_a_task_that_is_called_as_the_list_of_the_files_can_be_saved(task_id: str) -> None:
    path = Template("{task_id}/{stem}{ext}").path(DIRECTORY, task_id, "vocal", LINK)
    assert path.name == "vocal.mp3"
    assert path.parent.parent == DIRECTORY


@given(task_ids)
def test_the_list_of_the_files_is_below_the_directory_too(task_id: str) -> None:
    folder, name = manifest_path(DIRECTORY, task_id).relative_to(DIRECTORY).parts
    assert name == MANIFEST
    assert_harmless(folder)
    assert folder.isascii()


@pytest.mark.parametrize("text", [pytest.param(text, id=ascii(text)[:30]) for text in ODD_IDS])
def test_an_odd_id_is_changed_to_a_harmless_name(text: str) -> None:
    name = safe(text)
    assert_harmless(name)
    assert name != text
    assert name[0] not in ".-"


@pytest.mark.parametrize(
    "task_id",
    ["0a1b2c3d4e5f60718293a4b5c6d7e8f9", "task_1", "5c79-be8e", "a.b", "c" * 100, "_", "console"],
)
def test_an_id_that_is_harmless_is_the_name(task_id: str) -> None:
    assert safe(task_id) == task_id


def test_a_changed_id_can_be_recognised_and_is_the_same_each_time() -> None:
    assert safe("song/№1") == safe("song/№1")
    assert safe("song/№1").startswith("song__1~")


@given(task_ids, task_ids)
@example("a/b", "a_b")
@example("a/b", "a:b")
@example("x" * 101, "x" * 102)
@example("con", "_con")
@example("é", "e\u0301")
def test_different_ids_have_different_names(one: str, other: str) -> None:
    assert (safe(one) == safe(other)) == (one == other)


def test_an_id_that_looks_like_the_name_of_another_one_has_a_name_of_its_own() -> None:
    assert safe(safe("a/b")) != safe("a/b")


@pytest.mark.parametrize("task_id", ["Task", "tasK", "5c79-be8E", "É"])
def test_an_id_with_capital_letters_is_not_the_name_as_it_is(task_id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+~[0-9a-f]{12}", safe(task_id))


@given(task_ids, task_ids)
@example("Task", "task")
@example("TASK", "Task")
@example("K", "k")
@example("\u212a", "k")
@example("MANIFEST.JSON", "manifest.json")
def test_different_ids_have_different_names_where_case_does_not_count(one: str, other: str) -> None:
    assert (safe(one).casefold() == safe(other).casefold()) == (one == other)


@pytest.mark.parametrize(
    "link, ending",
    [
        ("https://a.example/b.mp3", ".mp3"),
        ("https://a.example/b.WAV?x=.exe", ".wav"),
        ("https://a.example/b.tar.flac#x", ".flac"),
        ("https://a.example/b.m4a/", ".m4a"),
        ("https://a.example/b.exe", ".mp3"),
        ("https://a.example/b.mp3%00.exe", ".mp3"),
        ("https://a.example/b", ".mp3"),
        ("https://a.example/.wav", ".mp3"),
        ("https://a.example/b.wav\x00", ".mp3"),
        ("https://[half/b.wav", ".mp3"),
        ("", ".mp3"),
    ],
)
def test_a_file_ends_as_its_link_if_that_is_audio_and_in_mp3_else(link: str, ending: str) -> None:
    assert extension(link) == ending


@given(st.text())
def test_any_link_has_an_ending_of_audio(link: str) -> None:
    assert re.fullmatch(r"\.[a-z0-9]{3,4}", extension(link))


def test_a_template_says_where_files_go() -> None:
    template = Template("{task_id}/{{all}}/{stem}{ext}")
    assert template.text == "{task_id}/{{all}}/{stem}{ext}"
    path = template.path(DIRECTORY, "t1", "vocal", "https://a.example/x.wav")
    assert path == DIRECTORY / "t1" / "{all}" / "vocal.wav"


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "must be a string, not NoneType"),
        (b"{stem}", "must be a string, not bytes"),
        (Path("{stem}"), "must be a string"),
        ("", "must hold {stem}"),
        ("{task_id}{ext}", "must hold {stem}"),
        ("{{stem}}", "must hold {stem}"),
        ("{stem", "template: "),
        ("stem}", "template: "),
        ("{stem}{}", "nothing else in braces"),
        ("{stem}{0}", "nothing else in braces"),
        ("{stem}{title}", "nothing else in braces"),
        ("{stem.__class__}", "nothing else in braces"),
        ("{stem[0]}", "nothing else in braces"),
        ("{stem!r}", "nothing else in braces"),
        ("{stem:>9999999999}", "nothing else in braces"),
        ("{stem:{ext}}", "nothing else in braces"),
        ("/{stem}", "below the directory"),
        ("//{stem}", "below the directory"),
        ("{stem}/", "below the directory"),
        ("a//{stem}", "below the directory"),
        ("./{stem}", "below the directory"),
        ("../{stem}", "below the directory"),
        ("{stem}/..", "below the directory"),
        ("a\\{stem}", "no name of a file everywhere"),
        ("C:{stem}", "no name of a file everywhere"),
        ("{stem}?", "no name of a file everywhere"),
        ("{stem}\n", "no name of a file everywhere"),
        ("{stem}\x00", "no name of a file everywhere"),
        ("{stem}.", "no name of a file everywhere"),
        ("{stem} ", "no name of a file everywhere"),
        ("CON/{stem}", "no name of a file everywhere"),
        ("nul.{stem}", "no name of a file everywhere"),
        ("com¹ .{stem}", "no name of a file everywhere"),
        ("{stem}/manifest.json", "the list of the files"),
        ("{stem}/Manifest.JSON", "the list of the files"),
        ("{stem}\ud800", "lone surrogate"),
        ("{stem}" + "x" * 197, "a name of 201 bytes; at most 200"),
        ("{stem}" + "🎤" * 50, "a name of 204 bytes; at most 200"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(text: Any, words: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Template(text)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_name_that_becomes_too_long_with_its_task_is_refused() -> None:
    template = Template("{task_id}-{task_id}/{stem}")
    assert template.path(DIRECTORY, "t", "vocal", LINK).name == "vocal"
    with pytest.raises(InvalidArgumentError, match="at most 200 are used"):
        template.path(DIRECTORY, "x" * 512, "vocal", LINK)
