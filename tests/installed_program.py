"""Tries an installed package: what its metadata say, and a song on its way to its stems.

    python -I tests/installed_program.py alone    # without the command line
    python -I tests/installed_program.py cli      # with it

It runs against an emulator, in a folder of its own, and exits with 1 where something is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import vocalsep_async
from vocalsep_async.emulator import Emulator

NAME = "vocalsep-async"
HINT = 'pip install "vocalsep-async[cli]"'


def check(is_right: object, what: str) -> None:
    if not is_right:
        sys.exit(f"wrong: {what}")


def check_metadata() -> None:
    said = metadata.metadata(NAME)
    installed = {str(each) for each in metadata.files(NAME) or ()}
    scripts = metadata.distribution(NAME).entry_points
    check(said["Version"] == vocalsep_async.__version__, "the version")
    check(said["Requires-Python"] == ">=3.11", "the Pythons")
    check(said["License-Expression"] == "MIT", "the licence")
    extras = {"cli", "otel", "redis", "temporal"}
    check(extras <= set(said.get_all("Provides-Extra", ())), "the extras")
    for name in ("limiter", "learned"):
        script = f"vocalsep_async/contrib/_redis/{name}.lua"
        check(script in installed, "the scripts for stores")
    check("vocalsep_async/py.typed" in installed, "the marker of types")
    check({each.name for each in scripts} == {"vocalsep", "vocalsep_async"}, "the entry points")
    tops = {each.partition("/")[0] for each in installed if not each.startswith("..")}
    check(all(each.startswith("vocalsep_async") for each in tops), f"what is installed: {tops}")


async def run(emulator: Emulator, *arguments: str) -> tuple[int | None, str]:
    """Run the command line; returns its exit status and its error output."""
    env = os.environ | {
        "VOCALSEP_API_KEY": "any-key",
        "VOCALSEP_BASE_URL": emulator.url,
        "VOCALSEP_UPLOAD_URL": emulator.url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "vocalsep_async", *arguments),
        env=env,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()


async def try_library(emulator: Emulator, song: Path) -> None:
    async with emulator.client() as client:
        outcome = await client.separate(song, download_to="library", journal="songs.journal")
    check(outcome.succeeded, f"the outcome of a song: {outcome.reason}")
    check(all(each.stat().st_size > 0 for each in outcome.files.values()), "the stems")


async def try_command_line(emulator: Emulator, song: Path) -> None:
    status, said = await run(emulator, "separate", str(song), "--yes", "--report", "report.html")
    check(status == 0, f"the command line: {status}, {said}")


def check_saved() -> None:
    saved = {each.stem for each in Path("stems/song").iterdir()}
    check({"vocal", "instrumental"} <= saved, f"the stems of the command line: {saved}")
    check("</html>" in Path("report.html").read_text(encoding="utf-8"), "the report")


async def main(emulator: Emulator, song: Path, *, has_command_line: bool) -> None:
    async with emulator:
        await try_library(emulator, song)
        if has_command_line:
            await try_command_line(emulator, song)
            check_saved()
        else:
            status, said = await run(emulator, "--help")
            check(status == 1 and HINT in said, f"the hint at the command line: {said}")


if __name__ == "__main__":
    check_metadata()
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        source, server = Path("song.wav"), Emulator(speed=300)
        source.write_bytes(server.original_wav())
        asyncio.run(main(server, source, has_command_line="cli" in sys.argv))
    print(f"{NAME} {vocalsep_async.__version__}: works as installed")  # noqa: T201
