"""The songs that a command line names."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from vocalsep_async import InvalidArgumentError, SeparationType, Song
from vocalsep_async.cli.songs.sources import Songs, songs_in
from vocalsep_async.policies import MAX_UPLOAD_BYTES

VOCAL, SPLIT = SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM
SIGNED = "https://user:secret@cdn.example.com/live/tune.mp3?token=secret"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the current one, and holds no songs yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: str, content: bytes = b"sound") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def found(*sources: str, to: str = "stems") -> Songs:
    return songs_in(sources, VOCAL, None, Path(to))


def labels(songs: Songs) -> list[str | None]:
    return [each.label for each in songs.songs]


def paths(songs: Songs) -> list[str]:
    return [Path(str(each.source)).as_posix() for each in songs.songs]


def error_of(*sources: str) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        found(*sources)
    assert "secret" not in str(caught.value)
    return str(caught.value)


# Files and links


@pytest.mark.usefixtures("folder")
def test_files_and_links_are_songs_called_by_their_names() -> None:
    put("my song.mp3")
    songs = found("my song.mp3", SIGNED)
    assert songs.songs == (
        Song("my song.mp3", label="my song", type=VOCAL),
        Song(SIGNED, label="tune", type=VOCAL),
    )
    assert songs.files == (Path("my song.mp3"),)


@pytest.mark.usefixtures("folder")
def test_a_file_may_have_any_suffix_but_that_of_a_list() -> None:
    put("take.webm")
    put("song")
    assert labels(found("take.webm", "song")) == ["take", "song"]


@pytest.mark.usefixtures("folder")
def test_files_that_cannot_be_uploaded_are_named_all_together() -> None:
    put("empty.mp3", b"")
    put("good.mp3")
    with Path("huge.wav").open("wb") as file:
        file.truncate(MAX_UPLOAD_BYTES + 1)
    put("cover.jpg")
    message = error_of("empty.mp3", "good.mp3", "huge.wav", "none.mp3", "cover.jpg", "none.mp3")
    assert message == (
        "empty.mp3: it is empty; huge.wav: it has 20,971,521 bytes, and at most 20,971,520 can be "
        "uploaded; none.mp3: there is no such file or folder; cover.jpg: it is no audio file, but "
        "image/jpeg"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.usefixtures("folder")
def test_a_pipe_is_no_song() -> None:
    os.mkfifo("pipe.mp3")
    assert error_of("pipe.mp3") == "pipe.mp3: it is no file"


@pytest.mark.usefixtures("folder")
def test_the_error_about_many_files_is_short() -> None:
    names = [f"{number}.mp3" for number in range(8)]
    message = error_of(*names)
    assert message.count("there is no such file") == 5
    assert message.endswith("; and 3 more files")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
@pytest.mark.usefixtures("folder")
def test_a_file_without_permission_is_an_error() -> None:
    put("song.mp3")
    Path("song.mp3").chmod(0)
    assert error_of("song.mp3") == "song.mp3: it cannot be read (Permission denied)"


@pytest.mark.usefixtures("folder")
def test_a_file_that_cannot_be_opened_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    put("song.mp3")

    def fail(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    assert error_of("song.mp3") == "song.mp3: it cannot be read (Permission denied)"


@pytest.mark.parametrize("link", ["ftp://example.com/a.mp3", "https://"])
def test_a_link_that_is_none_is_an_error(link: str) -> None:
    assert "http" in error_of(link)


# Folders


@pytest.mark.usefixtures("folder")
def test_a_folder_stands_for_its_audio_files_in_the_order_of_their_names() -> None:
    for name in ("b.MP3", "a.flac", "notes.txt", "sub/c.wav", "sub/deep/d.ogg", "Z.m4a"):
        put(f"songs/{name}")
    assert paths(found("songs")) == [
        *("songs/Z.m4a", "songs/a.flac", "songs/b.MP3"),
        *("songs/sub/c.wav", "songs/sub/deep/d.ogg"),
    ]


@pytest.mark.usefixtures("folder")
def test_hidden_files_and_folders_hold_no_songs() -> None:
    for name in ("._a.mp3", ".cache/b.mp3", "c.mp3"):
        put(f"songs/{name}")
    assert paths(found("songs")) == ["songs/c.mp3"]


@pytest.mark.usefixtures("folder")
def test_stems_are_no_songs_wherever_they_were_saved() -> None:
    put("a.mp3")
    put("stems/a/vocal.mp3")
    put("by id/0123/manifest.json", b'{"task_id": "0123"}')
    put("by id/0123/vocal.mp3")
    assert paths(found(".")) == ["a.mp3"]
    assert paths(found(".", to="other")) == ["a.mp3", "stems/a/vocal.mp3"]


@pytest.mark.parametrize("content", [b'{"version": 3}', b"[7]", b"no json", b"7", b"\xff"])
@pytest.mark.usefixtures("folder")
def test_a_manifest_of_another_program_is_no_sign_of_stems(content: bytes) -> None:
    put("album/manifest.json", content)
    put("album/a.mp3")
    assert paths(found(".")) == ["album/a.mp3"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are text there")
@pytest.mark.usefixtures("folder")
def test_a_file_whose_name_is_no_text_is_a_song() -> None:
    put("songs/.vocalsep/claims/one.json")
    put("songs/.vocalsep/damaged.json")
    Path(os.fsdecode(b"songs/caf\xe9.mp3")).write_bytes(b"sound")
    assert labels(found("songs")) == ["caf_"]


@pytest.mark.usefixtures("folder")
def test_a_folder_without_songs_is_an_error() -> None:
    put("songs/cover.jpg")
    message = error_of("songs")
    assert message.startswith("songs holds no songs: no file below it ends with .aac, ")


@pytest.mark.usefixtures("folder")
def test_a_folder_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    put("songs/a.mp3")

    def fail(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(PermissionError):
        found("songs")


@pytest.mark.usefixtures("folder")
def test_files_of_one_name_are_called_by_their_folders_and_suffixes() -> None:
    for name in ("cd 1/01.mp3", "cd 2/01.mp3", "cd 2/02.mp3", "cd 2/02.wav"):
        put(f"songs/{name}")
    assert labels(found("songs")) == ["cd 1 - 01", "cd 2 - 01", "cd 2 - 02.mp3", "cd 2 - 02.wav"]


# Songs that are given several times


@pytest.mark.usefixtures("folder")
def test_a_song_that_is_given_twice_is_separated_once() -> None:
    put("songs/a.mp3")
    songs = found("songs", "./songs/a.mp3", "songs", SIGNED, SIGNED)
    assert (labels(songs), songs.repeated) == (["a", "tune"], 3)


@pytest.mark.usefixtures("folder")
def test_a_song_of_two_types_is_two_songs_with_names_of_their_own() -> None:
    put("a.mp3")
    put("list.csv", b"source,type\na.mp3,split_stem\n")
    songs = found("a.mp3", "list.csv")
    assert [each.type for each in songs.songs] == [VOCAL, SPLIT]
    assert labels(songs) == ["a - separate_vocal", "a - split_stem"]


@pytest.mark.usefixtures("folder")
def test_a_label_names_a_song_that_was_given_without_one() -> None:
    put("a.mp3")
    put("list.csv", "source;label\na.mp3;Für Elise\na.mp3;Für Elise\na.mp3;Again\n".encode())
    assert labels(found("a.mp3", "list.csv", "a.mp3")) == ["Für Elise", "Again"]


@pytest.mark.usefixtures("folder")
def test_two_songs_with_one_label_are_an_error() -> None:
    put("a.mp3")
    put("list.csv", f"source,label\na.mp3,Song\n{SIGNED},song\n".encode())
    assert error_of("list.csv") == (
        "list.csv, line 3: the label 'song' is that of another song, a.mp3: give one of them "
        "another label"
    )


@pytest.mark.parametrize(
    "first, shown", [(f"{SIGNED},,", "<cdn.example.com/…/tune.mp3>"), (",task,track", "task track")]
)
@pytest.mark.usefixtures("folder")
def test_the_other_song_of_a_label_is_named_without_its_secrets(first: str, shown: str) -> None:
    put("a.mp3")
    put("list.csv", f"source,task_id,audio_id,label\n{first},Song\na.mp3,,,Song\n".encode())
    assert f"is that of another song, {shown}: " in error_of("list.csv")


@pytest.mark.usefixtures("folder")
def test_a_label_takes_the_name_of_a_song_without_one() -> None:
    put("songs/a.mp3")
    put("songs/x/b.mp3")
    put("list.csv", b"source,label\nsongs/a.mp3,b\n")
    assert labels(found("list.csv", "songs/x/b.mp3")) == ["b", "b.mp3"]


# Lists


@pytest.mark.usefixtures("folder")
def test_a_csv_has_columns_of_sources_labels_types_instruments_and_keys() -> None:
    put("lists/a.mp3")
    text = (
        "Label,Source,Type,Stem name,Key\n"
        f'"One, two",a.mp3,split_stem_advanced,guitar,\n,{SIGNED},,,my key\n,,,,\n'
    )
    put("lists/songs.csv", text.encode("utf-8-sig"))
    assert found("lists/songs.csv").songs == (
        Song(
            "lists/a.mp3",
            label="One, two",
            type=SeparationType.SPLIT_STEM_ADVANCED,
            stem_name="guitar",
        ),
        Song(SIGNED, label="tune", type=VOCAL, key="my key"),
    )


@pytest.mark.usefixtures("folder")
def test_a_list_has_a_path_or_a_link_on_each_line() -> None:
    put("a, b.mp3")
    put("songs.txt", f"# songs\n\n a, b.mp3 \r\n{SIGNED}\n".encode())
    assert labels(found("songs.txt")) == ["a, b", "tune"]


@pytest.mark.usefixtures("folder")
def test_a_list_has_an_object_of_json_on_each_line() -> None:
    put("a.mp3")
    rows = [
        {"source": "a.mp3", "label": "A", "type": "split_stem", "key": None},
        {"task_id": "task-1", "audio_id": "audio-1"},
    ]
    put("songs.jsonl", "\n".join(map(json.dumps, rows)).encode())
    songs = found("songs.jsonl").songs
    assert songs[0] == Song("a.mp3", label="A", type=SPLIT)
    assert songs[1] == Song(("task-1", "audio-1"), label="audio-1", type=VOCAL)


@pytest.mark.usefixtures("folder")
def test_tracks_of_one_name_are_called_by_their_tasks() -> None:
    put("songs.csv", b"task_id,audio_id\nt1,a\nt2,a\n")
    assert labels(found("songs.csv")) == ["t1 - a", "t2 - a"]


@pytest.mark.usefixtures("folder")
def test_a_list_may_name_folders_whose_songs_share_its_type() -> None:
    for name in ("lists/more/a.mp3", "lists/more/x/b.mp3"):
        put(name)
    put("lists/songs.csv", b"source,type\nmore,split_stem\n")
    songs = found("lists/songs.csv")
    assert {each.type for each in songs.songs} == {SPLIT}
    assert labels(songs) == ["a", "b"]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "songs.csv contains no songs: write one path or link per line"),
        (b"source,label\n,\n", "songs.csv contains no songs"),
        (b"source,label\n,A\n", "songs.csv, line 2: it names no song"),
        (b"source,type\na.mp3,karaoke\n", "songs.csv, line 2: "),
        (b"source\nnone.mp3\n", "songs.csv, line 2: none.mp3: there is no such file or folder"),
        (
            b"source\nsongs.csv\n",
            "songs.csv, line 2: songs.csv is a list, and a list names no lists",
        ),
        (b'{"source": "a\\u0000.mp3"}\n', "line 1: a\\x00.mp3: there is no such file or folder"),
        (b"source\nftp://x/a\n", "songs.csv, line 2: "),
        (b"task_id,audio_id\nt,\n", "line 2: a song of the provider has a task_id and an audio_id"),
        (b'source\n"a.mp3\n', "is a quote not closed?"),
        (b"source,label\nmany,A\n", "line 2: a folder of several songs has no label and no key"),
        (b"{not json}\n", "songs.csv: '{not json}' is no JSON"),
        (b'{"source": 7}\n', "songs.csv, line 1: source is no text"),
        (b"a\xff.mp3\n", "songs.csv is not a text file"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_list_that_is_wrong_is_an_error_with_its_line(content: bytes, words: str) -> None:
    put("a.mp3")
    put("many/a.mp3")
    put("many/b.mp3")
    put("songs.csv", content)
    assert words in error_of("songs.csv")


@pytest.mark.usefixtures("folder")
def test_a_list_that_is_missing_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        found("songs.csv")
