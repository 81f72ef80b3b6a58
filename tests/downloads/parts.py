"""Helpers for parts: made, left behind, or held by another process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from downloads.hosts import AUDIO

from vocalsep_async._downloads.folder import Directory, Folder
from vocalsep_async._downloads.partfile import PartFile, SavedFile
from vocalsep_async._downloads.source import Chunk, FileIdentity

NAME = "vocal.mp3"
PART = f".{NAME}.part"
METADATA = f"{PART}.json"
STALE = f".{NAME}.0123456789abcdef.part"
OWNER = "task-1/vocal"
HALF = len(AUDIO) // 2
IDENTITY = FileIdentity('"one"', len(AUDIO), True, "audio/mpeg")
IDENTITY_FIELDS = ("validator", "size", "verified", "content_type")
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "rb+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def target_in(folder: Path) -> Path:
    """The target of a file, two folders below *folder*; the folders are made."""
    target = folder / "saved" / "task-1" / NAME
    target.parent.mkdir(parents=True)
    return target


@contextmanager
def untouched(path: Path) -> Iterator[Path]:
    """A new file at *path* that must be unchanged at the end."""
    path.write_bytes(b"precious")
    before = path.stat()
    yield path
    assert path.read_bytes() == b"precious"
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def folder_at(path: Path) -> Folder:
    """The folder at *path*, held open."""
    return Directory(path).open(path)


def opened(target: Path, owner: str = OWNER, *, from_start: bool = False) -> PartFile:
    directory = Directory(target.parent.parent)
    return PartFile.open(directory, target, owner, from_start=from_start)


def chunks(data: bytes = AUDIO, offset: int = 0, identity: FileIdentity = IDENTITY) -> list[Chunk]:
    step = 70_000
    return [Chunk(offset + at, data[at : at + step], identity) for at in range(0, len(data), step)]


def half_of(
    target: Path, identity: FileIdentity = IDENTITY, suffix: str = PART, owner: str = OWNER
) -> Path:
    """The part that a process leaves if it is killed in the middle."""
    part = target.with_name(suffix)
    part.write_bytes(AUDIO[:HALF])
    metadata = {"owner": owner} | {name: getattr(identity, name) for name in IDENTITY_FIELDS}
    target.with_name(f"{suffix}.json").write_text(json.dumps(metadata))
    return part


def saved_from_start(part: PartFile) -> SavedFile:
    part.write(chunks())
    return part.finish()


@contextmanager
def held_elsewhere(path: Path) -> Iterator[None]:
    """Another process holds the lock of *path*."""
    command = [sys.executable, "-S", "-E", "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()
