"""Names of files: valid everywhere, and never a server's."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vocalsep_async._downloads.paths import (
    MANIFEST,
    Template,
    extension,
    folded,
    label_name,
    manifest_path,
    safe_name,
)
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


def assert_safe(name: str) -> None:
    assert name not in ("", ".", "..")
    assert not re.search(r'[\\/:*?"<>|\x00-\x1f\x7f]', name)
    assert name[-1] not in ". "
    assert not DEVICE.fullmatch(name)
    # The longest name that is derived from it: the metadata of a spare part.
    assert len(f".{name}.0123456789abcdef.part.json".encode()) <= LONGEST


@given(task_ids, stems, links, st.sampled_from(SHAPES))
@example("..", "vocal", "https://a.example/../../b", SHAPES[0])
@example("x" * 512, "a" * 48, LINK, SHAPES[2])
def test_a_path_stays_in_the_directory_and_is_valid_on_every_platform(
    task_id: str, stem: str, link: str, shape: str
) -> None:
    path = Template(shape).path(DIRECTORY, task_id, stem, link)
    parts = path.relative_to(DIRECTORY).parts
    assert len(parts) == shape.count("/") + 1
    for part in parts:
        assert_safe(part)
    assert not PureWindowsPath(*parts).is_absolute()
    assert not PureWindowsPath(*parts).drive


@given(st.text(max_size=30), task_ids, stems)
@example("{task_id}/../{stem}", "a", "vocal")
@example("/{stem}", "a", "vocal")
@example("{stem}/..", "a", "vocal")
@example("{{{stem}}}", "a", "vocal")
@example("con.{stem}", "a", "vocal")
def test_every_template_gives_a_valid_path_or_is_refused(
    text: str, task_id: str, stem: str
) -> None:
    try:
        path = Template(text).path(DIRECTORY, task_id, stem, LINK)
    except InvalidArgumentError:
        return
    parts = path.relative_to(DIRECTORY).parts
    assert parts
    for part in parts:
        assert_safe(part)


labels = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=255),
    st.text("./\\: -_cnoulptCOM1¹", min_size=1, max_size=12),
    st.sampled_from([each for each in ODD_IDS if each.isprintable()]),
)


@given(
    labels, stems, st.sampled_from(["{label}/{stem}{ext}", "{label}", "{stem} of {label}.{ext}"])
)
@example("../../etc/passwd", "vocal", "{label}")
@example("AC/DC", "vocal", "{label}/{stem}{ext}")
@example("x" * 255, "a" * 48, "{stem} of {label}.{ext}")
@example("🎤" * 255, "a" * 48, "{label}")
@example(".vocalsep", "vocal", "{label}")
@example("Manifest.JSON", "vocal", "{label}")
@example("NUL", "vocal", "{label}/{stem}{ext}")
def test_a_path_with_a_label_stays_in_the_directory_and_is_valid_on_every_platform(
    label: str, stem: str, shape: str
) -> None:
    template = Template(shape)
    parts = template.path(DIRECTORY, "t", stem, LINK, label).relative_to(DIRECTORY).parts
    assert len(parts) == shape.count("/") + 1
    for part in parts:
        assert_safe(part)
        assert part.casefold() not in {MANIFEST, ".vocalsep"}


@pytest.mark.parametrize(
    "label, name",
    [
        ("Für Elise", "Für Elise"),
        ("Fu\u0308r Elise", "Für Elise"),
        ("AC/DC: T.N.T.", "AC_DC_ T.N.T"),
        ("...And Justice for All", "And Justice for All"),
        ("  two\u00a0words\u3000", "two words"),
        ("夜に駆ける", "夜に駆ける"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🎤", "👩\u200d🎤"),
        ("-rf", "_-rf"),
        ("nul.txt", "_nul.txt"),
        ("Manifest.json", "_Manifest.json"),
        ("...", "_"),
        ("\u202efdp.exe", "_fdp.exe"),
        ("a{stem}b", "a{stem}b"),
    ],
)
def test_a_label_reads_the_same_as_a_name(label: str, name: str) -> None:
    assert label_name(label) == name


def test_labels_that_are_cut_stay_different() -> None:
    one, other = (label_name("Ä" * 200 + number) for number in ("I", "II"))
    assert one != other
    assert one.startswith("Ä" * 50)
    assert len(one.encode()) <= 120
    assert label_name("x" * 106 + " " + "y" * 100).startswith("x" * 106 + "~")


def test_the_id_stands_for_a_label_that_is_missing() -> None:
    template = Template("{label}{ext}")
    assert template.path(DIRECTORY, "t1", "vocal", LINK).name == "t1.mp3"


@given(labels)
@example("ﬁn")
@example("İ")
@example("ᾳ\u0301")
def test_a_folded_path_stays_as_it_is_when_it_is_folded_again(label: str) -> None:
    assert folded(folded(label)) == folded(label)
    assert folded(label.upper()) == folded(folded(label.upper()))


@pytest.mark.parametrize("text", ["{label}{ext}", "{label}.{ext}"])
def test_the_dot_of_an_extension_is_never_doubled(text: str) -> None:
    assert Template(text).path(DIRECTORY, "t", "vocal", LINK, "Song").name == "Song.mp3"


@pytest.mark.parametrize(
    "text, place",
    [
        ("{task_id}/{stem}{ext}", "t/manifest.json"),
        ("{task_id}/{label}/{stem}{ext}", "t/manifest.json"),
        ("{task_id}{ext}", ".vocalsep/t.json"),
        ("{label}/{stem}{ext}", ".vocalsep/t.json"),
        ("{stem}/{task_id}{ext}", ".vocalsep/t.json"),
    ],
)
def test_the_manifest_is_in_the_folder_of_the_task_or_else_hidden(text: str, place: str) -> None:
    assert Template(text).manifest(DIRECTORY, "t") == DIRECTORY / place


@pytest.mark.parametrize("task_id", ["manifest.json", "Manifest.JSON"])
def test_a_task_named_like_the_manifest_can_be_saved(task_id: str) -> None:
    path = Template("{task_id}/{stem}{ext}").path(DIRECTORY, task_id, "vocal", LINK)
    assert path.name == "vocal.mp3"
    assert path.parent.parent == DIRECTORY


@given(task_ids)
def test_the_manifest_is_below_the_directory(task_id: str) -> None:
    folder, name = manifest_path(DIRECTORY, task_id).relative_to(DIRECTORY).parts
    assert name == MANIFEST
    assert_safe(folder)
    assert folder.isascii()


@pytest.mark.parametrize("text", [pytest.param(text, id=ascii(text)[:30]) for text in ODD_IDS])
def test_an_unsafe_id_is_changed_to_a_safe_name(text: str) -> None:
    name = safe_name(text)
    assert_safe(name)
    assert name != text
    assert name[0] not in ".-"


@pytest.mark.parametrize(
    "task_id",
    ["0a1b2c3d4e5f60718293a4b5c6d7e8f9", "task_1", "5c79-be8e", "a.b", "c" * 100, "_", "console"],
)
def test_a_safe_id_is_kept_as_the_name(task_id: str) -> None:
    assert safe_name(task_id) == task_id


def test_a_changed_id_is_recognisable_and_stable() -> None:
    assert safe_name("song/№1") == safe_name("song/№1")
    assert safe_name("song/№1").startswith("song__1~")


@given(task_ids, task_ids)
@example("a/b", "a_b")
@example("a/b", "a:b")
@example("x" * 101, "x" * 102)
@example("con", "_con")
@example("é", "e\u0301")
def test_different_ids_have_different_names(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_an_id_that_equals_the_changed_name_of_another_is_changed_too() -> None:
    assert safe_name(safe_name("a/b")) != safe_name("a/b")


@pytest.mark.parametrize("task_id", ["Task", "tasK", "5c79-be8E", "É"])
def test_an_id_with_capital_letters_is_changed(task_id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+~[0-9a-f]{12}", safe_name(task_id))


@given(task_ids, task_ids)
@example("Task", "task")
@example("TASK", "Task")
@example("K", "k")
@example("\u212a", "k")
@example("MANIFEST.JSON", "manifest.json")
def test_different_ids_have_different_names_on_file_systems_that_ignore_case(
    one: str, other: str
) -> None:
    assert (safe_name(one).casefold() == safe_name(other).casefold()) == (one == other)


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
def test_the_extension_is_that_of_the_link_if_it_is_audio_and_mp3_otherwise(
    link: str, ending: str
) -> None:
    assert extension(link) == ending


@given(st.text())
def test_every_link_gives_an_extension_of_audio(link: str) -> None:
    assert re.fullmatch(r"\.[a-z0-9]{3,4}", extension(link))


def test_a_template_decides_the_path() -> None:
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
        ("", "below the directory"),
        ("{label", "template: "),
        ("{label.__class__}", "nothing else in braces"),
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
        ("a\\{stem}", "not a valid file name"),
        ("C:{stem}", "not a valid file name"),
        ("{stem}?", "not a valid file name"),
        ("{stem}\n", "not a valid file name"),
        ("{stem}\x00", "not a valid file name"),
        ("{stem}.", "not a valid file name"),
        ("{stem} ", "not a valid file name"),
        ("CON/{stem}", "not a valid file name"),
        ("nul.{stem}", "not a valid file name"),
        ("com¹ .{stem}", "not a valid file name"),
        ("{stem}/manifest.json", "the name of the manifest"),
        ("{stem}/Manifest.JSON", "the name of the manifest"),
        (".VocalSep/{stem}", "the name of the manifest or of its folder"),
        ("{stem}\ud800", "lone surrogate"),
        ("{stem}" + "x" * 197, "a name of 201 bytes; the limit is 200"),
        ("{stem}" + "🎤" * 50, "a name of 204 bytes; the limit is 200"),
    ],
)
def test_an_unusable_template_is_refused(text: Any, words: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Template(text)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_name_that_a_task_id_makes_too_long_is_refused() -> None:
    template = Template("{task_id}-{task_id}/{stem}")
    assert template.path(DIRECTORY, "t", "vocal", LINK).name == "vocal"
    with pytest.raises(InvalidArgumentError, match="the limit is 200"):
        template.path(DIRECTORY, "x" * 512, "vocal", LINK)
