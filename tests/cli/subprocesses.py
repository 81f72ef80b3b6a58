"""The command line as a process with pipes."""

import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple

from vocalsep_async.emulator import Emulator

KEY = "sk-0123456789abcdef"
SOON = 60.0


class Run(NamedTuple):
    """The result of a command."""

    status: int
    out: list[str]
    err: str


async def started(
    emulator: Emulator, *words: str, environ: dict[str, str] | None = None, cwd: Path | None = None
) -> asyncio.subprocess.Process:
    """Start a command."""
    account = {"VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": emulator.url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vocalsep_async", *words),
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **account, **(environ or {})},
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    return process


async def ended(process: asyncio.subprocess.Process, given: str = "") -> Run:
    """Wait for the end of a command; check that it prints no traceback and no key."""
    async with asyncio.timeout(SOON):
        # Python 3.11 raises for input if there is no pipe to write it to.
        out, err = await process.communicate(None if process.stdin is None else given.encode())
    assert process.returncode is not None
    assert b"Traceback" not in err
    assert KEY.encode() not in out + err
    return Run(process.returncode, out.decode().splitlines(), err.decode())


async def vocalsep(
    emulator: Emulator,
    *words: str,
    given: str = "",
    environ: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Run:
    """Run a command to its end."""
    return await ended(await started(emulator, *words, environ=environ, cwd=cwd), given)


async def first_line(process: asyncio.subprocess.Process) -> str:
    """The first line of standard output."""
    assert process.stdout is not None
    async with asyncio.timeout(SOON):
        return (await process.stdout.readline()).decode()
