"""Downloads compared with curl in the same run: throughput, memory, longest gap of the event loop.

    python benchmarks/downloads.py [--rounds 5] [--files 32] [--mebibytes 32]

A local server process sends files from the page cache. ``download_stems``, four files at a time,
and ``curl --parallel --parallel-max 4`` alternate, and write to the same temporary folder. The
files of ``download_stems`` are on disk when it returns, with checksums and a manifest; those of
curl are written to disk with ``sync``, which is included in the time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple

from aiohttp import web

from vocalsep_async import OriginTrack, SeparationTask, TaskStatus, VocalSepClient

CONCURRENCY = 4
# Aims: throughput as a fraction of curl's, MiB above idle, and milliseconds.
RATIO = 0.9
MEMORY = 64
GAP = 20
KIB, MIB = 1 << 10, 1 << 20


def serve(ready: Connection, song: Path) -> None:
    """Serve the same file under every name until the process is killed."""

    async def run() -> None:
        async def answer(_request: web.Request) -> web.FileResponse:
            return web.FileResponse(song)

        application = web.Application()
        application.router.add_get("/{name}", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


class Round(NamedTuple):
    """Cost of one round: seconds, MiB above idle, and longest gap of the event loop in seconds."""

    seconds: float
    memory: float
    gap: float


async def download(url: str, folder: str, files: int) -> Round:
    """Save all files with one call of `download_stems`."""
    tracks = tuple(OriginTrack(name=f"t{each}", url=f"{url}/{each}.mp3") for each in range(files))
    task = SeparationTask(task_id="song", status=TaskStatus.SUCCESS, origin_tracks=tracks)
    longest = 0.0

    async def measure_gaps() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest = max(longest, now - last - 0.001)
            last = now

    async with VocalSepClient("no-key-needed", base_url=url) as client:
        gaps = asyncio.create_task(measure_gaps())
        await asyncio.sleep(0)
        idle = memory("VmRSS")
        began = time.perf_counter()
        await client.download_stems(task, folder, max_concurrency=CONCURRENCY)
        seconds = time.perf_counter() - began
        gaps.cancel()
    return Round(seconds, memory("VmHWM") - idle, longest)


def memory(field: str) -> float:
    """A field of the status of this process, in MiB, as Linux reports it."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * KIB / MIB


def download_in_process(url: str, folder: Path, files: int) -> Round:
    """Run `download` in a new process, so that the peak memory is that of one round."""
    command = [sys.executable, __file__, "--fetch", url, str(folder), "--files", str(files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Round(*json.loads(done.stdout))


def curl(url: str, folder: Path, files: int) -> float:
    """Seconds that curl and sync take for the same files."""
    wanted = [
        word
        for each in range(files)
        for word in ("--output", str(folder / f"{each}.mp3"), f"{url}/{each}.mp3")
    ]
    began = time.perf_counter()
    subprocess.run(
        ["curl", "--no-progress-meter", "--parallel", "--parallel-max", str(CONCURRENCY), *wanted],
        check=True,
    )
    subprocess.run(["sync", *folder.iterdir()], check=True)
    return time.perf_counter() - began


def compare(url: str, below: Path, files: int, rounds: int) -> tuple[list[Round], list[float]]:
    """Alternate between both sides, and remove the files of each before the next."""
    fetched, curled = [], []
    for each in range(rounds):
        mine, theirs = below / f"download-{each}", below / f"curl-{each}"
        fetched.append(download_in_process(url, mine, files))
        shutil.rmtree(mine)
        theirs.mkdir()
        curled.append(curl(url, theirs, files))
        shutil.rmtree(theirs)
    return fetched, curled


def main() -> None:
    """Run the measurements and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=32)
    parser.add_argument("--mebibytes", type=int, default=32)
    parser.add_argument("--fetch", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fetch:
        url, folder = options.fetch
        print(json.dumps(asyncio.run(download(url, folder, options.files))))
        return
    if shutil.which("curl") is None:
        print("curl is not installed")
        return
    with tempfile.TemporaryDirectory(prefix="vocalsep-benchmark-") as folder:
        song = Path(folder) / "song.mp3"
        song.write_bytes(b"\xff\xfb\x90\x00" * (options.mebibytes * MIB // 4))
        here, there = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(there, song), daemon=True)
        server.start()
        try:
            url = f"http://127.0.0.1:{here.recv()}"
            fetched, curled = compare(url, Path(folder), options.files, options.rounds)
        finally:
            server.kill()
    size = options.files * options.mebibytes
    ratios = sorted(theirs / mine.seconds for mine, theirs in zip(fetched, curled, strict=True))
    print(f"{options.files} files of {options.mebibytes} MiB, {options.rounds} rounds")
    print(f"download_stems {size / median(each.seconds for each in fetched):.0f} MiB/s")
    print(f"curl and sync {size / median(curled):.0f} MiB/s")
    print(f"ratio {median(ratios):.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f} (aim {RATIO})")
    print(f"memory {max(each.memory for each in fetched):.1f} MiB above idle (aim {MEMORY})")
    print(f"longest gap {1e3 * max(each.gap for each in fetched):.1f} ms (aim {GAP})")


if __name__ == "__main__":
    main()
