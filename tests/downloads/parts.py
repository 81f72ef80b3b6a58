"""Parts of a file, as a process makes, leaves or holds them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from downloads.hosts import AUDIO

from vocalsep_async._downloads.partfile import PartFile, Saved
from vocalsep_async._downloads.source import Chunk, FileIdentity

NAME = "vocal.mp3"
PART = f".{NAME}.part"
NOTE = f"{PART}.json"
STALE = f".{NAME}.0123456789abcdef.part"
OWNER = "task-1/vocal"
HALF = len(AUDIO) // 2
ABOUT = FileIdentity('"one"', len(AUDIO), True, "audio/mpeg")
ABOUT_FIELDS = ("validator", "size", "verified", "content_type")
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "rb+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def target_in(folder: Path) -> Path:
    """Where a file belongs, two folders below; those are made."""
    target = folder / "saved" / "task-1" / NAME
    target.parent.mkdir(parents=True)
    return target


@contextmanager
def untouched(path: Path) -> Iterator[Path]:
    """A new file at *path*, which nobody may change meanwhile."""
    path.write_bytes(b"precious")
    before = path.stat()
    yield path
    assert path.read_bytes() == b"precious"
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def opened(target: Path, owner: str = OWNER, *, anew: bool = False) -> PartFile:
    return PartFile.open(target, target.parent.parent, owner, anew=anew)


def pieces(data: bytes = AUDIO, offset: int = 0, about: FileIdentity = ABOUT) -> list[Chunk]:
    step = 70_000
    return [Chunk(offset + at, data[at : at + step], about) for at in range(0, len(data), step)]


def half_of(
    target: Path, about: FileIdentity = ABOUT, suffix: str = PART, owner: str = OWNER
) -> Path:
    """What a process leaves that was killed in the middle."""
    part = target.with_name(suffix)
    part.write_bytes(AUDIO[:HALF])
    note = {"owner": owner} | {name: getattr(about, name) for name in ABOUT_FIELDS}
    target.with_name(f"{suffix}.json").write_text(json.dumps(note))
    return part


def saved_anew(part: PartFile) -> Saved:
    part.write(pieces())
    return part.finish()


@contextmanager
def held_elsewhere(path: Path) -> Iterator[None]:
    """Have another process hold *path*."""
    command = [sys.executable, "-S", "-E", "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()
