"""Processor time of one `get_task`, compared with a hand-written aiohttp request.

    python benchmarks/get_task_cpu.py [--pairs 40] [--calls 150]

A server process answers all requests with the same bytes. The two sides alternate in short runs,
and the result is the median ratio of the pairs, so that other load affects both equally.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from statistics import median, quantiles

import aiohttp

from vocalsep_async import RateLimit, VocalSepClient

TASK_ID = "6b1c0a5f2f7d4c1c9a3e4d5b6a7c8d9e"
PATH = "/api/v1/vocal-removal/record-info"
STEMS = [
    "vocal", "backingVocals", "drums", "bass", "guitar", "keyboard",
    "percussion", "strings", "synth", "fx", "brass", "woodwinds",
]  # fmt: skip
LIMITS = {"PENDING": 1.35, "SUCCESS": 1.45}


def body(status: str) -> bytes:
    """Return the record of a task: with twelve stems, or with none while it is pending."""
    done = status == "SUCCESS"
    links = {f"{name}Url": f"https://cdn.example/s/{name}-{TASK_ID}.mp3" for name in STEMS}
    record = {
        "taskId": TASK_ID,
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
    """Answers every request head with the record that its path names."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        answer = body("SUCCESS" if b"/success/" in data[:40] else "PENDING")
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n"
        )
        self._transport.write(head.encode() + answer)  # type: ignore[attr-defined]


def serve(ready: Connection) -> None:
    """Send the port through *ready*, and serve until the process is terminated."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Server, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def by_hand(session: aiohttp.ClientSession, url: str) -> dict[str, str]:
    """Request a record without an SDK, as in a short script."""
    async with session.get(
        url + PATH,
        params={"taskId": TASK_ID},
        headers={"Authorization": "Bearer a-key"},
    ) as response:
        payload = await response.json()
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


async def compare(url: str, pairs: int, calls: int) -> list[tuple[float, float]]:
    """Return *pairs* pairs of seconds: of the client, and of the hand-written request."""
    async with (
        aiohttp.ClientSession() as session,
        VocalSepClient("a-key", base_url=url, rate_limit=RateLimit(1_000_000, 1.0)) as client,
    ):
        sides = (lambda: client.get_task(TASK_ID), lambda: by_hand(session, url))
        for side in sides:  # opens connections and warms caches
            await cpu_of(side, calls)
        measured = []
        for _ in range(pairs):
            ours = await cpu_of(sides[0], calls)
            theirs = await cpu_of(sides[1], calls)
            measured.append((ours, theirs))
        return measured


def report(status: str, measured: list[tuple[float, float]]) -> None:
    """Print the results of one status."""
    ratios = [ours / theirs for ours, theirs in measured]
    low, _, high = quantiles(ratios, n=4)
    ours, theirs = (median(side) * 1e6 for side in zip(*measured, strict=True))
    print(
        f"{status:8} ours {ours:4.0f} us, by hand {theirs:4.0f} us, "
        f"ratio {median(ratios):.2f} (quartiles {low:.2f} to {high:.2f}, "
        f"aim at most {LIMITS[status]})"
    )


def main() -> None:
    """Run the measurements for both statuses and print the results."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pairs", type=int, default=40)
    options.add_argument("--calls", type=int, default=150)
    chosen = options.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    try:
        for status in LIMITS:
            base = f"{url}/{status.lower()}"
            report(status, asyncio.run(compare(base, chosen.pairs, chosen.calls)))
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
