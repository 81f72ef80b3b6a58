"""The cost of rejecting a gzip bomb: the longest gap of the event loop, and memory.

    python benchmarks/gzip_bomb.py [--rounds 10] [--mebibytes 256]

A server process sends a valid record followed by white space, which gzip compresses to a few
hundred kilobytes. Meanwhile a task in the event loop of the client measures how often it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
import tracemalloc
import zlib
from multiprocessing.connection import Connection
from statistics import median

from vocalsep_async import RetryPolicy, TransportError, VocalSepClient

TASK_ID = "6b1c0a5f2f7d4c1c9a3e4d5b6a7c8d9e"
GAP = 100
MEMORY = 20
MIB = 1 << 20


def bomb(mebibytes: int) -> bytes:
    """The compressed body, which expands to *mebibytes* of white space after a record."""
    press = zlib.compressobj(1, wbits=31)
    record = {"taskId": TASK_ID, "successFlag": "PENDING"}
    body = json.dumps({"code": 200, "msg": "success", "data": record}).encode()
    blanks = (press.compress(b" " * MIB) for _ in range(mebibytes))
    return b"".join([press.compress(body), *blanks, press.flush()])


def serve(ready: Connection, mebibytes: int) -> None:
    """Send the port through *ready*, and serve until the process is terminated."""
    body = bomb(mebibytes)
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport

        def data_received(self, _data: bytes) -> None:
            self._transport.write(head.encode() + body)  # type: ignore[attr-defined]

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Server, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class Gaps:
    """Measures the longest time between two iterations of the event loop, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def measure(self) -> None:
        """Run in every iteration until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now


async def reject_bomb(client: VocalSepClient) -> None:
    """Poll the task, and expect the client to reject the answer."""
    try:
        await client.get_task(TASK_ID)
    except TransportError as error:
        if "larger than" not in str(error):
            raise
        return
    raise RuntimeError("the bomb was not rejected")


async def longest_gap(client: VocalSepClient) -> float:
    """The longest gap during one rejection, in milliseconds."""
    gaps = Gaps()
    measuring = asyncio.ensure_future(gaps.measure())
    await reject_bomb(client)
    measuring.cancel()
    return gaps.longest * 1e3


async def peak_memory(client: VocalSepClient) -> float:
    """The peak memory of one rejection in MiB; tracing makes it slow."""
    tracemalloc.start()
    try:
        await reject_bomb(client)
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


async def measure(url: str, rounds: int) -> tuple[list[float], float]:
    """The gap of each round, and the memory of one further rejection."""
    async with VocalSepClient(
        "a-key", base_url=url, rate_limit=None, retry=RetryPolicy(attempts=1)
    ) as client:
        await reject_bomb(client)  # opens the connection and warms caches
        return [await longest_gap(client) for _ in range(rounds)], await peak_memory(client)


def main() -> None:
    """Run the measurements and print the results."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--mebibytes", type=int, default=256)
    chosen = options.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs, chosen.mebibytes), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    try:
        gaps, memory = asyncio.run(measure(url, chosen.rounds))
    finally:
        server.terminate()
    print(
        f"bomb     of {chosen.mebibytes} MiB: longest gap {max(gaps):.1f} ms, median of the "
        f"rounds {median(gaps):.1f} ms (aim below {GAP} ms); peak memory {memory:.1f} MiB "
        f"(aim below {MEMORY} MiB)"
    )


if __name__ == "__main__":
    main()
