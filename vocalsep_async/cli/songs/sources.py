"""The songs that a command line names: files, links, folders, and lists of all of them."""

from __future__ import annotations

import json
import mimetypes
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from attrs import evolve, field, frozen
from yarl import URL

from vocalsep_async import InvalidArgumentError, SeparationType
from vocalsep_async._downloads.claims import StemFinder
from vocalsep_async._downloads.paths import MANIFEST
from vocalsep_async._text import counted, printable, short_url, unsigned_path
from vocalsep_async.cli.songs.labels import place_of, readable, unique
from vocalsep_async.cli.tables import DELIMITERS, names_in, plain, rows, says_something
from vocalsep_async.cli.text_lines import TextError, lines_of, parted
from vocalsep_async.models import separation_type
from vocalsep_async.policies import MAX_UPLOAD_BYTES
from vocalsep_async.songs import Song

JOURNAL = "songs.journal"
"""The name of the journal beside the stems, unless another one is given."""
_AUDIO = frozenset(
    (".mp3", ".wav", ".flac", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".wma")
)
"""What the names of files end with that are taken from a folder."""
_LISTS = frozenset((".csv", ".tsv", ".txt", ".jsonl", ".ndjson"))
_NO_AUDIO = ("image/", "text/", "font/", "model/", "application/pdf", "application/zip")
"""Types that a shell's pattern may name beside songs, and that would be billed as one."""
_SCHEME = "://"
_SOURCES = ("source", "song", "path", "file", "url", "audiourl")
"""What a column or a field of sources is called, by its plain name; the first of them counts."""
_TASK, _TRACK = "taskid", "audioid"
_MOST_SHOWN = 5
"""Files that cannot be used, in one error."""

_ADVANCED = SeparationType.SPLIT_STEM_ADVANCED

Source = Path | str | tuple[str, str]


@frozen(kw_only=True)
class Given:
    """A song as it was given.

    Attributes:
        source: the path of a file, a link, or the ids of a song of the provider.
        place: where it was given, for messages; "" for an argument.
        below: the names of the folders between the one that was given and the file.
        label: its name; None takes one from the source.
        type: what to make of it; None leaves it to the command.
        stem_name: the instrument; None leaves it to the command.
        key: what makes it the same song as another one; None for its content or link.
    """

    source: Source
    place: str = ""
    below: tuple[str, ...] = ()
    label: str | None = None
    type: SeparationType | None = None
    stem_name: str | None = None
    key: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The source without what is secret."""
        match self.source:
            case str():
                return short_url(self.source)
            case Path():
                return printable(str(self.source))
            case _:
                return printable(" ".join(self.source))

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called, the shortest name first; each of them is readable."""
        *folders, name, suffix = self._parts()
        path = " - ".join((*folders, name))
        what = (name, path, f"{path}{suffix}", f"{path} - {self.type}")
        return tuple(map(readable, what))

    def _parts(self) -> tuple[str, ...]:
        """Folders, a name and its suffix."""
        match self.source:
            case Path():
                return *self.below, self.source.stem, self.source.suffix
            case str():
                url = URL(self.source, encoded=True)
                path = unquote(unsigned_path(url.raw_path)).strip("/")
                *folders, last = path.split("/")
                name, dot, suffix = last.rpartition(".")
                return url.host or "", *folders, name or last, dot + suffix if name else ""
            case _:
                return *self.source, ""

    def song(self, label: str) -> Song:
        """The song, with that name.

        Raises:
            InvalidArgumentError: it is unusable; the message says where it was given.
        """
        try:
            return Song(
                self.source,
                label=label,
                type=self.type,
                stem_name=self.stem_name,
                key=self.key,
            )
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{_before(self.place)}{error}") from None


def _before(place: str) -> str:
    return f"{place}: " if place else ""


@frozen
class Songs:
    """The songs of a command line.

    Attributes:
        songs: each of them once, with a label that no other one has.
        repeated: how many more were given, which are among them.
    """

    songs: tuple[Song, ...]
    repeated: int

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that are files of this machine, and have to be uploaded."""
        return tuple(each.source for each in self.songs if isinstance(each.source, Path))


def songs_in(
    arguments: Sequence[str], kind: SeparationType, stem_name: str | None, to: Path
) -> Songs:
    """The songs that *arguments* name, in their order, and in that of the names in a folder.

    Args:
        arguments: paths of files, folders and lists, and links.
        kind: what to make of the songs that do not say so.
        stem_name: the instrument of the songs that do not say so; None for none.
        to: the folder for the stems, which are no songs.

    Raises:
        InvalidArgumentError: there are none, or one of them cannot be separated.
        OSError: a list or a folder cannot be read.
    """
    given = [
        _complete(each, kind, stem_name) for argument in arguments for each in _given(argument, to)
    ]
    if stem_name is not None and all(each.type is not _ADVANCED for each in given):
        raise InvalidArgumentError(f"--stem-name is for --type {_ADVANCED}, and no song is of it")
    _check_files(given)
    different = _different(given)
    return Songs(tuple(_named(different)), len(given) - len(different))


def _complete(given: Given, kind: SeparationType, stem_name: str | None) -> Given:
    """*given* with what the command says of songs that do not say so.

    Raises:
        InvalidArgumentError: it has an instrument, and a type that takes none.
    """
    given = evolve(given, type=given.type or kind)
    if given.type is _ADVANCED:
        return evolve(given, stem_name=given.stem_name or stem_name)
    if given.stem_name is not None:
        raise InvalidArgumentError(
            f"{_before(given.place)}a stem_name is for the type {_ADVANCED} alone"
        )
    return given


def _given(argument: str, to: Path, place: str = "", base: Path = Path()) -> Iterator[Given]:
    """The songs of one argument, or of one line of a list in the folder *base*."""
    if _SCHEME in argument:
        yield Given(source=argument, place=place)
        return
    path = base / argument
    if path.is_dir():
        yield from _in_folder(path, to)
    elif path.suffix.lower() in _LISTS:
        if place:
            raise InvalidArgumentError(
                f"{place}: {printable(argument)} is a list, and a list names no lists"
            )
        yield from _in_list(path, to)
    else:
        yield Given(source=path, place=place)


# Folders


def _in_folder(folder: Path, to: Path) -> Iterator[Given]:
    found = [
        Given(source=path, below=path.relative_to(folder).parts[:-1])
        for path in _files_below(folder, to)
    ]
    if not found:
        kinds = ", ".join(sorted(_AUDIO))
        raise InvalidArgumentError(
            f"{printable(str(folder))} holds no songs: no file below it ends with {kinds}"
        )
    yield from found


def _files_below(folder: Path, to: Path) -> Iterator[Path]:
    stems = StemFinder()
    for path, folders, names in os.walk(folder, onerror=_fail):
        here = Path(path)
        # In place: os.walk goes on with what is left. Folders of stems would be separated again.
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not _is_of_stems(here / name, to)
        )
        for name in sorted(names):
            is_audio = not name.startswith(".") and Path(name).suffix.lower() in _AUDIO
            if is_audio and not stems.is_stem(here / name):
                yield here / name


def _fail(error: OSError) -> None:
    raise error


def _is_of_stems(folder: Path, to: Path) -> bool:
    """Whether a folder is that for the stems, or one of stems that are named by their task."""
    return _has_manifest(folder) or (to.exists() and folder.samefile(to))


def _has_manifest(folder: Path) -> bool:
    # Other programs write files of that name, too.
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return "task_id" in json.loads((folder / MANIFEST).read_bytes())
    return False


# Lists


def _in_list(file: Path, to: Path) -> Iterator[Given]:
    is_empty = True
    try:
        with file.open("rb") as opened:
            for number, fields in _entries(lines_of(opened)):
                place = f"{printable(str(file))}, line {number}"
                for each in _of_fields(fields, place, file.parent, to):
                    is_empty = False
                    yield each
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{printable(str(file))} is not a text file: {error.reason}; save it as UTF-8"
        ) from None
    except TextError as error:
        raise InvalidArgumentError(f"{printable(str(file))}: {error}") from None
    if is_empty:
        raise InvalidArgumentError(
            f"{printable(str(file))} contains no songs: write one path or link per line, or a "
            "CSV with a column source"
        )


def _entries(lines: Iterator[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The songs of a list, each with the number of its line, and its fields by plain names."""
    numbered = enumerate(lines, 1)
    first, line = next((each for each in numbered if says_something(each[1])), (1, ""))
    column = _column_of_songs(line)
    if column is not None:
        for number, cells in rows(chain([line], lines), column):
            yield first - 1 + number, cells
        return
    for number, each in chain([(first, line)], numbered):
        for part in parted(each):
            if says_something(part):
                yield number, _fields_of(part)


def _column_of_songs(header: str) -> str | None:
    """The name of a column of songs if *header* begins a CSV that has one."""
    for delimiter in DELIMITERS:
        names = {plain(name): name for name in names_in(header.lstrip("\ufeff"), delimiter)}
        for known in (*_SOURCES, _TASK):
            if known in names:
                return names[known]
    return None


def _fields_of(line: str) -> Mapping[str, Any]:
    """What a line says that is a source, or an object of JSON."""
    text = line.strip("\ufeff \t")
    if not text.startswith("{"):
        return {_SOURCES[0]: text}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise TextError(f"{printable(text, 80)!r} is no JSON") from None
    return {plain(name): value for name, value in content.items()}


def _of_fields(fields: Mapping[str, Any], place: str, base: Path, to: Path) -> Iterator[Given]:
    texts = {name: _text(value, name, place) for name, value in fields.items()}
    source = next(filter(None, map(texts.get, _SOURCES)), None)
    ids = texts.get(_TASK), texts.get(_TRACK)
    if source is None and not any(ids):
        # A row of commas only, as spreadsheets leave them behind.
        if any(texts.values()):
            raise InvalidArgumentError(f"{place}: it names no song")
        return
    about = evolve(
        Given(source="", place=place),
        label=texts.get("label"),
        type=_type(texts.get("type"), place),
        stem_name=texts.get("stemname"),
        key=texts.get("key"),
    )
    if source is None:
        yield evolve(about, source=_track(*ids, place))
        return
    found = list(_given(source, to, place, base))
    if len(found) > 1 and (about.label or about.key):
        raise InvalidArgumentError(f"{place}: a folder of several songs has no label and no key")
    for each in found:
        yield evolve(about, source=each.source, below=each.below)


def _text(value: Any, name: str, place: str) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{place}: {name[:20]} is no text")
    return value.strip()


def _type(text: str | None, place: str) -> SeparationType | None:
    try:
        return separation_type(text)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{place}: {error}") from None


def _track(task_id: str | None, audio_id: str | None, place: str) -> tuple[str, str]:
    if task_id is None or audio_id is None:
        raise InvalidArgumentError(f"{place}: a song of the provider has a task_id and an audio_id")
    return task_id, audio_id


# Each song once, by a name of its own


def _different(given: Iterable[Given]) -> list[Given]:
    """*given* without those that are there already, by the same name or without one."""
    found: dict[tuple[Any, ...], list[Given]] = {}
    for each in given:
        source = os.path.realpath(each.source) if isinstance(each.source, Path) else each.source
        same = found.setdefault((source, each.type, each.stem_name, each.key), [])
        nameless = next((at for at, known in enumerate(same) if known.label is None), None)
        if nameless is not None and each.label is not None:
            same[nameless] = each
        elif not same or (each.label is not None and each.label not in [one.label for one in same]):
            same.append(each)
    return list(chain.from_iterable(found.values()))


def _named(given: Sequence[Given]) -> Iterator[Song]:
    taken: dict[str, Given] = {}
    for each in given:
        if each.label is None:
            continue
        other = taken.setdefault(place_of(each.label), each)
        if other is not each:
            raise InvalidArgumentError(
                f"{_before(each.place)}the label {printable(each.label)!r} is that of another "
                f"song, {other.shown}: give one of them another label"
            )
    names = iter(unique([each.names for each in given if each.label is None], taken))
    for each in given:
        yield each.song(next(names) if each.label is None else each.label)


# What can be known of files before anything is sent


def _check_files(given: Iterable[Given]) -> None:
    found = (
        f"{_before(each.place)}{each.shown}: {problem}"
        for each in given
        if isinstance(each.source, Path) and (problem := _problem(each.source))
    )
    problems = list(dict.fromkeys(found))
    if problems:
        more = len(problems) - _MOST_SHOWN
        rest = [f"and {counted(more, 'more file')}"] if more > 0 else []
        raise InvalidArgumentError("; ".join((*problems[:_MOST_SHOWN], *rest)))


def _problem(path: Path) -> str | None:
    """Why a file cannot be uploaded; None if nothing is known that speaks against it."""
    try:
        if not path.is_file():
            return "it is no file" if path.exists() else "there is no such file or folder"
        with path.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    kind = mimetypes.guess_type(path.name)[0] or ""
    if kind.startswith(_NO_AUDIO):
        return f"it is no audio file, but {kind}"
    if not size:
        return "it is empty"
    if size > MAX_UPLOAD_BYTES:
        return f"it has {size:,} bytes, and at most {MAX_UPLOAD_BYTES:,} can be uploaded"
    return None
