"""The command that separates songs, in the process of a test and as a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cli.in_process import call
from cli.subprocesses import started
from typer.testing import Result

from vocalsep_async.emulator import Emulator

UPLOAD = "/api/file-stream-upload"
CREATE = "/api/v1/vocal-removal/generate"


def songs_in(folder: Path, *names: str) -> Path:
    """Make a folder with songs of different contents."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
    return folder


def sent(emulator: Emulator, path: str) -> int:
    """How many requests for *path* have reached the server."""
    return sum(each.path == path for each in emulator.requests)


def separate(emulator: Emulator, *words: str | Path, **environ: str | None) -> Result:
    """Run the command to its end, in this process, without a terminal."""
    environ = {"VOCALSEP_UPLOAD_URL": emulator.url, **environ}
    result = call(emulator, "separate", *words, environ=environ)
    assert "download" not in result.output, "a link of an upload is printed"
    return result


async def begun(emulator: Emulator, *words: str | Path) -> asyncio.subprocess.Process:
    """Start the command as a process with pipes."""
    environ = {"VOCALSEP_UPLOAD_URL": emulator.url}
    return await started(emulator, "separate", *map(str, words), environ=environ)
