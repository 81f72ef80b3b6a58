"""Web services that separate songs, with callbacks and without, as processes beside an emulator.

    python benchmarks/webhook_services.py [--songs 60] [--apart 1.5] [--speed 1] [--only fastapi]

The services are those of ``examples/``, by uvicorn and by aiohttp; each case has a service and an
emulator of its own, and all run at the same time on 127.0.0.1. Songs come to POST /separate at
equal distances, and each request is answered when its task has ended. The delay is that of the
answer behind the end of the task. By default time is not scaled: tasks take 20 to 240 s, and the
rate limit is that of the API. With a higher speed the tasks are shorter, and nothing else is: then
the rate limit and the pauses between polls weigh more than they would.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import mean, quantiles
from typing import Any
from unittest.mock import patch

import aiohttp
import aiohttp.web
import attrs
from attrs import frozen

from vocalsep_async import TaskRef, VocalSepClient
from vocalsep_async.emulator import CallbackFaults, CallbackKind, Emulator
from vocalsep_async.webhooks import ReceiverStats

EXAMPLES = Path(__file__).parents[1] / "examples"
SONG = "https://example.com/song.mp3"
FAULTS = CallbackFaults(
    lost=0.1,
    repeated=0.2,
    reordered=0.1,
    delay=(0.0, 2.0),
    in_progress=0.2,
    wrong_address=0.3,
    changed=0.3,
)
CASES: dict[str, CallbackFaults | None] = {
    "on": CallbackFaults(),
    "with faults": FAULTS,
    "50 % lost": CallbackFaults(lost=0.5),
    "all lost": CallbackFaults(lost=1.0),
    "off": None,
}
"""What goes wrong with callbacks; None for creations that name no callback URL."""


# A service, in a process of its own


def serve(framework: str, listener: socket.socket, *, has_callbacks: bool) -> None:
    """Serve an example until the process is terminated."""
    sys.path.insert(0, str(EXAMPLES))
    example = importlib.import_module(f"{framework}_service")
    if not has_callbacks:
        # The same service, whose creations name no callback URL.
        patch.object(VocalSepClient, "create_task", _without_callback(VocalSepClient)).start()
    if framework == "fastapi":
        import uvicorn  # noqa: PLC0415 - the other service needs none

        config = uvicorn.Config(example.app, access_log=False, log_level="warning")
        uvicorn.Server(config).run([listener])
    else:
        aiohttp.web.run_app(example.make_app(), sock=listener, access_log=None, print=None)


def _without_callback(client: type[VocalSepClient]) -> Callable[..., Awaitable[TaskRef]]:
    create = client.create_task

    def create_task(self: VocalSepClient, **arguments: Any) -> Awaitable[TaskRef]:
        return create(self, **(arguments | {"callback_url": None}))

    return create_task


@asynccontextmanager
async def service(
    framework: str, emulator: Emulator, *, has_callbacks: bool
) -> AsyncIterator[aiohttp.ClientSession]:
    """Run a service; the block has a session to it."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environ = {
            "VOCALSEP_API_KEY": "any-key",
            "VOCALSEP_BASE_URL": emulator.url,
            "PUBLIC_URL": url,
            "CALLBACK_SECRET": "a secret for the benchmark",
        }
        handle = listener.fileno()
        command = [sys.executable, __file__, "--serve", framework, "--listener", str(handle)]
        process = await asyncio.create_subprocess_exec(
            *command,
            *([] if has_callbacks else ["--off"]),
            env=os.environ | environ,
            pass_fds=[handle],
        )
    try:
        connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
            yield session
    finally:
        process.terminate()
        await process.wait()


# Its measurement


@frozen
class Found:
    """What came of the songs of one service.

    Attributes:
        answered: songs whose request was answered with both stems.
        delays: seconds from the end of each task to the answer of its request.
        polls: of each task.
        throttled: requests that the API refused, as too many.
        forged: callbacks that were posted to a wrong address.
        callbacks: what the service says of its callbacks.
    """

    answered: int
    delays: list[float]
    polls: list[int]
    throttled: int
    forged: int
    callbacks: ReceiverStats


async def separate(
    session: aiohttp.ClientSession, emulator: Emulator, wait: float
) -> tuple[bool, str, float]:
    """Have one song separated; return whether it was, its task, and the delay."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(wait)
    async with session.post("/separate", json={"audio_url": SONG}) as response:
        found: dict[str, Any] = await response.json()
        status, answered_at = response.status, loop.time()
    task_id = found.get("task_id", "")
    is_separated = status == 200 and found["stems"].keys() == {"vocal", "instrumental"}
    # The emulator is in this process, and its clock is that of the loop.
    delay = answered_at - emulator._backend.task(task_id).ends_at if task_id else 0.0  # noqa: SLF001
    return is_separated, task_id, delay


async def measure(
    framework: str,
    faults: CallbackFaults | None,
    *,
    songs: int = 60,
    apart: float = 1.5,
    speed: float = 1.0,
) -> Found:
    """Run a service and an emulator, and post songs to the service."""
    emulator = Emulator(speed=speed, callbacks=faults or CallbackFaults())
    has_callbacks = faults is not None
    async with emulator, service(framework, emulator, has_callbacks=has_callbacks) as session:
        async with session.get("/stats") as response:
            assert response.status == 200, "the service does not start"
        answers = await asyncio.gather(
            *(separate(session, emulator, number * apart) for number in range(songs))
        )
        requests, posted = emulator.requests, emulator.posted
        async with session.get("/stats") as response:
            callbacks = ReceiverStats(**(await response.json())["callbacks"])
    return Found(
        answered=sum(is_separated for is_separated, _, _ in answers),
        delays=[delay for _, _, delay in answers],
        polls=[
            sum(each.method == "GET" and each.task_id == task_id for each in requests)
            for _, task_id, _ in answers
        ],
        throttled=sum(request.throttled for request in requests),
        forged=sum(each.kind is CallbackKind.WRONG_ADDRESS for each in posted),
        callbacks=callbacks,
    )


HEADS = ("service", "callbacks", "answered", "delay mean", "median", "p95", "polls", "throttled")


def row(framework: str, name: str, found: Found) -> tuple[str, ...]:
    """The cells of one service."""
    marks = quantiles(found.delays, n=20, method="inclusive")
    return (
        framework,
        name,
        str(found.answered),
        f"{mean(found.delays):.1f} s",
        f"{marks[9]:.1f} s",
        f"{marks[18]:.1f} s",
        f"{mean(found.polls):.1f}",
        str(found.throttled),
    )


async def run(options: argparse.Namespace) -> None:
    """Run all services at the same time, and print what came of them."""
    cases = [(each, name) for each in options.only for name in CASES]
    found = await asyncio.gather(
        *(
            measure(
                framework,
                CASES[name],
                songs=options.songs,
                apart=options.apart,
                speed=options.speed,
            )
            for framework, name in cases
        )
    )
    for cells in (HEADS, *(row(*case, each) for case, each in zip(cases, found, strict=True))):
        print(" | ".join(f"{cell:>{len(head)}}" for cell, head in zip(cells, HEADS, strict=True)))
    for case, each in zip(cases, found, strict=True):
        counts = attrs.asdict(each.callbacks)
        print(*case, *(f"{counter} {count}" for counter, count in counts.items() if count))


def main() -> None:
    """Run the benchmark and print the results, or be one of its services."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=60)
    parser.add_argument("--apart", type=float, default=1.5, help="seconds between two songs")
    parser.add_argument("--speed", type=float, default=1.0, help="of the tasks")
    parser.add_argument("--only", nargs="+", default=["fastapi", "aiohttp"])
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--off", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, socket.socket(fileno=options.listener), has_callbacks=not options.off)
    else:
        asyncio.run(run(options))


if __name__ == "__main__":
    main()
