"""Processor time of one `get_task`, compared with two loops around aiohttp.

    python benchmarks/get_task_cpu.py [--rounds 40] [--calls 150]

The lean loop leaves out all that aiohttp can do without: the address is made once, the key is in
the session, cookies are not kept. The other one is written as in a short script. A server process
answers all requests with the same bytes. The three sides alternate in short runs, and the results
are median ratios of the rounds, so that other load affects all sides equally.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from statistics import median, quantiles
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from vocalsep_async import RateLimit, VocalSepClient

KEY = "a-key-of-no-account"
TASK_ID = "6b1c0a5f2f7d4c1c9a3e4d5b6a7c8d9e"
PATH = "/api/v1/vocal-removal/record-info"
STEMS = [
    "vocal", "backingVocals", "drums", "bass", "guitar", "keyboard",
    "percussion", "strings", "synth", "fx", "brass", "woodwinds",
]  # fmt: skip
AIMS = {"PENDING": 1.25, "SUCCESS": 1.35}
"""Highest ratios to the lean loop."""


class Round(NamedTuple):
    """Seconds of one call on each side."""

    ours: float
    lean: float
    script: float


def body(status: str, task_id: str) -> bytes:
    """Return the record of a task: with twelve stems, or with none while it is pending."""
    done = status == "SUCCESS"
    links = {f"{name}Url": f"https://cdn.example/s/{name}-{task_id}.mp3" for name in STEMS}
    record = {
        "taskId": task_id,
        "musicId": "9d2f4c5e-1111-4222-8333-444455556666",
        "callbackUrl": "https://service.example/hook",
        "musicIndex": 0,
        "completeTime": 1_753_782_937_000 if done else None,
        "response": {"originUrl": None, "instrumentalUrl": None, **links} if done else None,
        "successFlag": status,
        "createTime": 1_753_782_854_000,
        "errorCode": None,
        "errorMessage": None,
    }
    return json.dumps({"code": 200, "msg": "success", "data": record}).encode()


class Server(asyncio.Protocol):
    """Answers every request head with a record of the task and the status that its path names."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(maxsplit=2)[1].decode()
        status = "SUCCESS" if path.startswith("/success/") else "PENDING"
        answer = body(status, path.rpartition("=")[2])
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n"
        )
        self._transport.write(head.encode() + answer)  # type: ignore[attr-defined]


def serve(ready: Connection) -> None:
    """Send the port through *ready*, and serve until the process is terminated."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(Server, "127.0.0.1", 0)
        ready.send(listening.sockets[0].getsockname()[1])
        await listening.serve_forever()

    asyncio.run(run())


@contextmanager
def server() -> Iterator[str]:
    """The address of a server that runs in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()


async def lean(session: aiohttp.ClientSession, address: URL) -> dict[str, str]:
    """Request a record with nothing but what is needed."""
    async with session.get(address) as response:
        return links_in(json.loads(await response.read()))


async def script(session: aiohttp.ClientSession, url: str) -> dict[str, str]:
    """Request a record as in a short script."""
    async with session.get(
        url + PATH,
        params={"taskId": TASK_ID},
        headers={"Authorization": f"Bearer {KEY}"},
    ) as response:
        return links_in(await response.json())


def links_in(payload: dict[str, Any]) -> dict[str, str]:
    """The links of a record; none while it is pending."""
    if payload["code"] != 200:
        raise RuntimeError(payload["msg"])
    data = payload["data"]
    if data["successFlag"] == "PENDING":
        return {}
    return {name: link for name, link in data["response"].items() if link}


async def cpu_of(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Return the seconds of processor time of this process for one call."""
    began = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - began) / calls


async def compare(url: str, rounds: int, calls: int) -> list[Round]:
    """Return the seconds of each side in *rounds* rounds."""
    address = URL(f"{url}{PATH}?taskId={TASK_ID}")
    async with (
        aiohttp.ClientSession() as plain,
        aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), headers={"Authorization": f"Bearer {KEY}"}
        ) as session,
        VocalSepClient(KEY, base_url=url, rate_limit=RateLimit(1_000_000, 1.0)) as client,
    ):
        sides: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: client.get_task(TASK_ID),
            lambda: lean(session, address),
            lambda: script(plain, url),
        )
        for side in sides:  # opens connections and warms caches
            await cpu_of(side, calls)
        return [Round(*[await cpu_of(side, calls) for side in sides]) for _ in range(rounds)]


def report(status: str, measured: list[Round]) -> None:
    """Print the results of one status."""
    ours, lean, script = (median(side) * 1e6 for side in zip(*measured, strict=True))
    to_lean = [each.ours / each.lean for each in measured]
    to_script = [each.ours / each.script for each in measured]
    print(f"{status:8} get_task {ours:4.0f} us, lean loop {lean:4.0f} us, script {script:4.0f} us")
    print(f"{'':8} to the lean loop {spread(to_lean)}, aim at most {AIMS[status]}")
    print(f"{'':8} to the script    {spread(to_script)}")


def spread(ratios: list[float]) -> str:
    """The median of *ratios* with its quartiles."""
    low, _, high = quantiles(ratios, n=4)
    return f"{median(ratios):.2f} (quartiles {low:.2f} to {high:.2f})"


def main() -> None:
    """Run the measurements for both statuses and print the results."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=40)
    options.add_argument("--calls", type=int, default=150)
    chosen = options.parse_args()
    with server() as url:
        for status in AIMS:
            base = f"{url}/{status.lower()}"
            report(status, asyncio.run(compare(base, chosen.rounds, chosen.calls)))


if __name__ == "__main__":
    main()
