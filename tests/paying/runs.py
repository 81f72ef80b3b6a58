"""Runs of many songs that something disturbs, and the same run again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

from attrs import frozen
from paying.song_host import STEMS, SongHost, audio_of, song_host
from paying.songs_program import Given, client_of, separated

from vocalsep_async import CreationUncertainError, TaskOutcome

PROGRAM = Path(__file__).with_name("songs_program.py")
PATIENCE = 60.0
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
"""Coverage measurement writes files too, and would meet the faults meant for the journal."""


def content_of(name: str) -> bytes:
    """The file of a song."""
    return f"ID3 the song {name} ".encode() * 2000


class Done(NamedTuple):
    """How a program ended."""

    code: int
    said: list[tuple[str, Any]]
    errors: str


@frozen
class Songs:
    """Songs, and what they are called at the host.

    Attributes:
        given: label and source of each.
        names: by label, the song at the host.
        requests: how many a run of them takes.
    """

    given: list[Given]
    names: dict[str, str]
    requests: int


def songs_in(
    folder: Path, *, files: int = 0, urls: int = 0, tracks: int = 0, copies: int = 0
) -> Songs:
    """Songs of each kind; copies are further paths of the first file."""
    folder.mkdir(parents=True)
    given: list[Given] = []
    names: dict[str, str] = {}
    for number in range(files):
        names[f"file {number}"] = name = f"file-{number}"
        path = folder / f"{name}.mp3"
        path.write_bytes(content_of(name))
        given.append((f"file {number}", str(path)))
    for number in range(urls):
        names[f"url {number}"] = url = f"https://songs.example/{number}.mp3?signature=hush"
        given.append((f"url {number}", url))
    for number in range(tracks):
        names[f"track {number}"] = f"music-{number}/audio"
        given.append((f"track {number}", [f"music-{number}", "audio"]))
    # An upload or none, the creation, two polls, and the stems.
    requests = files + len(given) * (3 + len(STEMS))
    for number in range(copies):
        names[f"copy {number}"] = "file-0"
        path = folder / f"copy-{number}.mp3"
        path.write_bytes(content_of("file-0"))
        given.append((f"copy {number}", str(path)))
    return Songs(given, names, requests)


def contents(count: int = 10) -> dict[str, bytes]:
    """The files that hosts of these tests know."""
    return {f"file-{number}": content_of(f"file-{number}") for number in range(count)}


class Scene:
    """Songs, a host that separates them, and a journal.

    Attributes:
        host: the host, which outlives the programs.
        songs: the songs.
        folder: where everything lies.
        pid: of the program that runs.
    """

    def __init__(self, host: SongHost, songs: Songs, folder: Path) -> None:
        self.host = host
        self.songs = songs
        self.folder = folder
        self.pid = 0

    @property
    def journal(self) -> Path:
        return self.folder / "songs.journal"

    @property
    def stems(self) -> Path:
        return self.folder / "stems"

    @property
    def options(self) -> dict[str, Any]:
        return {"journal": str(self.journal), "to": str(self.stems), "songs": self.songs.given}

    def command(self, **options: Any) -> list[str]:
        """The command of a program that separates the songs."""
        arguments = {"url": self.host.url, **self.options, **options}
        # -B: caches of bytecode would be further writes to disk.
        return [sys.executable, "-B", str(PROGRAM), json.dumps(arguments)]

    async def program(self, *prefix: str, **options: Any) -> Done:
        """Run the program to its end."""
        process = await asyncio.create_subprocess_exec(
            *prefix,
            *self.command(**options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRON,
            start_new_session=True,
        )
        self.pid = process.pid
        try:
            async with asyncio.timeout(PATIENCE):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                # With what it traces: a program that goes on would keep the pipes open.
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return Done(process.returncode or 0, list(_lines(output)), errors.decode())

    async def run(self, **options: Any) -> dict[str | None, TaskOutcome]:
        """Run the same again in this process: the outcomes by label."""
        async with client_of(self.host.url) as client:
            run = separated(client, **(self.options | options))
            return {outcome.label: outcome async for outcome in run}

    # What is on the disk

    def uncertain_songs(self) -> set[str]:
        """The songs whose task may exist, by the journal alone."""
        labels = self._labels("task_id IS NULL AND identity IS NOT NULL")
        return {self.songs.names[label] for label in labels}

    def _labels(self, condition: str) -> list[str]:
        if not self.journal.exists():
            return []
        with closing(sqlite3.connect(self.journal)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchall():
                return []
            query = f"SELECT label FROM intents WHERE {condition}"
            return [label for (label,) in connection.execute(query)]

    def saved_stems(self) -> set[tuple[str, str]]:
        """The stems that are in the manifests: what comes between that and the file is repeated."""
        manifests = (self.stems / ".vocalsep").glob("*.json")
        return {
            (self.host.song_of(path.stem), stem)
            for path in manifests
            for stem in json.loads(path.read_text())["files"]
        }

    # What must be true

    def assert_no_song_was_posted_twice(self) -> None:
        assert max(self.host.posted.values(), default=0) <= 1, self.host.posted

    def assert_separated(self, outcomes: Iterable[TaskOutcome]) -> None:
        outcomes = list(outcomes)
        assert sorted(str(each.label) for each in outcomes) == sorted(self.songs.names)
        for outcome in outcomes:
            assert outcome.succeeded, (outcome.label, outcome.reason)
            song = self.songs.names[str(outcome.label)]
            assert {stem: path.read_bytes() for stem, path in outcome.files.items()} == {
                stem: audio_of(song, stem) for stem in STEMS
            }

    async def assert_the_same_run_completes(self) -> set[str]:
        """Run the same again, and once more where that is allowed; returns the uncertain songs."""
        self.host.be_quiet()
        self.assert_no_song_was_posted_twice()
        uncertain, saved = self.uncertain_songs(), self.saved_stems()
        posted, fetched = self.host.posted.copy(), self.host.fetched.copy()
        outcomes = await self.run()
        self.assert_no_song_was_posted_twice()
        reported = {label for label, each in outcomes.items() if is_uncertain(each)}
        assert {self.songs.names[str(label)] for label in reported} == uncertain
        assert all(self.host.posted[song] == posted[song] for song in uncertain)
        if uncertain:
            outcomes = await self.run(on_uncertain="create")
        self.assert_separated(outcomes.values())
        again = Counter({song: posted[song] for song in uncertain})
        assert self.host.posted == Counter(set(self.songs.names.values())) + again
        assert {stem for stem in saved if self.host.fetched[stem] != fetched[stem]} == set()
        await self.assert_nothing_is_left_to_do()
        return uncertain

    async def assert_nothing_is_left_to_do(self) -> None:
        requests = len(self.host.requests)
        self.assert_separated((await self.run()).values())
        assert not self.host.requests[requests:], self.host.requests[requests:]


def is_uncertain(outcome: TaskOutcome) -> bool:
    return isinstance(outcome.error, CreationUncertainError)


def _lines(output: bytes) -> Iterable[tuple[str, Any]]:
    """The lines that a program printed, without an incomplete last one."""
    for line in output.splitlines(keepends=True):
        if line.endswith(b"\n"):
            word, value = json.loads(line)
            yield word, value


@asynccontextmanager
async def scene(folder: Path, **kinds: int) -> AsyncIterator[Scene]:
    """Songs of these kinds, with a host for them."""
    async with song_host(contents()) as host:
        yield Scene(host, songs_in(folder / "songs", **kinds), folder)
