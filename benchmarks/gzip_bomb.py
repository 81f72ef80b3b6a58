"""What the refusal of a gzip bomb costs: the longest gap of the event loop, and memory.

    python benchmarks/gzip_bomb.py [--rounds 10] [--mebibytes 256]

A server process sends a valid record, followed by so much white space that it fits in a few
hundred kilobytes of gzip. Meanwhile a task of the client's loop asks for its turn all the time.
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
    """Return the body."""
    press = zlib.compressobj(1, wbits=31)
    record = {"taskId": TASK_ID, "successFlag": "PENDING"}
    body = json.dumps({"code": 200, "msg": "success", "data": record}).encode()
    blanks = (press.compress(b" " * MIB) for _ in range(mebibytes))
    return b"".join([press.compress(body), *blanks, press.flush()])


def serve(ready: Connection, mebibytes: int) -> None:
    """Serve until the process is ended."""
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
    """The longest time for which the loop gave nobody a turn."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def measure(self) -> None:
        """Take a turn whenever there is one."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now


async def refuse(client: VocalSepClient) -> None:
    """Look at the task, and have the answer refused."""
    try:
        await client.get_task(TASK_ID)
    except TransportError as error:
        if "larger than" not in str(error):
            raise
        return
    raise RuntimeError("the bomb was not refused")


async def longest_gap(client: VocalSepClient) -> float:
    """Milliseconds of one refusal's longest gap."""
    gaps = Gaps()
    measuring = asyncio.ensure_future(gaps.measure())
    await refuse(client)
    measuring.cancel()
    return gaps.longest * 1e3


async def peak_memory(client: VocalSepClient) -> float:
    """Mebibytes that one refusal takes at most; it is slow while this is watched."""
    tracemalloc.start()
    try:
        await refuse(client)
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


async def measure(url: str, rounds: int) -> tuple[list[float], float]:
    """The gap of each round, and the memory of one more."""
    async with VocalSepClient(
        "a-key", base_url=url, rate_limit=None, retry=RetryPolicy(attempts=1)
    ) as client:
        await refuse(client)  # what is made once is made here
        return [await longest_gap(client) for _ in range(rounds)], await peak_memory(client)


def main() -> None:
    """Run and print."""
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
